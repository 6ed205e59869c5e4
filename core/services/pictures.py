"""Pictures for the browser: photos, stored predictions, and labels drawn as grey PNGs of class indices."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import NotFound
from core.domain.images import Image, Project
from core.domain.labels import IGNORED, Annotation
from core.domain.training import DataVersion
from core.imaging.masks import label_map
from core.imaging.overlay import at_display_size, blend, encode_grey_png, encode_jpeg
from core.imaging.reading import decode_rgb
from core.services import links
from core.services.home import Store
from core.storage import annotations, images, projects, versions

ANY_DAMAGE = "any"
OPACITY = 0.35
GONE = "#808080"
MAX_COLORS = 255


def photo_file(store: Store, image_id: str, rendition: str) -> tuple[Path, str]:
    """Give the file and the media type of one rendition of a photo. Raises NotFound."""
    if rendition not in get_args(images.Rendition):
        raise NotFound(f"There is no rendition “{rendition}” of a photo.")
    key, media_type = images.rendition(store, image_id, cast("images.Rendition", rendition))
    return store.blobs.local(key), media_type


def stored_file(store: Store, key: str) -> Path:
    """Give a stored picture by its blob key. Raises NotFound."""
    return store.blobs.local(key)


def file_link(store: Store, key: str) -> str:
    """Give the signed link of a stored picture, relative to the app's root."""
    return links.sign(store, f"file/{key}")


def truth_link(store: Store, image: Image, rev: int, version_id: str, ignored: Collection[int] = ()) -> str:
    """Give the signed link of an image's labels in the classes of a data version, or as ``ANY_DAMAGE``.

    Args:
        ignored: ids of categories whose pixels are IGNORED whatever the version.
    """
    more = {"ignored": ",".join(map(str, ignored))} if ignored else {}
    return links.sign(store, f"truth/{image.id}", rev=str(rev), version=version_id, **more)


def truth_png(store: Store, image_id: str, parameters: Mapping[str, str]) -> bytes:
    """Draw an image's labels at display size: grey PNG, a pixel's value is its class index, or IGNORED.

    ``version`` names the data version that gives the classes, or is ``ANY_DAMAGE``: all damage is 1.
    ``ignored``, where it is there, lists the ids of further categories that count nowhere.

    Raises:
        NotFound: the image, the revision or the data version does not exist any more.
    """
    image = images.get(store, image_id)
    wanted = parameters["version"]
    version = None if wanted == ANY_DAMAGE else versions.get(store, wanted)
    ignored = [int(word) for word in parameters.get("ignored", "").split(",") if word]
    truth = truth_map(store, image, int(parameters["rev"]), version, ignored)
    return encode_grey_png(at_display_size(truth))


def truth_map(
    store: Store, image: Image, rev: int, version: DataVersion | None, ignored: Collection[int] = ()
) -> NDArray[np.uint8]:
    """Paint an image's labels as class indices of a data version, uint8 (H, W); None: any damage is 1.

    Args:
        ignored: ids of categories whose pixels are IGNORED whatever the version.

    Categories that the version does not know stay background, see ``class_index``.
    """
    with store.read() as connection:
        drawn: tuple[Annotation, ...] = ()
        if rev:
            drawn = annotations.read(connection, image.id, rev).annotations
        project = projects.read(connection, image.project_id)
    index = class_index(project, version) | dict.fromkeys(ignored, IGNORED)
    return label_map(drawn, index, (image.size_wh[1], image.size_wh[0]))


def labels_picture(store: Store, image_id: str, drawn: Sequence[Annotation]) -> bytes:
    """Lay labels over their photo, at display size, as JPEG; what is of a removed class is grey.

    Raises:
        NotFound: the photo was deleted.
    """
    image = images.get(store, image_id)
    known = projects.get(store, image.project_id).categories[: MAX_COLORS - 1]
    index = {a.category_id: len(known) + 1 for a in drawn}
    index |= {category.category_id: at for at, category in enumerate(known, start=1)}
    labels = at_display_size(label_map(drawn, index, (image.size_wh[1], image.size_wh[0])))
    key, _ = images.rendition(store, image_id, "view")
    photo = decode_rgb(store.blobs.get(key), at_least=min(labels.shape))
    small = np.asarray(cv2.resize(photo, labels.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    colors = ["#000000", *(category.color for category in known), GONE]
    return encode_jpeg(blend(small, labels, colors, OPACITY, outline=True), quality=80)


def class_index(project: Project, version: DataVersion | None) -> dict[int, int]:
    """Map a project's category ids to a model's channels; None: all to 1.

    In the project that the version comes from, ids decide, so that a renamed class stays the same
    class; in another one the names do, letter case aside.
    """
    if version is None:
        return {category.category_id: 1 for category in project.categories}
    if version.project_id == project.id:
        return version.class_index
    channels = {category.name.casefold(): i for i, category in enumerate(version.categories, start=1)}
    channels |= {category.name.casefold(): IGNORED for category in version.ignored}
    names = {category.category_id: category.name.casefold() for category in project.categories}
    return {category_id: channels[name] for category_id, name in names.items() if name in channels}
