"""The curves, drawn the same on every page."""

from collections.abc import Sequence

import plotly.graph_objects as go

from core.domain.runs import Epoch, Run

RUN_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#6A3D9A")
METRICS = {
    "miou_foreground": "Foreground mIoU",
    "loss": "Loss",
    "dice_foreground": "Foreground Dice",
    "pixel_accuracy": "Pixel accuracy",
}


def metric_figure(
    curves: Sequence[tuple[Run, Sequence[Epoch]]], metric: str, best: dict[str, int], *, height: int = 300
) -> go.Figure:
    """Draw one metric of some runs per epoch: valid solid, train dotted, the best epoch marked.

    Args:
        best: the best epoch by run id.
    """
    figure = go.Figure()
    for number, (run, epochs) in enumerate(curves):
        color = RUN_COLORS[number % len(RUN_COLORS)]
        for split, dash in (("val", "solid"), ("train", "dot")):
            _add_line(figure, epochs, f"{split}_{metric}", f"{run.name}, {_long(split)}", color, dash)
        _mark_best(figure, epochs, f"val_{metric}", best.get(run.id), color)
    return _calm(figure, METRICS[metric], height)


def class_figure(
    epochs: Sequence[Epoch], classes: Sequence[tuple[int, str, str]], best: int | None, *, height: int = 340
) -> go.Figure:
    """Draw the validation IoU per class and epoch; ``classes`` are (category_id, name, colour)."""
    figure = go.Figure()
    for category_id, name, color in classes:
        _add_line(figure, epochs, f"val_iou/{category_id}", name, color, "solid")
        _mark_best(figure, epochs, f"val_iou/{category_id}", best, color)
    return _calm(figure, "IoU per class (valid)", height)


def _add_line(figure: go.Figure, epochs: Sequence[Epoch], key: str, name: str, color: str, dash: str) -> None:
    figure.add_scatter(
        x=[epoch.epoch for epoch in epochs],
        y=[epoch.metrics.get(key) for epoch in epochs],
        name=name,
        mode="lines+markers" if len(epochs) < 40 else "lines",
        line={"color": color, "dash": dash, "width": 2},
        marker={"size": 5},
        hovertemplate="epoch %{x}: %{y:.4f}",
        connectgaps=False,
    )


def _mark_best(figure: go.Figure, epochs: Sequence[Epoch], key: str, best: int | None, color: str) -> None:
    found = [epoch for epoch in epochs if epoch.epoch == best and epoch.metrics.get(key) is not None]
    if found:
        figure.add_scatter(
            x=[best],
            y=[found[0].metrics[key]],
            mode="markers",
            marker={"symbol": "star", "size": 14, "color": color, "line": {"width": 1, "color": "white"}},
            hovertemplate=f"best epoch {best}: %{{y:.4f}}<extra></extra>",
            showlegend=False,
        )


def _calm(figure: go.Figure, title: str, height: int) -> go.Figure:
    figure.update_layout(
        title={"text": title, "font": {"size": 14}},
        height=height,
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
        legend={"orientation": "h", "y": -0.22, "font": {"size": 11}},
        hovermode="x unified",
        xaxis={"title": None, "dtick": 1 if _longest(figure) <= 15 else None, "rangemode": "tozero"},
        yaxis={"title": None, "rangemode": "tozero"},
        uirevision="keep",
    )
    return figure


def _longest(figure: go.Figure) -> int:
    return max((max(trace.x, default=0) for trace in figure.data if trace.x), default=0)


def _long(split: str) -> str:
    return "valid" if split == "val" else split
