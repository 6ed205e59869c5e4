"""The results viewer: photo, ground truth, predictions, errors and confidence of one image over all epochs.

Stepping through the epochs, zooming and every other control happen in the browser (assets/viewer.js);
the script runs again only when the epoch has stood still for a moment or the user wants another image.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import streamlit as st

from pages.components.assets import assets_hash, component

Direction = Literal["next", "previous"]

MAX_SERIES = 4  # so that each pane has a number key and room

_mount = component("maskwright_viewer", "viewer.js")


@dataclass(frozen=True)
class ViewerImage:
    """The photo to show: an upright display copy, and the original's upright size in pixels.

    ``url`` is relative to the app's root, like every URL here. Equal files need equal URLs: one that
    is signed anew on every run of the script is loaded anew.
    """

    id: str
    name: str
    url: str
    width: int
    height: int


@dataclass(frozen=True)
class ViewerClass:
    """A class of the model: its index in the prediction (background is 0), its name and colour."""

    index: int
    name: str
    color: str


@dataclass(frozen=True)
class ViewerEpoch:
    """What one epoch says about the image.

    ``url`` is the prediction as an 8-bit **grey** PNG of class indices, ``confidence_url`` a grey
    PNG of the same size with 255 for a certain pixel. ``miou`` and ``dice`` are of this image;
    None where they are not defined.
    """

    epoch: int
    url: str
    confidence_url: str | None = None
    miou: float | None = None
    dice: float | None = None
    is_best: bool = False
    is_champion: bool = False


@dataclass(frozen=True)
class ViewerSeries:
    """One run's epochs of the image, at least one, in rising order; ``id`` tells the runs apart."""

    id: str
    title: str
    epochs: Sequence[ViewerEpoch]


@dataclass(frozen=True)
class ViewerEvent:
    """The main run's epoch on the screen, and where the user wants to go now, if anywhere."""

    epoch: int
    navigate: Direction | None = None


@dataclass
class _Memory:
    """Who chose the epoch last. ``rev`` rises when the page chose, so a late step of the browser that
    was made on the page's former choice is told apart from one made on the present one."""

    asked: int
    shown: int
    rev: int = 0


def viewer(
    *,
    key: str,
    image: ViewerImage,
    truth_url: str | None,
    epochs: Sequence[ViewerEpoch] = (),
    series: Sequence[ViewerSeries] = (),
    epoch: int,
    classes: Sequence[ViewerClass],
    any_damage: bool = False,
    position: str = "",
    has_previous: bool = False,
    has_next: bool = False,
    height: int = 620,
) -> ViewerEvent:
    """Show one image with the predictions of one or more epochs, of one run or of several.

    Args:
        key: names the viewer; with the same key, zoom and settings stay from image to image.
        image: the photo.
        truth_url: grey PNG of class indices (255: not counted) in the predictions' size; None shows
            photo, prediction and confidence only.
        epochs: of a single run: at least one, in rising order; a single one has no slider.
        series: instead of `epochs`: up to four runs to compare, all with `classes`. The first is the
            main one; the others follow its epoch unless the user lets them stand.
        epoch: the main run's one to show. The user's own steps stand until this argument changes.
        classes: names and colours of the prediction's indices.
        any_damage: count every class of truth and prediction as the same one, for a truth whose
            classes are not the model's.
        position: where the image stands, such as "3 / 20".
        has_previous: whether `navigate` may be "previous".
        has_next: whether `navigate` may be "next".
        height: of all panes together, in CSS pixels; narrow screens follow the photo instead.

    Raises:
        ValueError: not exactly one of `epochs` and `series` is given, two runs have the same id, one
            has no epoch, there are too many, or `epoch` is not among those of the main run.
    """
    if bool(epochs) == bool(series):
        raise ValueError("give either epochs or series")
    shown = list(series) or [ViewerSeries("", "", epochs)]
    _check(shown, epoch)
    memory = _settle(key, epoch, shown[0].epochs)
    data = {
        "assets_hash": assets_hash(),
        "image": asdict(image),
        "truth_url": truth_url,
        "series": [asdict(entry) for entry in shown],
        "epoch": memory.shown,
        "rev": memory.rev,
        "classes": [asdict(entry) for entry in classes],
        "any_damage": any_damage,
        "position": position,
        "has_previous": has_previous,
        "has_next": has_next,
        "height": height,
    }
    result = _mount(key=key, data=data, on_epoch_change=_nothing, on_navigate_change=_nothing)
    return ViewerEvent(epoch=memory.shown, navigate=_direction(result.navigate))


def _check(series: Sequence[ViewerSeries], epoch: int) -> None:
    if len(series) > MAX_SERIES:
        raise ValueError(f"at most {MAX_SERIES} runs can be compared, got {len(series)}")
    if len({entry.id for entry in series}) < len(series):
        raise ValueError("two series have the same id")
    if not all(entry.epochs for entry in series):
        raise ValueError("a series has no epoch")
    if epoch not in [entry.epoch for entry in series[0].epochs]:
        raise ValueError(f"epoch {epoch} is not among the epochs given")


def _settle(key: str, asked: int, epochs: Sequence[ViewerEpoch]) -> _Memory:
    """Decide which epoch is on the screen: the user's last step, unless the page has chosen since."""
    memory = st.session_state.setdefault(f"{key}:memory", _Memory(asked, asked))
    step: dict[str, Any] | None = (st.session_state.get(key) or {}).get("epoch")
    if step is not None and step["rev"] == memory.rev:
        memory.shown = step["epoch"]
    is_gone = memory.shown not in [entry.epoch for entry in epochs]
    if is_gone or asked not in (memory.asked, memory.shown):
        memory.shown = asked
        memory.rev += 1
    memory.asked = asked
    return memory


def _direction(trigger: dict[str, Any] | None) -> Direction | None:
    return trigger["to"] if trigger else None


def _nothing() -> None:
    """Streamlit keeps a state or trigger only when it has a callback."""
