"""What the server answers besides the pages: assets, photos, masks, and the canvas's saves.

No route trusts its caller: photos, masks and saves need a signed link (core.services.links).
"""

import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from core.domain.errors import AppError, Conflict, FormatError, NotFound, OutOfReach, StorageError
from core.services import assist, labelling, links, pictures, suggestions
from core.services.home import open_home

logger = logging.getLogger(__name__)

ASSETS = Path(__file__).resolve().parents[2] / "assets"
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png"}
MAX_SAVE_BYTES = 32 * 1024 * 1024
MAX_PROMPT_BYTES = 1024 * 1024
FOREVER = "public, max-age=31536000, immutable"
PRIVATE = "private, max-age=21600"

Handler = Callable[[Request], Awaitable[Response]]


async def asset(request: Request) -> Response:
    """Serve one of our own scripts and styles; the address holds the content's hash."""
    path = ASSETS / Path(request.path_params["name"]).name
    if path.suffix not in MEDIA_TYPES or not path.is_file():
        return PlainTextResponse("There is no such file.", 404)
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers={"Cache-Control": FOREVER})


async def photo(request: Request) -> Response:
    """Serve a rendition of a photo."""
    image_id, wanted = request.path_params["image_id"], request.path_params["rendition"]
    _check(request, f"img/{image_id}/{wanted}")
    path, media_type = await to_thread.run_sync(pictures.photo_file, open_home(), image_id, wanted)
    return FileResponse(path, media_type=media_type, headers={"Cache-Control": PRIVATE})


async def stored_file(request: Request) -> Response:
    """Serve a stored picture: a prediction, a confidence map, a photo that was predicted."""
    key = request.path_params["key"]
    _check(request, f"file/{key}")
    path = await to_thread.run_sync(pictures.stored_file, open_home(), key)
    media_type = "image/jpeg" if path.suffix == ".jpg" else "image/png"
    return FileResponse(path, media_type=media_type, headers={"Cache-Control": PRIVATE})


async def truth(request: Request) -> Response:
    """Draw an image's labels as a grey PNG of class indices."""
    image_id = request.path_params["image_id"]
    _check(request, f"truth/{image_id}")
    data = await to_thread.run_sync(pictures.truth_png, open_home(), image_id, dict(request.query_params))
    return Response(data, media_type="image/png", headers={"Cache-Control": PRIVATE})


async def save_annotations(request: Request) -> Response:
    """Save what the canvas sends; a conflict answers with what the others saved."""
    image_id = request.path_params["image_id"]
    _check(request, f"annotations/{image_id}")
    message = await _sent(request, MAX_SAVE_BYTES, _LABELS)
    author = request.query_params.get("author", "")
    try:
        saved = await to_thread.run_sync(
            lambda: labelling.save(open_home(), image_id, message, author=author)
        )
    except Conflict as error:
        newest = await to_thread.run_sync(labelling.latest, open_home(), image_id)
        return JSONResponse({**newest, "message": str(error)}, 409)
    return JSONResponse(saved)


async def newest_labels(request: Request) -> Response:
    """Tell an image's newest labels, for the canvas of the photo after it to copy from."""
    image_id = request.path_params["image_id"]
    _check(request, f"labels/{image_id}")
    newest = await to_thread.run_sync(labelling.latest, open_home(), image_id)
    return JSONResponse(newest, headers={"Cache-Control": "no-store"})


async def suggest(request: Request) -> Response:
    """Answer what the champion would draw on an image; 202 while a worker is at it: ask ``&again=1``."""
    image_id = request.path_params["image_id"]
    asked = dict(request.query_params)
    is_again = asked.pop("again", None) is not None
    links.check(open_home(), f"suggest/{image_id}", asked)
    found = await to_thread.run_sync(lambda: suggestions.for_photo(open_home(), image_id, is_again=is_again))
    if isinstance(found, suggestions.Waiting):
        return JSONResponse({"message": found.message}, 202)
    return JSONResponse(suggestions.to_json(found))


async def assist_drawing(request: Request) -> Response:
    """Turn a prompt on a photo (a box, scribbles, a click) into polygons."""
    image_id = request.path_params["image_id"]
    _check(request, f"assist/{image_id}")
    message = await _sent(request, MAX_PROMPT_BYTES, _PROMPT)
    return JSONResponse(await to_thread.run_sync(assist.answer, open_home(), image_id, message))


_LABELS = "These labels are too large to save.", "The labels sent are not JSON."
_PROMPT = "That is more than one prompt may hold.", "The prompt sent is not JSON."


class _TooLarge(AppError):
    """More was sent than is read."""


async def _sent(request: Request, at_most: int, sentences: tuple[str, str]) -> Any:
    """Read the JSON that was sent, of ``at_most`` bytes; ``sentences`` say what else is wrong with it.

    Raises:
        _TooLarge: it is more; the rest is not read.
        FormatError: it is no JSON.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > at_most:
            raise _TooLarge(sentences[0])
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise FormatError(sentences[1]) from None


def _check(request: Request, path: str) -> None:
    """Check the link's signature; ``path`` is relative to the app's root, as it was signed."""
    links.check(open_home(), path, dict(request.query_params))


def _spoken(handler: Handler) -> Handler:
    """Turn the errors that carry a sentence into answers that carry it."""
    statuses = {
        links.LinkRefused: 403,
        NotFound: 404,
        _TooLarge: 413,
        FormatError: 422,
        OutOfReach: 503,
        StorageError: 507,
    }

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except AppError as error:
            status = next((code for kind, code in statuses.items() if isinstance(error, kind)), 400)
            return JSONResponse({"message": str(error)}, status)

    return answer


def routes_under(base_path: str) -> list[Route]:
    """Give the routes as they stand under a base path such as "tools/maskwright"; "" is the root.

    Streamlit puts its own routes under server.baseUrlPath, but not those it is given; a Mount there
    would hide Streamlit's.
    """
    root = f"/{base_path.strip('/')}" if base_path.strip("/") else ""
    return [
        Route(f"{root}/assets/{{version}}/{{name}}", asset),
        Route(f"{root}/img/{{image_id}}/{{rendition}}", _spoken(photo)),
        Route(f"{root}/file/{{key:path}}", _spoken(stored_file)),
        Route(f"{root}/truth/{{image_id}}", _spoken(truth)),
        Route(f"{root}/labels/{{image_id}}", _spoken(newest_labels)),
        Route(f"{root}/suggest/{{image_id}}", _spoken(suggest), methods=["POST"]),
        Route(f"{root}/assist/{{image_id}}", _spoken(assist_drawing), methods=["POST"]),
        Route(f"{root}/annotations/{{image_id}}", _spoken(save_annotations), methods=["PUT", "POST"]),
    ]
