"""Runs beside each other: the settings that tell them apart, and which go with a better figure."""

import functools
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from core.services import recipes, run_table
from core.services.run_table import Row, Value
from pages.components.results import figure
from pages.components.settings import GROUPS
from pages.components.settings import TITLES as CHOICES

TITLES = {
    **{"preset": "Preset", "model": "Model", "encoder": "Encoder", "encoder_weights": "Encoder’s weights"},
    **{
        "start_weights": "Weights of your own",
        "start_from": "Start from",
        "keep": "Checkpoints to keep",
        "pictures": "Pictures of validation photos",
    },
    **{"size": "Image size", "crop": "Train on squares of", "seed": "Seed", "deterministic": "Deterministic"},
    **{"batch_size": "Batch size", "decoder_learning_rate": "Peak learning rate", "epochs": "Epochs"},
    **{"devices": "GPUs"},
    **{setting.key: setting.title for settings in GROUPS.values() for setting in settings},
}
LINES = [[0, "#56B4E9"], [1, "#D55E00"]]  # seen on light and on dark, by all eyes
SCROLLED = (
    ".st-key-runs_parallel {overflow-x: auto} .st-key-runs_parallel > * {min-width: %dpx}"
    ".st-key-runs_parallel .axis :is(path, line) {stroke: #8A94A0 !important}"
    ".st-key-runs_parallel .axis text {text-shadow: none !important}"
)
AXIS_PIXELS = 100  # with less the words of an axis run into the next one
MEASURES = {"Spearman": "Spearman’s rank correlation", "eta squared": "Correlation ratio (eta squared)"}


@functools.cache
def setting_words() -> dict[str, dict[str, str]]:
    """Map settings to the words of their values, as the Train page has them."""
    models = recipes.models()
    return {
        "model": models,
        "encoder": {key: title for model in models for key, title in recipes.encoders(model).items()},
        "preset": {key: preset.title for key, preset in recipes.presets().items()},
        **CHOICES,
        "augmentation": recipes.augmentations(),
    }


def draw_comparison(chosen: Sequence[Row]) -> None:
    """Draw what tells the chosen runs apart: settings, and how they lie beside the figure."""
    if len({row.data for row in chosen}) > 1:
        st.warning("Trained on different data: these figures do not compare.", icon=":material/warning:")
    differing = run_table.differences(chosen)
    table = {"Best mIoU": [figure(row.miou) for row in chosen], "Data": [row.data_title for row in chosen]}
    table |= {
        TITLES.get(key, key): [setting_word(key, value) for value in values]
        for key, values in differing.items()
    }
    table = {title: texts for title, texts in table.items() if len(set(texts)) > 1}
    st.subheader("What tells them apart", anchor=False)
    if table:
        names = run_table.titles(chosen)
        lines = [{"Setting": title, **dict(zip(names, texts, strict=True))} for title, texts in table.items()]
        first = {"Setting": st.column_config.TextColumn("", pinned=True)}
        st.dataframe(lines, hide_index=True, height=35 * (len(lines) + 1) + 3, column_config=first)
    if not differing:
        st.caption("Their settings are the same.")
    measured = [row for row in chosen if row.miou is not None]
    if len(measured) > 1 and run_table.axes(measured):
        _draw_parallel(measured)
        st.caption("One line per run. Drag along an axis to keep the lines that pass there.")


def setting_word(key: str, value: Value) -> str:
    """Say a setting's value as the Train page does."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        is_id = key in ("start_from", "start_weights") and value
        return f"…{value[-12:]}" if is_id else setting_words().get(key, {}).get(value, value) or "–"
    return str(value) if isinstance(value, int) else f"{value:g}"


def _draw_parallel(rows: Sequence[Row]) -> None:
    """Draw runs as lines over the settings that vary, to their best mIoU."""
    dimensions: list[dict[str, object]] = [
        {
            "label": TITLES.get(axis.key, axis.key),
            "values": axis.positions,
            "tickvals": [place for place, _ in axis.ticks],
            "ticktext": [setting_word(axis.key, value).partition(":")[0][:20] for _, value in axis.ticks],
            "range": axis.ends,
        }
        for axis in run_table.axes(rows)
    ]
    miou = [row.miou for row in rows]
    dimensions.append({"label": "Best mIoU", "values": miou, "tickformat": ".3f"})
    font = {"color": "#E7ECF2" if st.context.theme.type == "dark" else "#17202B", "size": 11}
    chart = go.Figure(
        go.Parcoords(
            dimensions=dimensions, line={"color": miou, "colorscale": LINES}, labelangle=-12,
            labelfont=font, tickfont=font,
            rangefont={"color": "rgba(0, 0, 0, 0)"},  # would repeat the ends of the last axis
        )
    )  # fmt: skip
    chart.update_layout(height=360, margin={"l": 100, "r": 60, "t": 70, "b": 24}, uirevision="keep")
    with st.container(key="runs_parallel"):
        st.html(f"<style>{SCROLLED % (AXIS_PIXELS * len(dimensions))}</style>")
        st.plotly_chart(chart, key="runs_axes", config={"displaylogo": False})


def draw_influences(shown: Sequence[Row]) -> None:
    """Draw which settings go together with a better figure, where there are runs enough to ask."""
    found = run_table.influences(shown)
    if not found:
        return
    with st.expander("Which settings go with a better mIoU", icon=":material/insights:", key="influences"):
        lines = [
            (TITLES.get(one.key, one.key), MEASURES[one.measure], one.value, one.chance) for one in found
        ]
        table = pd.DataFrame(lines, columns=["Setting", "Measure", "Value", "By chance"])
        numbers = {name: st.column_config.NumberColumn(format="%.2f") for name in ("Value", "By chance")}
        st.dataframe(table, hide_index=True, column_config=numbers)
        data = run_table.comparable(shown)[0].data
        st.caption(
            f"Over {found[0].runs} finished runs of this list on data {data}. Few runs, correlated settings: "
            "a hint, no proof. Rank correlation: -1 falls throughout, 1 rises throughout. Eta squared: the "
            "share of the differences in mIoU that lies between the values. A value near “by chance” says "
            "nothing."
        )
