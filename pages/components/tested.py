"""Charts of what checkpoints reach on photos that they were not chosen by."""

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from core.domain.runs import Run
from core.services.every_epoch import MeasuredEpoch

MANY_EPOCHS = 20  # from here on not each has its number on the axis


def epoch_curves(
    runs: Sequence[Run], tested: Mapping[str, Sequence[MeasuredEpoch]], colors: Mapping[str, str]
) -> go.Figure:
    """Draw test solid and valid dotted, per epoch; a star where the validation photos choose.

    Args:
        colors: of the runs by id, as on the Curves page.
    """
    drawn = go.Figure()
    for run in runs:
        color, found = colors[run.id], tested[run.id]
        lines = (
            ("test", "solid", [epoch.scores.miou_foreground for epoch in found]),
            ("valid", "dot", [epoch.valid for epoch in found]),
        )
        for name, dash, values in lines:
            drawn.add_scatter(
                x=[epoch.epoch for epoch in found],
                y=values,
                name=html.escape(f"{run.name}, {name}", quote=False),
                mode="lines+markers",
                line={"color": color, "dash": dash, "width": 2},
                marker={"size": 5},
                hovertemplate="%{y:.4f}",
            )
        for epoch in found:
            if epoch.is_best_on_valid:
                drawn.add_scatter(
                    x=[epoch.epoch],
                    y=[epoch.scores.miou_foreground],
                    mode="markers",
                    marker={
                        "symbol": "star",
                        "size": 15,
                        "color": color,
                        "line": {"width": 1, "color": "white"},
                    },
                    hovertemplate=f"chosen on valid: %{{y:.4f}}<extra>{html.escape(run.name)}</extra>",
                    showlegend=False,
                )
    _calm(drawn, "Foreground mIoU", "epoch")
    epochs = [epoch.epoch for found in tested.values() for epoch in found]
    if epochs and max(epochs) - min(epochs) < MANY_EPOCHS:
        drawn.update_xaxes(dtick=1)
    return drawn


def class_bars(bars: Sequence[tuple[str, str, Mapping[str, float | None]]]) -> go.Figure:
    """Draw the IoU per class of some checkpoints side by side: each a title, a colour, IoU by class name."""
    drawn = go.Figure()
    for title, color, ious in bars:
        drawn.add_bar(
            x=[html.escape(name, quote=False) for name in ious],
            y=list(ious.values()),
            name=html.escape(title, quote=False),
            marker={"color": color},
            hovertemplate="%{y:.3f}",
        )
    return _calm(drawn, "IoU per class on test", None)


def _calm(drawn: go.Figure, title: str, x_title: str | None) -> go.Figure:
    drawn.update_layout(
        title={"text": title, "font": {"size": 14}},
        height=340,
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
        legend={"orientation": "h", "y": -0.25, "font": {"size": 11}},
        hovermode="x unified",
        xaxis={"title": x_title},
        yaxis={"rangemode": "tozero"},
        barmode="group",
        uirevision="keep",
    )
    return drawn
