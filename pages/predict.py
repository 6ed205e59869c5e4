"""Drop photos, see the damage, take the result along, mark what was missed."""

import streamlit as st

from core.domain.errors import AppError, NotFound
from core.domain.runs import Run
from core.services import evaluation, prediction, training
from core.services.home import open_home
from core.services.prediction import PhotoPrediction, Quality
from pages.components.findings import draw_result, found_words
from pages.components.results import count_words, is_prepared
from pages.components.shell import author, current_project, empty_state, shown_errors
from pages.components.sketch import ROUND, sketch_strokes
from pages.components.words import plain

TYPES = ["jpg", "jpeg", "png", "webp", "heic", "heif", "tif", "tiff", "bmp", "mpo"]

SAVED = "sketch_saved"  # (photo's SHA-256, image id) of the sketch saved last

store = open_home()
project = current_project()


@st.cache_data(max_entries=500, show_spinner="Looking for damage…")
def predicted(_run: Run, run_id: str, epoch: int, name: str, data: bytes) -> PhotoPrediction:
    """Predict one photo, once per checkpoint."""
    return prediction.predict_photo(store, _run, epoch, name, data)


def draw_sketch(found: PhotoPrediction) -> None:
    """Let the visitor mark what was missed and put it into the labelling queue."""
    box = st.expander("Mark what it missed", icon=":material/edit:", key="sketch_open", on_change="rerun")
    with box:
        if not box.open:
            return
        known = prediction.project_categories(found, project.categories)
        if not known:
            st.caption("This project has no class to mark yet.")
            return
        strokes, category_ids = sketch_strokes(store, found, list(known.values()))
        if st.button("Save for labelling", disabled=not strokes, type="primary", icon=":material/save:"):
            with shown_errors():
                image_id = prediction.save_sketch(
                    store, project.id, found, strokes, category_ids, author=author()
                )
                st.session_state[SAVED] = (found.sha256, image_id)
                st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1
                st.rerun()
        sha256, image_id = st.session_state.get(SAVED, ("", ""))
        if sha256 == found.sha256:
            st.success("Saved as a draft; it waits in the labelling queue.", icon=":material/check:")
            st.page_link(
                "pages/label.py", label="Finish it on the canvas", icon=":material/draw:",
                query_params={"image": image_id},
            )  # fmt: skip


@st.cache_data(max_entries=20, ttl="1m", show_spinner=False)
def measured_quality(_run: Run, run_id: str, epoch: int) -> Quality:
    """Say how good a checkpoint is, once a minute: a test may measure it meanwhile."""
    return prediction.quality(store, _run, epoch)


def draw_model(run: Run, epoch: int) -> None:
    """Say which model predicts here and how good it is."""
    champion = evaluation.champion(store, project.id)
    quality = measured_quality(run, run.id, epoch)
    miou = "not defined" if quality.miou is None else f"{quality.miou:.3f}"
    photos = count_words(quality.images).replace(" ", " test " if quality.split == "test" else " validation ")
    classes = len(training.data_version(store, run).categories)
    st.caption(
        f"{'Champion' if champion else 'Best epoch so far'}: {plain(run.name)}, epoch {epoch}, "
        f"{classes} {'class' if classes == 1 else 'classes'}. Foreground mIoU {miou} on "
        f"{photos}. A pre-assessment, not a repair estimate.",
        help="How well what it paints matches the labels there: 0 is not at all, 1 is exactly.",
    )
    if quality.is_weak:
        st.warning(
            "This model is still weak: it misses much damage and finds some that is not there. "
            "Label more photos or train longer.",
            icon=":material/warning:",
        )


st.title("Predict", anchor=False)
try:
    run, epoch = evaluation.checkpoint_to_show(store, project.id)
except NotFound as error:
    empty_state("No model yet", str(error), ":material/model_training:")
    st.page_link("pages/train.py", label="Train a model", icon=":material/model_training:")
    st.stop()
draw_model(run, epoch)
if not is_prepared(store, run, epoch):
    st.stop()

files = st.file_uploader("Photos", type=TYPES, accept_multiple_files=True, key="predict_files")
if not files:
    empty_state(
        "Drop a photo above",
        "The damage found is painted over it within a second.",
        ":material/image_search:",
    )
    st.stop()

results: list[PhotoPrediction] = []
for file in files:
    try:
        results.append(predicted(run, run.id, epoch, file.name, file.getvalue()))
    except AppError as error:
        st.error(f"{file.name}: {error}", icon=":material/error:")
if results:
    names = [found.name for found in results]
    at = 0
    if len(results) > 1:
        at = st.segmented_control(
            "Photo",
            range(len(results)),
            format_func=names.__getitem__,
            default=0,
            label_visibility="collapsed",
        )
    draw_result(store, results[at or 0])
    draw_sketch(results[at or 0])
    if len(results) > 1:
        st.dataframe(
            [
                {"Photo": f.name, "Found": found_words(f), **{n: f"{s:.1%}" for n, s in f.share.items()}}
                for f in results
            ],
            hide_index=True,
        )
        st.download_button(
            "COCO json of all photos",
            lambda: prediction.coco_json(store, results),
            "predictions_coco.json",
            "application/json",
            on_click="ignore",
            icon=":material/download:",
        )
