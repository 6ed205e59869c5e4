"""A grid of photos to open and select: the Python half of assets/gallery.js."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import streamlit as st

from core.domain.images import Image, Project
from core.domain.labels import ImageState
from core.domain.revisions import STATE_TITLES
from core.services import projects
from core.services.home import Store
from pages.components.assets import assets_hash, component

_gallery = component("maskwright_gallery", "gallery.js")


@dataclass(frozen=True)
class GalleryEvent:
    """What the visitor did: the ids selected now, and the one just opened."""

    selected: list[str]
    opened: str | None


def gallery(store: Store, project: Project, images: Sequence[Image], *, key: str) -> GalleryEvent:
    """Draw a grid of thumbnails with state, split and class colours.

    ``selected`` are the photos whose boxes are ticked: a photo that is not shown any more is not
    selected any more. See `clear_selection`.
    """
    colors = {category.category_id: category.color for category in project.categories}
    tiles = [
        {
            "id": image.id,
            "url": projects.photo_link(store, image, "thumbnail"),
            "name": image.name.rsplit("/", 1)[-1],
            "badge": state_title(image) + (f" · {image.split}" if image.split else ""),
            "tone": image.state.value,
            "colors": [colors[i] for i in image.category_ids if i in colors][:6],
        }
        for image in images
    ]
    version = st.session_state.get(_version_key(key), 0)
    shown = [image.id for image in images]
    data = {
        "assets_hash": assets_hash(),
        "tiles": tiles,
        "version": version,
        "selected": _selected(st.session_state.get(key), version, shown),
    }
    result = _gallery(key=key, data=data, on_selected_change=_take_note, on_open_change=_take_note)
    return GalleryEvent(_selected(result, version, shown), result.get("open"))


def clear_selection(key: str) -> None:
    """Untick all boxes of a gallery from the next run on: what they stood for is done."""
    st.session_state[_version_key(key)] = st.session_state.get(_version_key(key), 0) + 1


def _selected(state: object, version: int, shown: Sequence[str]) -> list[str]:
    """Give the shown ids that are ticked; what was ticked before the last clearing does not count."""
    sent = cast(Mapping[str, Any], state).get("selected") if isinstance(state, Mapping) else None
    if sent is None or sent["version"] != version:
        return []
    ticked = set(sent["ids"])
    return [image_id for image_id in shown if image_id in ticked]


def _version_key(key: str) -> str:
    return f"{key}_version"


def _take_note() -> None:
    """Streamlit hands a value on only where it has a callback; the page reads the return value."""


def state_title(image: Image) -> str:
    """Say in a few words how far an image is."""
    if image.shows_no_damage:
        is_approved = image.state is ImageState.APPROVED
        return "No damage, approved" if is_approved else "No damage"
    if image.state is ImageState.UNLABELLED and image.suggestion_count:
        return f"{image.suggestion_count} suggested"
    return STATE_TITLES[image.state]
