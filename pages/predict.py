"""Drop photos, see the damage, take the result along, mark what was missed."""

import streamlit as st

from core.domain.errors import AppError, NotFound
from core.domain.runs import Run
from core.services import evaluation, prediction, training
from core.services.home import open_home
from core.services.prediction import PhotoPrediction
from pages.components.results import is_prepared, viewer_classes
from pages.components.shell import author, class_chip, current_project, empty_state, shown_errors
from pages.components.sketch import ROUND, sketch_strokes
from pages.components.viewer import ViewerEpoch, ViewerImage, viewer

TYPES = ["jpg", "jpeg", "png", "webp", "heic", "heif", "tif", "tiff", "bmp", "mpo"]

SAVED = "sketch_saved"  # (photo's SHA-256, image id) of the sketch saved last

store = open_home()
project = current_project()


@st.cache_data(max_entries=500, show_spinner="Looking for damage…")
def predicted(_run: Run, run_id: str, epoch: int, name: str, data: bytes) -> PhotoPrediction:
    """Predict one photo, once per checkpoint."""
    return prediction.predict_photo(store, _run, epoch, name, data)


def found_words(found: PhotoPrediction) -> str:
    """Say how many single damages there are of each class, the most frequent first: "scratch × 3"."""
    counts = sorted(found.counts.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{name} × {count}" for name, count in counts if count) or "none"


def draw_findings(found: PhotoPrediction) -> None:
    """Show how many single damages of each class were found and how large they are, the largest first."""
    rows = ["| Class | Found | Share |", "| :-- | --: | --: |"]
    for category in sorted(found.classes, key=lambda category: -found.share[category.name]):
        share, count = found.share[category.name], found.counts[category.name]
        name = class_chip(category).replace("|", "\\|").replace("} ", "}&nbsp;", 1)
        rows.append(f"| {name} | × {count} | **{share:.1%}** |" if share else f"| {name} | | :gray[none] |")
    st.markdown("**Share of the photo**")
    st.markdown("\n".join(rows))
    if not any(found.share.values()):
        st.caption("No damage found.")
        return
    st.caption(prediction.HOW_TOLD_APART[found.told_apart], help=prediction.TOO_SMALL)
    with st.expander("Single damages", icon=":material/format_list_numbered:"):
        st.dataframe(
            [
                {"Class": f.category, "Share": f"{f.share:.2%}", "Sure": f"{f.score:.0%}"}
                for f in found.findings
            ],
            hide_index=True,
            height="content" if len(found.findings) < 8 else 280,
        )


def draw_result(found: PhotoPrediction) -> None:
    """Show one photo with its damage, the shares and the downloads."""
    stage, side = st.columns([3, 1], gap="medium")
    with stage:
        viewer(
            key="viewer_predict",
            image=ViewerImage(found.sha256, found.name, prediction.link(store, found.view), *found.size_wh),
            truth_url=None,
            epochs=[
                ViewerEpoch(
                    found.epoch, prediction.link(store, found.mask), prediction.link(store, found.confidence)
                )
            ],
            epoch=found.epoch,
            classes=viewer_classes(found.classes),
            height=460,
        )
    with side:
        draw_findings(found)
        stem = found.name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        st.download_button(
            "Mask (PNG)", lambda: prediction.mask_png(store, found), f"{stem}_mask.png", "image/png",
            on_click="ignore", icon=":material/download:", width="stretch",
            help="At the photo's own size; a pixel's value is its class index.",
        )  # fmt: skip
        st.download_button(
            "Overlay (JPEG)", lambda: prediction.overlay_jpeg(store, found), f"{stem}_overlay.jpg",
            "image/jpeg", on_click="ignore", icon=":material/download:", width="stretch",
        )  # fmt: skip
        st.download_button(
            "COCO json", lambda: prediction.coco_json(store, [found]), f"{stem}_coco.json",
            "application/json", on_click="ignore", icon=":material/download:", width="stretch",
        )  # fmt: skip


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


st.title("Predict", anchor=False)
try:
    run, epoch = evaluation.checkpoint_to_show(store, project.id)
except NotFound as error:
    empty_state("No model yet", str(error), ":material/model_training:")
    st.page_link("pages/train.py", label="Train a model", icon=":material/model_training:")
    st.stop()
champion = evaluation.champion(store, project.id)
st.caption(
    f"{'Champion' if champion else 'Best epoch so far'}: {run.name}, epoch {epoch}, "
    f"{len(training.data_version(store, run).categories)} classes. A pre-assessment, not a repair estimate."
)
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
    draw_result(results[at or 0])
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
