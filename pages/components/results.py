"""What the viewer is given wherever predictions are shown, and the table of photos beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from core.domain.images import Image
from core.domain.labels import Category, Split
from core.domain.runs import Epoch, Job, Run
from core.services import confusions, evaluation, intervals, predictors, projects, training
from core.services.confusions import Cell, Choice, MeasuredPhotos, Order
from core.services.evaluation import EpochPicture
from core.services.home import Store
from pages.components.charts import to_address
from pages.components.jobs import warn_without_worker
from pages.components.shell import part, shown_errors
from pages.components.viewer import MAX_SERIES, ViewerClass, ViewerEpoch, ViewerImage, ViewerSeries
from pages.components.words import plain

CHOSEN_ROWS = "review_rows"
WORST_BY, WITH = "review_worst", "review_with"
CELL = "cell"  # in the address alone: category ids of what is labelled and of what it is called, as in "3-1"
ORDERS: dict[Order, str] = {
    "iou": "IoU",
    "dice": "Dice",
    "any_iou": "Any-damage IoU",
    "missed": "Missed",
    "false": "False",
}
OF_CLASS = "class-"  # and a category's id: by the IoU of that class
ANY = "any"
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
    """Give what each run made of one photo; runs and epochs without a picture of it are left out."""
    found = [
        (
            run,
            [
                picture
                for picture in evaluation.epoch_pictures(store, run, image_id)
                if picture.prediction_link
            ],
        )
        for run in runs
    ]
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
    classes, _, revs = _validated(store, run, run.data_version_id)
    others = {o.id: o for o in training.list_runs(store, run.project_id) if o.epochs_done and o.id != run.id}
    data = {o.id: _validated(store, o, o.data_version_id) for o in others.values()}
    return {
        o: others[o] for o, (known, _, theirs) in data.items() if known == classes and theirs.keys() & revs
    }


def with_other_labels(store: Store, runs: Sequence[Run], image_id: str) -> list[Run]:
    """Give the runs that were measured on other labels of a photo than the first of them was."""

    def labels(run: Run) -> tuple[int | None, frozenset[int]]:
        _, ignored, revs = _validated(store, run, run.data_version_id)
        return revs.get(image_id), ignored

    return [run for run in runs if labels(run) != labels(runs[0])]


@st.cache_data(max_entries=200, show_spinner=False)
def _validated(
    _store: Store, _run: Run, version_id: str
) -> tuple[tuple[int, ...], frozenset[int], dict[str, int]]:
    """Give the ids of a data version's classes, in order, and of those that count nowhere; then revisions.

    Revisions are those of the labels of its validation photos, by id. A version never changes.
    """
    version = training.data_version(_store, _run)
    classes = tuple(category.category_id for category in version.categories)
    ignored = frozenset(category.category_id for category in version.ignored)
    return classes, ignored, {item.image_id: item.rev for item in version.split("valid")}


def warn_of_different_data(store: Store, runs: Sequence[Run], splits: Sequence[Split]) -> None:
    """Warn where runs beside each other were not measured on the same photos, labels and classes."""
    different = [
        split
        for split in splits
        if len({_measured_on(store, run, run.data_version_id, split) for run in runs}) > 1
    ]
    if different:
        st.warning(
            f"Measured on different photos or labels in {' and '.join(different)}: these figures do not "
            "compare.",
            icon=":material/warning:",
        )


@st.cache_data(max_entries=500, show_spinner=False)
def _measured_on(_store: Store, _run: Run, version_id: str, split: Split) -> str:
    return intervals.measured_on(_store, _run, split)


def measured_photos(store: Store, run: Run, epoch: Epoch) -> MeasuredPhotos | None:
    """Give what an epoch made of the validation photos, read anew only when something has changed."""
    return _measured_photos(store, run, run.id, epoch.epoch, confusions.state(store, run, epoch))


@st.cache_data(max_entries=4, show_spinner=False)
def _measured_photos(_store: Store, _run: Run, run_id: str, epoch: int, state: str) -> MeasuredPhotos | None:
    return confusions.read(_store, _run, epoch)


def choose_photos(categories: Sequence[Category]) -> Choice:
    """Draw the choice of the photos to list, and of which first; it begins as the address says."""
    cell = _asked_cell(categories)
    titles: dict[str, str] = dict(ORDERS)
    titles |= {f"{OF_CLASS}{c.category_id}": f"IoU of {c.name}" for c in categories}
    if cell is not None:
        titles = {"cell": "Pixels"} | titles
    names = {ANY: "Anything"} | {str(c.category_id): c.name for c in categories}
    _begin(WORST_BY, "worst", list(titles), "iou")
    _begin(WITH, "with", list(names), ANY)
    with st.container(horizontal=True):
        by = st.selectbox("Worst by", list(titles), format_func=titles.__getitem__, key=WORST_BY)
        shows = st.selectbox(
            "Photos with", list(names), format_func=names.__getitem__, key=WITH,
            help="In the labels, or in what this epoch predicts.",
        )  # fmt: skip
    to_address("worst", [] if by == "iou" else [by])
    to_address("with", [] if shows == ANY else [shows])
    place = {c.category_id: i for i, c in enumerate(categories, start=1)}
    of_class = place[int(by.removeprefix(OF_CLASS))] if by.startswith(OF_CLASS) else None
    order: Order = "class" if of_class else next((o for o in (*ORDERS, "cell") if o == by), "iou")
    return Choice(order, of_class, None if shows == ANY else place[int(shows)], cell)


def filter_by_cell(categories: Sequence[Category], cell: Cell) -> None:
    """Ask for the photos with pixels in a cell of the confusion matrix, those with the most first."""
    labelled, called = (str(categories[i - 1].category_id) if i else "0" for i in cell)
    st.query_params[CELL] = f"{labelled}-{called}"
    st.session_state[WORST_BY], st.session_state[WITH] = "cell", ANY


def describe_list(
    photos: MeasuredPhotos, categories: Sequence[Category], choice: Choice, listed: int, epoch: int
) -> None:
    """Say which photos are listed, of which, with the way out of a cell's filter."""
    if choice.cell is not None:
        words = cell_words(choice.cell, ["", *(plain(category.name) for category in categories)])
        with st.container(horizontal=True, vertical_alignment="center", key="review_cell"):
            st.markdown(f":material/filter_alt: {words}: {count_words(listed)}", width="stretch")
            how = "Show the other photos again"
            st.button("Remove", icon=":material/close:", help=how, type="tertiary", on_click=_forget_cell)
    of = "" if listed == len(photos.ids) else f" of {len(photos.ids):,}"
    said = f"{listed:,}{of} validation photos, worst first at epoch {epoch}"
    if lost := int((~photos.has_picture).sum()):
        said += f"; {lost:,} without a picture come last"
    if photos.deleted:
        said += f"; {photos.deleted:,} deleted since left out"
    st.caption(said)


def cell_words(cell: Cell, names: Sequence[str]) -> str:
    """Say what a cell of the confusion matrix holds; ``names`` are by class index."""
    labelled, called = cell
    if not labelled:
        return f"nothing labelled, called {names[called]}" if called else "nothing labelled, nothing called"
    if not called:
        return f"labelled {names[labelled]}, missed"
    return f"labelled {names[labelled]}, {'found' if called == labelled else f'called {names[called]}'}"


def count_words(photos: int) -> str:
    """Say how many photos."""
    return f"{photos:,} {'photo' if photos == 1 else 'photos'}"


def _forget_cell() -> None:
    st.query_params.pop(CELL, None)
    if st.session_state.get(WORST_BY) == "cell":
        st.session_state[WORST_BY] = "iou"


def _asked_cell(categories: Sequence[Category]) -> Cell | None:
    """Read the cell from the address; None where the run does not know both classes."""
    place = {"0": 0} | {str(c.category_id): i for i, c in enumerate(categories, start=1)}
    labelled, _, called = st.query_params.get(CELL, "").partition("-")
    return (place[labelled], place[called]) if labelled in place and called in place else None


def _begin(key: str, name: str, options: Sequence[str], default: str) -> None:
    """Let a widget begin as the address says, and leave what the run on show does not have."""
    wanted = st.session_state[key] if key in st.session_state else st.query_params.get(name)
    st.session_state[key] = wanted if wanted in options else default


def score_table(
    run_id: str, photos: MeasuredPhotos, listed: NDArray[np.int64], choice: Choice, image_id: str
) -> str:
    """Draw the table of the listed photos; give the id of the one that was chosen just now, or the old one.

    Args:
        listed: places in ``photos``, in the order of the rows.
    """
    key = f"scores_{run_id}_{choice.by}_{choice.class_index}_{choice.shows}_{choice.cell}"
    columns = {
        "Photo": st.column_config.TextColumn(width=PHOTO_PX),
        "Pixels": st.column_config.NumberColumn(format="localized", help="That are so confused"),
        "Missed": st.column_config.NumberColumn(format="%.1f %%", help="Damage not found, share of photo"),
        "False": st.column_config.NumberColumn(format="%.1f %%", help="Called damage, is none"),
    }
    ious = st.column_config.ProgressColumn(min_value=0, max_value=1, format="%.3f", width=IOU_PX)
    rows = table_rows(photos, listed, choice)
    event = st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        height=min(640, 35 * (len(listed) + 1) + 3),
        on_select="rerun",
        selection_mode="single-row",
        key=key,
        column_config={name: columns.get(name, ious) for name in rows},
        placeholder="–",
    )
    chosen = (key, tuple(event.selection.rows))
    if st.session_state.get(CHOSEN_ROWS) == chosen:
        return image_id
    st.session_state[CHOSEN_ROWS] = chosen  # an emptied choice too, so that the same row can be chosen again
    row = next((row for row in chosen[1] if row < len(listed)), None)
    return image_id if row is None else photos.ids[listed[row]]


def table_rows(photos: MeasuredPhotos, listed: NDArray[np.int64], choice: Choice) -> pd.DataFrame:
    """Give the rows of the table of photos; a figure that is there only for the sorting stands first."""
    rows: dict[str, Any] = {"Photo": [_short_name(photos, place) for place in listed]}
    if choice.by not in ("iou", "missed", "false"):
        name = {"class": "IoU of class", "cell": "Pixels"}.get(choice.by) or ORDERS[choice.by]
        rows[name] = confusions.figures(photos, choice)[listed]
    rows["IoU"] = photos.scores["iou"][listed]
    rows["Missed"] = photos.scores["missed"][listed] * 100
    rows["False"] = photos.scores["false"][listed] * 100
    return pd.DataFrame(rows)


def _short_name(photos: MeasuredPhotos, place: int) -> str:
    name = photos.names[place].rsplit("/", 1)[-1]
    return name if photos.has_picture[place] else f"{name} (no picture)"


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
