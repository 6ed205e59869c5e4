"""What the viewer is given, wherever a checkpoint's predictions are shown."""

import streamlit as st

from core.domain.images import Image
from core.domain.labels import Category
from core.domain.runs import Job, Run
from core.services import evaluation, predictors, projects, training
from core.services.evaluation import EpochPicture, ImageScore
from core.services.home import Store
from pages.components.jobs import warn_without_worker
from pages.components.shell import part, shown_errors
from pages.components.viewer import MAX_SERIES, ViewerClass, ViewerEpoch, ViewerImage, ViewerSeries

CHOSEN_ROWS = "review_rows"
PHOTO_PX, IOU_PX = 98, 64  # a long name must not push the figures out of a narrow table


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


def viewer_series(store: Store, runs: list[Run], image_id: str) -> list[ViewerSeries]:
    """Give what each run made of one photo; runs that did not validate on it are left out."""
    found = [(run, evaluation.epoch_pictures(store, run, image_id)) for run in runs]
    return [
        ViewerSeries(run.id, run.name, viewer_epochs(store, run, pictures))
        for run, pictures in found
        if pictures
    ]


def choose_rivals(store: Store, run: Run) -> list[Run]:
    """Draw the choice of the runs to compare a run with; nothing where there is none."""
    others = _comparable(store, run)
    if not others:
        return []
    chosen = st.multiselect(
        "Compare with",
        list(others),
        format_func=lambda run_id: others[run_id].name,
        max_selections=MAX_SERIES - 1,
        placeholder="Other runs",
        key=f"compare_{run.id}",
    )
    return [others[run_id] for run_id in chosen]


def _comparable(store: Store, run: Run) -> dict[str, Run]:
    """Give the project's other runs, by id, with the same classes and a validation photo in common."""
    names, photos = _validated(store, run, run.data_version_id)
    others = {o.id: o for o in training.list_runs(store, run.project_id) if o.epochs_done and o.id != run.id}
    data = {o.id: _validated(store, o, o.data_version_id) for o in others.values()}
    return {o: others[o] for o, (known, shared) in data.items() if known == names and shared & photos}


@st.cache_data(max_entries=200, show_spinner=False)
def _validated(_store: Store, _run: Run, version_id: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Give a data version's class names and the ids of its validation photos; a version never changes."""
    version = training.data_version(_store, _run)
    photos = frozenset(item.image_id for item in version.items if item.split == "valid")
    return tuple(category.name for category in version.categories), photos


def score_table(run_id: str, scores: list[ImageScore], image_id: str) -> str:
    """Draw the table of photos, worst first; give the id of the chosen one."""
    rows = [
        {
            "Photo": score.name.rsplit("/", 1)[-1],
            "IoU": score.iou,
            "Missed": score.missed_share * 100,
            "False": score.false_share * 100,
        }
        for score in scores
    ]
    event = st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        height=min(640, 35 * (len(rows) + 1) + 3),
        on_select="rerun",
        selection_mode="single-row",
        key=f"scores_{run_id}",
        column_config={
            "Photo": st.column_config.TextColumn(width=PHOTO_PX),
            "IoU": st.column_config.ProgressColumn(min_value=0, max_value=1, format="%.3f", width=IOU_PX),
            "Missed": st.column_config.NumberColumn(
                format="%.1f %%", help="Damage not found, share of photo"
            ),
            "False": st.column_config.NumberColumn(format="%.1f %%", help="Called damage, is none"),
        },
    )
    chosen = (run_id, tuple(event.selection.rows))
    if st.session_state.get(CHOSEN_ROWS) == chosen:
        return image_id
    st.session_state[CHOSEN_ROWS] = chosen  # an emptied choice too, so that the same row can be chosen again
    return scores[chosen[1][0]].image_id if chosen[1] else image_id


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
