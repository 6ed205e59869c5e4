"""What the viewer is given, wherever a checkpoint's predictions are shown."""

import streamlit as st

from core.domain.images import Image
from core.domain.labels import Category
from core.domain.runs import Job, Run
from core.services import evaluation, predictors, projects
from core.services.evaluation import EpochPicture
from core.services.home import Store
from pages.components.jobs import warn_without_worker
from pages.components.shell import part, shown_errors
from pages.components.viewer import ViewerClass, ViewerEpoch, ViewerImage


def viewer_classes(categories: tuple[Category, ...]) -> list[ViewerClass]:
    """Give a model's classes: channel, name and colour."""
    return [ViewerClass(i, c.name, c.color) for i, c in enumerate(categories, start=1)]


def viewer_image(store: Store, image: Image) -> ViewerImage:
    """Give a project's photo at display size."""
    return ViewerImage(image.id, image.name, projects.photo_link(store, image, "view"), *image.size_wh)


def viewer_epochs(store: Store, run: Run, pictures: list[EpochPicture]) -> list[ViewerEpoch]:
    """Give epochs with their predictions of one photo, the best and the champion marked."""
    best = evaluation.best_epoch(evaluation.epochs(store, run.id))
    champion = evaluation.champion(store, run.project_id)
    chosen = (champion.run_id, champion.epoch) if champion else None
    return [
        ViewerEpoch(
            picture.epoch,
            picture.prediction_link,
            picture.confidence_link,
            picture.iou,
            picture.dice,
            is_best=best is not None and best.epoch == picture.epoch,
            is_champion=chosen == (run.id, picture.epoch),
        )
        for picture in pictures
    ]


def is_prepared(store: Store, run: Run, epoch: int) -> bool:
    """Tell whether a checkpoint can predict; if not, have it exported and say so meanwhile."""
    if predictors.is_ready(store, run.id, epoch):
        if slower := predictors.note(store, run, epoch):
            st.caption(slower)
            warn_without_worker(store)
        return True
    with shown_errors():
        _wait_for(store, evaluation.prepare(store, run, epoch), epoch)
    return False


def _wait_for(store: Store, job: Job, epoch: int) -> None:
    def waiting() -> None:
        now = evaluation.job(store, job.id)
        if not now.state.is_final:
            st.info(f"Epoch {epoch} is being prepared for predictions.", icon=":material/hourglass_top:")
            warn_without_worker(store)
            return
        with shown_errors():
            evaluation.require_done(now)
            st.rerun()

    part(waiting, every="1s")()


def figure(value: float | None) -> str:
    """Give a score with three digits; a dash where it is not defined."""
    return "–" if value is None else f"{value:.3f}"
