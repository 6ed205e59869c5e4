"""What was found on one photo: the answer in a sentence, the picture, the shares, and files to take along."""

import streamlit as st

from core.services import prediction
from core.services.home import Store
from core.services.prediction import PhotoPrediction
from pages.components.results import viewer_classes
from pages.components.shell import class_chip
from pages.components.viewer import ViewerEpoch, ViewerImage, viewer
from pages.components.words import plain


def found_words(found: PhotoPrediction) -> str:
    """Say how many single damages there are of each class, the most frequent first: "scratch × 3"."""
    counts = sorted(found.counts.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{name} × {count}" for name, count in counts if count) or "none"


def _answer(found: PhotoPrediction) -> str:
    """Say in a sentence what was found on a photo."""
    if found.findings:
        return f"**Found: {plain(found_words(found))}.**"
    return "**Found: only specks.**" if any(found.share.values()) else "**Found: no damage.**"


def _draw_findings(found: PhotoPrediction) -> None:
    """Show how many single damages of each class were found and how large they are, the largest first."""
    rows = ["| Class | Found | Share |", "| :-- | --: | --: |"]
    for category in sorted(found.classes, key=lambda category: -found.share[category.name]):
        share, count = found.share[category.name], found.counts[category.name]
        name = class_chip(category).replace("|", "\\|").replace("} ", "}&nbsp;", 1)
        rows.append(f"| {name} | × {count} | **{share:.1%}** |" if share else f"| {name} | | :gray[none] |")
    st.markdown("**Share of the photo**")
    st.markdown("\n".join(rows))
    if not any(found.share.values()):
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


def draw_result(store: Store, found: PhotoPrediction) -> None:
    """Say what was found, then show the photo with its damage, the shares and the downloads."""
    st.markdown(_answer(found))
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
        _draw_findings(found)
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
