"""An app with nothing but the viewer: shows the files of the folder VIEWER_DATA, counts its own runs.

The query parameter ``case`` picks a variation: ``broken`` (the last epoch's file is missing),
``no_truth``, ``any_damage``, ``alone`` (one epoch), ``runs`` (a second run with the later epochs' maps,
six epochs only), ``four`` (two more).
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pages.components.viewer import ViewerClass, ViewerEpoch, ViewerImage, ViewerSeries, viewer

ASSETS = Path(__file__).resolve().parents[2] / "assets"
TITLES = ["U-Net, ResNet-34", "SegFormer B2, Lovász, 1024 px", "Quick try", "Without augmentation"]
LAST = len(TITLES) - 1
DATA = Path(os.environ["VIEWER_DATA"])


def show() -> None:
    """Draw the page."""
    scene = json.loads((DATA / "scene.json").read_text())
    state = st.session_state
    state.runs = state.get("runs", 0) + 1
    state.setdefault("image", 0)
    case = st.query_params.get("case", "")
    state.setdefault("asked", scene["epochs"][0]["epoch"])
    image = scene["images"][state.image]
    prefix = f"data/{image['id']}"
    epochs = [
        ViewerEpoch(**entry, url=f"{prefix}-{entry['epoch']}.png", confidence_url=f"{prefix}-confidence.png")
        for entry in scene["epochs"]
    ]
    if case == "broken":
        epochs.append(ViewerEpoch(epoch=epochs[-1].epoch + 1, url="data/missing.png"))
    if case == "alone":
        epochs = epochs[:1]
    count = {"runs": 2, "four": 4}.get(case, 1)
    series = [ViewerSeries(f"run-{n}", TITLES[n], epochs_of_run(epochs, n)) for n in range(count)]
    event = viewer(
        key="viewer",
        image=ViewerImage(**image, url=f"{prefix}.jpg"),
        truth_url=None if case == "no_truth" else f"{prefix}-truth.png",
        epochs=epochs if count == 1 else [],
        series=series if count > 1 else [],
        epoch=state.asked,
        classes=[ViewerClass(**entry) for entry in scene["classes"]],
        any_damage=case == "any_damage",
        position=f"{state.image + 1} / {len(scene['images'])}",
        has_previous=state.image > 0,
        has_next=state.image < len(scene["images"]) - 1,
    )
    if event.navigate:
        state.image += 1 if event.navigate == "next" else -1
        st.rerun()
    if st.button("Pick epoch 2"):
        state.asked = 2
        st.rerun()
    st.text(f"runs={state.runs} epoch={event.epoch} image={state.image}")


def epochs_of_run(epochs: list[ViewerEpoch], run: int) -> list[ViewerEpoch]:
    """Give the first run all epochs; each further one half of them, with the maps of later epochs."""
    if run == 0:
        return epochs
    half = len(epochs) // 2
    return [
        replace(
            later,
            epoch=entry.epoch,
            confidence_url=later.confidence_url if run < LAST else None,
            is_best=entry.epoch == run + 2,
            is_champion=False,
        )
        for entry, later in zip(epochs[:half], epochs[half:], strict=True)
    ]


def review() -> None:
    """Draw the same page at another address."""
    show()


async def asset(request: Request) -> FileResponse:
    """Serve a module of ours, as the app's own route does."""
    return FileResponse(ASSETS / request.path_params["name"])


if __name__ == "__main__":
    st.set_page_config(layout="wide")
    pages = [st.Page(show, title="Viewer", default=True), st.Page(review, title="Review", url_path="review")]
    st.navigation(pages, position="hidden").run()
else:
    routes = [Route("/assets/{version}/{name}", asset), Mount("/data", StaticFiles(directory=DATA))]
    app = st.App(Path(__file__), routes=routes)
