"""The Python half of the label canvas (assets/labeler.js).

Labels do not pass through a rerun: the canvas reads them from ``data`` when they are newer than its
own and saves them itself with ``PUT save_url``. Python only hears that the user wants another image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

from core.domain.labels import Annotation, Category, ImageState, annotation_to_json
from pages.components.assets import assets_hash, component

Destination = Literal["next", "previous", "done_next"]

_mount = component("maskwright_labeler", "labeler.js")


@dataclass(frozen=True)
class LabelerImage:
    """The photo on the canvas.

    ``url`` is the full resolution, ``view_url`` a smaller preview shown until that has come. Both are
    signed and relative to the app's root, such as ``img/….jpg?…``. ``width`` and ``height`` are those
    of the full resolution, in pixels.
    """

    id: str
    name: str
    url: str
    view_url: str
    width: int
    height: int


@dataclass(frozen=True)
class LabelerEvent:
    """The user wants to leave ``image_id``; everything drawn on it is saved, as revision ``rev``.

    ``done_next`` means the image was also saved as done.
    """

    to: Destination
    image_id: str
    rev: int


def labeler(
    *,
    key: str,
    image: LabelerImage,
    rev: int,
    state: ImageState,
    annotations: Sequence[Annotation],
    categories: Sequence[Category],
    save_url: str,
    preload: Sequence[str] = (),
    position: str = "",
    has_previous: bool = False,
    has_next: bool = False,
    author: str = "",
    note: str = "",
    previous_url: str = "",
    height: int | None = None,
    suggest_url: str = "",
    suggest_trouble: str = "",
    assist_url: str = "",
    assist_kinds: Sequence[str] = (),
) -> LabelerEvent | None:
    """Show the label canvas and give what the user asked for since the last run.

    Args:
        key: the same one for every image, so that tool, zoom settings and focus stay.
        image: the photo.
        rev: the revision of ``annotations``; the canvas keeps its own when it has a newer one.
        state: how far its labelling has come.
        annotations: in painting order, last on top.
        categories: in palette order; the first nine have the keys 1 to 9.
        save_url: where the canvas puts changes; signed, relative to the app's root.
        preload: full resolution URLs of the images likely to come next.
        position: where the image stands in the queue, such as "12 / 60".
        has_previous: whether there is an image before it.
        has_next: whether there is one after it.
        author: written into new annotations; how the photo looks is remembered for each author.
        note: the newest revision's note about the image.
        previous_url: where the labels of the photo before are read, to be copied; "" where there is none.
        height: of the whole canvas in CSS pixels; None fills the window.
        suggest_url: where the canvas asks for suggestions; signed, relative to the root; "" hides that.
        suggest_trouble: why nothing can be suggested, which disables the button; "" where something can.
        assist_url: where prompts become outlines; signed, relative to the root; "" hides the tools.
        assist_kinds: which prompts that takes: "box", "scribble", "wand", "click".

    Returns:
        The event of this run, None in every other run.
    """
    data = {
        "assets_hash": assets_hash(),
        "image": asdict(image),
        "rev": rev,
        "state": state.value,
        "annotations": [annotation_to_json(annotation) for annotation in annotations],
        "categories": [asdict(category) for category in categories],
        "save_url": save_url,
        "preload": list(preload),
        "position": position,
        "has_previous": has_previous,
        "has_next": has_next,
        "author": author,
        "note": note,
        "previous_url": previous_url,
        "height": height,
        "suggest_url": suggest_url,
        "suggest_trouble": suggest_trouble,
        "assist_url": assist_url,
        "assist_kinds": list(assist_kinds),
    }
    result = _mount(key=key, data=data, on_navigate_change=_take_note)
    return _event(result.get("navigate"))


def _take_note() -> None:
    """Streamlit hands a trigger on only where it has a callback; the page reads the return value."""


def _event(value: object) -> LabelerEvent | None:
    if not isinstance(value, Mapping):
        return None
    sent = cast(Mapping[str, Any], value)
    if sent.get("to") not in get_args(Destination):
        return None
    to = cast(Destination, sent["to"])
    return LabelerEvent(to=to, image_id=str(sent.get("image_id", "")), rev=int(sent.get("rev", 0)))
