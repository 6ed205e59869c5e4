"""A grid of photos to open and select: the Python half of assets/gallery.js."""

from dataclasses import dataclass

from core.domain.images import Image, Project
from core.domain.labels import ImageState
from core.services import projects
from core.services.home import Store
from pages.components.assets import assets_hash, component

_gallery = component("maskwright_gallery", "gallery.js")


@dataclass(frozen=True)
class GalleryEvent:
    """What the visitor did: the ids selected now, and the one just opened."""

    selected: list[str]
    opened: str | None


def gallery(
    store: Store, project: Project, images: list[Image], *, key: str, can_select: bool = True
) -> GalleryEvent:
    """Draw a grid of thumbnails with state, split and class colours."""
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
    result = _gallery(
        data={"tiles": tiles, "can_select": can_select, "assets_hash": assets_hash()},
        key=key,
        default={"selected": []},
        on_selected_change=lambda: None,
        on_open_change=lambda: None,
    )
    shown = {image.id for image in images}
    return GalleryEvent([i for i in result.selected or [] if i in shown], result.open)


def state_title(image: Image) -> str:
    """Say in a word or two how far an image is."""
    if image.state is ImageState.DONE and image.annotation_count == 0:
        return "No damage"
    return {
        ImageState.DONE: "Done",
        ImageState.IN_PROGRESS: "In progress",
        ImageState.UNLABELLED: "Unlabelled",
    }[image.state]
