"""A small app around the label canvas: two pages, one generated photo, labels kept in memory.

The canvas saves with ``PUT labels/{image}``; ``POST control`` takes the server down, lets it refuse
labels of the first image, lets somebody else save first, and starts afresh.
Run: ``streamlit run tests/browser/harness_labeler.py``.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from core.domain.labels import Category, ImageState, annotation_from_json  # noqa: E402
from pages.components.assets import ASSETS_FOLDER  # noqa: E402
from pages.components.labeler import LabelerImage, labeler  # noqa: E402
from tests.browser.labeler_memory import IMAGES, STORE  # noqa: E402

CATEGORIES = (
    Category(1, "Dent", "#E69F00"),
    Category(2, "Scratch", "#56B4E9"),
    Category(3, "Cracked glass", "#D55E00"),
)
WIDTH, HEIGHT = 4000, 3000
TYPES = {".js": "text/javascript", ".css": "text/css"}


def photo(size_wh: tuple[int, int]) -> bytes:
    """A car-like photo: gradient, some shapes, fine noise, so that the JPEG weighs a few megabytes."""
    width, height = size_wh
    ramp = np.linspace(90, 190, width, dtype=np.float32)[None, :, None]
    pixels = np.repeat(ramp, height, axis=0) * np.array([0.55, 0.75, 1.0], dtype=np.float32)
    pixels += np.random.default_rng(7).normal(0, 5, (height, width, 1)).astype(np.float32)
    canvas = np.clip(pixels, 0, 255).astype(np.uint8)
    scale = width / WIDTH
    at = lambda *values: tuple(int(value * scale) for value in values)  # noqa: E731
    cv2.ellipse(canvas, at(1400, 1500), at(500, 320), 20, 0, 360, (60, 70, 92), -1)
    cv2.line(canvas, at(2300, 700), at(3400, 1300), (220, 225, 230), max(1, int(14 * scale)))
    cv2.rectangle(canvas, at(2400, 1800), at(3500, 2600), (40, 48, 60), -1)
    done, encoded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    return encoded.tobytes()


PHOTOS: dict[str, bytes] = {}


async def asset(request: Request) -> Response:
    """A file of assets/, as the app itself serves it."""
    path = ASSETS_FOLDER / Path(request.path_params["name"]).name
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return FileResponse(path, media_type=TYPES.get(path.suffix), headers=headers)


async def image(request: Request) -> Response:
    """The generated photo, full or as the preview."""
    size = request.path_params["size"]
    if size not in PHOTOS:
        PHOTOS[size] = photo((WIDTH, HEIGHT) if size == "full" else (2048, 1536))
    return Response(PHOTOS[size], media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


async def labels(request: Request) -> Response:
    """Read or save the labels of one image."""
    store = STORE
    name, _, generation = request.path_params["name"].partition("-")
    if request.method == "GET":
        return JSONResponse(store.saved[name])
    if int(generation) != store.generation:
        return JSONResponse({"message": "A test that is over."}, status_code=404)
    store.puts += 1
    if store.is_down:
        return JSONResponse({"message": "The disk is full."}, status_code=507)
    if store.is_expired:
        return JSONResponse({"message": "The link has expired."}, status_code=403)
    if store.refusal and name == IMAGES[0]:
        return JSONResponse({"message": "Nothing can be saved here."}, status_code=store.refusal)
    status, answer = store.put(name, await request.json())
    return JSONResponse(answer, status_code=status)


async def control(request: Request) -> Response:
    """Let a test change the world: ``{do: reset | down | up | expire | refuse | other, ...}``."""
    store = STORE
    wish = json.loads(await request.body())
    match wish["do"]:
        case "reset":
            store.start_afresh()
        case "down" | "up":
            store.is_down = wish["do"] == "down"
        case "expire":
            store.is_expired = True
        case "refuse":
            store.refusal = wish["status"]
        case "other":
            current = store.saved[wish["image"]]
            theirs = {"annotations": wish["annotations"], "state": wish.get("state", "in_progress")}
            store.put(wish["image"], {**current, **theirs, "note": wish.get("note", "")})
            store.saved[wish["image"]]["author"] = "Anna"
    seen = {"events": store.events, "puts": store.puts, "script_runs": store.script_runs}
    return JSONResponse({**seen, "generation": store.generation})


def show() -> None:
    """The label page: the canvas on one of three images."""
    store = STORE
    with st.container(horizontal=True):
        if st.button("Start afresh"):
            st.session_state["at"] = 0
        st.button("Run again")
    at = st.session_state.setdefault("at", 0)
    name = IMAGES[at]
    image_id = f"{name}-{store.generation}"
    saved = store.saved[name]
    event = labeler(
        key="canvas",
        image=LabelerImage(image_id, f"IMG_{at + 1:04}.jpg", "img/full", "img/view", WIDTH, HEIGHT),
        rev=saved["rev"],
        state=ImageState(saved["state"]),
        annotations=[annotation_from_json(value) for value in saved["annotations"]],
        categories=CATEGORIES,
        save_url=f"labels/{image_id}",
        preload=["img/full"],
        position=f"{at + 1} / {len(IMAGES)}",
        has_previous=at > 0,
        has_next=at < len(IMAGES) - 1,
        author="me",
        note=saved.get("note", ""),
        height=560 if st.query_params.get("short") else None,
    )
    if event:
        store.events.append({"to": event.to, "image_id": event.image_id.split("-")[0], "rev": event.rev})
        step = -1 if event.to == "previous" else 1
        st.session_state["at"] = min(len(IMAGES) - 1, max(0, at + step))
    store.script_runs += 1  # at its end: whoever sees the number sees the events too
    if event:
        st.rerun()


def home() -> None:
    """A first page that is not the canvas."""
    st.title("Home")
    st.page_link(LABEL, label="To the canvas")


if __name__ == "__main__":
    st.set_page_config(page_title="Canvas", layout="wide")
    LABEL = st.Page(show, title="Label", url_path="label")
    st.navigation([st.Page(home, title="Home", default=True), LABEL]).run()
else:
    # Streamlit does not put an app's routes under server.baseUrlPath, and a Mount there would hide it.
    base = (st.get_option("server.baseUrlPath") or "").strip("/")
    root = f"/{base}" if base else ""
    routes = [
        Route(f"{root}/assets/{{version}}/{{name}}", asset),
        Route(f"{root}/img/{{size}}", image),
        Route(f"{root}/labels/{{name}}", labels, methods=["GET", "PUT"]),
        Route(f"{root}/control", control, methods=["POST"]),
    ]
    app = st.App(Path(__file__), routes=routes)
