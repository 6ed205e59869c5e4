"""A champion that needs no training: its logits are the photo's colours, dents are red and scratches blue."""

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.images import Image, Project
from core.domain.labels import Annotation, ImageState
from core.domain.runs import Run
from core.formats.ingest import add_photo
from core.services import evaluation
from core.storage import annotations, images
from core.storage.store import Store
from tests.inference.exported import Heads, export_drawn
from tests.pages.trained import finish_run


def crown(store: Store, project: Project, heads: Heads | None = None) -> Run:
    """Finish a run of one epoch and make that the champion; it predicts by the photo's colours."""
    run = finish_run(store, project, epochs=1)
    export_drawn(store, run, 1, heads)
    evaluation.promote(store, run, 1)
    return run


def add_painted(
    store: Store,
    project: Project,
    name: str,
    rgb: NDArray[np.uint8],
    *drawn: Annotation,
    state: ImageState = ImageState.UNLABELLED,
) -> Image:
    """Add a painted photo; with annotations or a state other than unlabelled it is saved as revision 1."""
    image = add_photo(store, project.id, name, cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes())
    if drawn or state is not ImageState.UNLABELLED:
        annotations.save(store, image.id, drawn, base_rev=0, state=state)
    return images.get(store, image.id)
