"""Labelling: the queue of photos, what the canvas shows, and saving what was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.domain.errors import Conflict, FormatError, NotFound
from core.domain.images import Image, ImageFilter
from core.domain.labels import (
    Annotation,
    AnnotationSet,
    ImageState,
    Source,
    annotation_from_json,
    annotation_to_json,
)
from core.imaging.masks import rasterise_box
from core.services import links
from core.services.home import Store
from core.storage import annotations, images

MAX_ANNOTATIONS = 2_000


@dataclass(frozen=True)
class CanvasImage:
    """One image with its labels and links, as the label canvas wants it."""

    image: Image
    annotations: AnnotationSet
    full_link: str
    view_link: str
    save_link: str


def open_image(store: Store, image_id: str, *, author: str = "") -> CanvasImage:
    """Give an image to label. Raises NotFound."""
    image = images.get(store, image_id)
    return CanvasImage(
        image,
        annotations.current(store, image_id),
        full_link(store, image_id),
        links.sign(store, f"img/{image_id}/view", v=image.sha256[:8]),
        links.sign(store, f"annotations/{image_id}", author=author),
    )


def full_link(store: Store, image_id: str) -> str:
    """Give the link of an image at full resolution. Raises NotFound."""
    return links.sign(store, f"img/{image_id}/full", v=images.get(store, image_id).sha256[:8])


def still_there(store: Store, project_id: str, image_ids: Sequence[str]) -> list[str]:
    """Leave out the images that were deleted meanwhile."""
    there = {image.id for image in images.list_page(store, project_id, ImageFilter())}
    return [image_id for image_id in image_ids if image_id in there]


def queue(store: Store, project_id: str, only: ImageFilter) -> list[str]:
    """List the ids of the images to go through, in the order they came."""
    return [image.id for image in images.list_page(store, project_id, only)]


def first_to_do(store: Store, project_id: str) -> str | None:
    """Give the first image that is not done: one in progress before one untouched; None where all are."""
    for state in (ImageState.IN_PROGRESS, ImageState.UNLABELLED):
        found = images.list_page(store, project_id, ImageFilter(state=state), limit=1)
        if found:
            return found[0].id
    return None


def save(store: Store, image_id: str, message: object, *, author: str = "") -> dict[str, Any]:
    """Save what the canvas sends: ``{rev, state, annotations}``.

    Gives:
        ``{rev, saved_at, state, annotations_count}`` of the revision just made.

    Raises:
        FormatError: the message is not what it should be; nothing was changed.
        Conflict: somebody saved in between; ``latest`` tells what they saved.
        NotFound: the image was deleted.
        StorageError: the disk is full.
    """
    try:
        if not isinstance(message, dict):
            raise TypeError("not an object")
        base_rev, state = int(message["rev"]), ImageState(message["state"])
        if not 0 <= base_rev < 2**31:
            raise ValueError("a revision out of range")
        values = message["annotations"]
        if not isinstance(values, list) or len(values) > MAX_ANNOTATIONS:
            raise TypeError(f"annotations must be a list of at most {MAX_ANNOTATIONS}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"The labels sent cannot be read: {error!r}.") from error
    drawn = [annotation_from_json(value) for value in values]
    _require_drawable(images.get(store, image_id), drawn)
    saved = annotations.save(store, image_id, drawn, base_rev=base_rev, state=state, author=author)
    return {
        "rev": saved.rev,
        "saved_at": saved.saved_at,
        "state": state.value,
        "annotations_count": len(saved.annotations),
    }


def latest(store: Store, image_id: str) -> dict[str, Any]:
    """Tell what an image's newest labels are: ``{rev, author, saved_at, state, annotations}``."""
    image = images.get(store, image_id)
    drawn = annotations.current(store, image_id)
    return {
        "rev": drawn.rev,
        "author": drawn.author,
        "saved_at": drawn.saved_at,
        "state": image.state.value,
        "annotations": [annotation_to_json(annotation) for annotation in drawn.annotations],
    }


def add_sketch(store: Store, image_id: str, sketched: Sequence[Annotation], *, author: str = "") -> None:
    """Add what a prediction missed to an image's labels; it then waits in the labelling queue.

    Raises:
        FormatError: nothing was sketched.
        Conflict: somebody is saving the same photo again and again.
    """
    if not sketched:
        raise FormatError("Draw what is missing first.")
    assert all(annotation.source is Source.SKETCHED for annotation in sketched)
    for _ in range(3):
        now = annotations.current(store, image_id)
        try:
            annotations.save(
                store,
                image_id,
                [*now.annotations, *sketched],
                base_rev=now.rev,
                state=ImageState.IN_PROGRESS,
                author=author,
            )
        except Conflict:
            continue
        return
    raise Conflict("Somebody else is labelling this photo right now. Try again in a moment.")


def _require_drawable(image: Image, drawn: Sequence[Annotation]) -> None:
    """Refuse strokes that no mask can be made of: found later, they would stop an export or a training."""
    width, height = image.size_wh
    for annotation in drawn:
        rasterise_box(annotation.ops, (height, width))


def neighbours(queue_ids: Sequence[str], image_id: str) -> tuple[str | None, str | None]:
    """Give the ids before and after one in a queue. Raises NotFound when it is not in it."""
    if image_id not in queue_ids:
        raise NotFound("This photo is not in the queue any more.")
    at = queue_ids.index(image_id)
    return (
        queue_ids[at - 1] if at > 0 else None,
        queue_ids[at + 1] if at + 1 < len(queue_ids) else None,
    )
