"""The curves of runs as Plotly figures, drawn the same wherever they are shown.

A figure is a plain dict with packed arrays: of graph objects the building alone would take several
times as long, and some pages draw a thousand lines. Lines are SVG however many there are: where a browser
has no graphics processor, Plotly's WebGL ones were not there after a minute.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.domain.runs import Run
from core.services import curves
from core.services.curves import TRAIN, VALID, WHOLE, Curve

RUN_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#6A3D9A")
MAX_IN_LEGEND = 10
MAX_DOTTED = 4_000  # points of a chart up to which each is a dot, which a click can open
LONG_NAME = 36
MAX_TOLD = 18  # figures that the best epoch tells of
DASHES = {VALID: "solid", WHOLE: "solid", TRAIN: "dot"}
WIDTHS = {VALID: 2, WHOLE: 2, TRAIN: 1.5}
DOTS = {VALID: {"size": 5}, WHOLE: {"size": 5}, TRAIN: {"size": 7, "opacity": 0}}  # to be clicked, not seen
TYPES = {"f": "f4", "i": "i2"}
AXES = {"epoch": "Epoch", "step": "Step", "time": "Time"}
WEIGHTS = (0, 30, 60, 80, 90, 95, 99)  # percent
PARTS = {VALID: "Validation", TRAIN: "Training"}
SMOOTHING = (
    "Weight of an exponential moving average with its start corrected, as TensorBoard's. "
    "What was measured stays behind it, pale."
)

Figure = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """What all figures of a page share.

    ``axis`` is a key of curves.AXES, ``parts`` the passes to draw, ``weight`` that of the smoothing, 0 for
    none. By run's id: ``colors``, ``labels``, and what the star on the best epoch ``tells``.
    """

    axis: str
    parts: tuple[str, ...]
    weight: float
    colors: Mapping[str, str]
    labels: Mapping[str, str]
    tells: Mapping[str, str]


@dataclass(frozen=True)
class _Line:
    """One figure of one run. Lines of a group are hidden together by a click in the legend."""

    curve: Curve
    name: str
    label: str
    group: str
    color: str


def run_colors(runs: Sequence[Run]) -> dict[str, str]:
    """Give each run of a project its colour, by age, so that it stays whichever runs are chosen.

    After the eighth run the same hues come again, darker, then lighter, then as they were.
    """
    oldest_first = sorted(run.id for run in runs)
    hues = len(RUN_COLORS)
    return {
        run_id: _shade(RUN_COLORS[number % hues], (0.0, -0.35, 0.4)[number // hues % 3])
        for number, run_id in enumerate(oldest_first)
    }


def reading(look: Look, drawn: Sequence[Curve]) -> str:
    """Say how to read the charts, and what a click on them does."""
    lines = [f"{'solid' if name == VALID else 'dotted'} {title.lower()}" for name, title in PARTS.items()
             if name in look.parts]  # fmt: skip
    pale = ", pale as measured" if look.weight else ""
    points = sum(len(curve.epochs) for curve in drawn) * len(look.parts)
    click = "a point" if points <= MAX_DOTTED else "a star"
    how = f"{', '.join(lines)}{pale}. Star: best epoch by foreground mIoU; hover it for all its figures."
    return f"{how[:1].upper()}{how[1:]} Click {click} to open its epoch on Review."


def choose_look(drawn: Sequence[Curve], labels: Mapping[str, str], colors: Mapping[str, str]) -> Look:
    """Draw the choices that hold for all charts, which begin as the address says."""
    state, address = st.session_state, st.query_params
    if "curves_x" not in state:
        state["curves_x"] = address["x"] if address.get("x") in AXES else "epoch"
        asked = [name for name in address.get_all("lines") if name in PARTS]
        state["curves_lines"] = asked or list(PARTS)
        given = {str(weight): weight for weight in WEIGHTS}
        state["curves_smooth"] = given.get(address.get("smooth", ""), 0)
    axis = st.segmented_control(
        "Along", list(AXES), format_func=AXES.__getitem__, key="curves_x", required=True
    )
    assert axis is not None
    parts = st.pills(
        "Lines", list(PARTS), format_func=PARTS.__getitem__, selection_mode="multi", key="curves_lines"
    )
    weight = st.selectbox(
        "Smoothing", WEIGHTS, format_func=lambda w: f"{w} %" if w else "None", key="curves_smooth",
        help=SMOOTHING, width=130,
    )  # fmt: skip
    to_address("x", [axis])
    to_address("lines", parts)
    to_address("smooth", [str(weight)])
    tells = {curve.run.id: tell_best(curve, labels[curve.run.id]) for curve in drawn}
    return Look(axis, tuple(parts), weight / 100, colors, labels, tells)


def choose_several(
    label: str, name: str, owner: str, titles: Mapping[str, str], default: Sequence[str], end: int = 0
) -> list[str]:
    """Draw a choice of several that begins as the address says; what is not there is left out, and said.

    Args:
        name: in the address.
        owner: the project's id; each has a choice of its own.
        titles: what is shown, by value. While there is nothing to choose the address keeps the choice.
        end: how many signs at a value's end the address holds; 0 for all.
    """
    if not titles:
        return []
    state, key = st.session_state, f"curves_{name}_{owner}"
    lost = f"{key}_lost"
    if key not in state:
        known = {value[-end:]: value for value in titles}
        asked = list(dict.fromkeys(word[-end:] for word in st.query_params.get_all(name)))
        state[key] = [known[word] for word in asked if word in known] or [d for d in default if d in titles]
        state[lost] = sum(word not in known for word in asked)
    elif not set(titles).issuperset(state[key]):
        state[key] = [value for value in state[key] if value in titles]
    chosen = st.multiselect(
        label, list(titles), format_func=titles.__getitem__, key=key, on_change=state.pop, args=(lost, None)
    )
    if state.get(lost):
        st.caption(f":material/link_off: {state[lost]} of the link are not in this project (any more).")
    to_address(name, [value[-end:] for value in chosen])
    return chosen


def choose(name: str, owner: str, values: list[str]) -> None:
    """Make a choice of ``choose_several`` another one; for the callback of a button."""
    st.session_state[f"curves_{name}_{owner}"] = values


def to_address(name: str, words: list[str]) -> None:
    """Put a choice into the page's address."""
    if st.query_params.get_all(name) != words:
        st.query_params[name] = words


def tell_best(curve: Curve, label: str) -> str:
    """Tell all figures of a run's best epoch, one to a line, as Plotly's HTML; "" where there is none."""
    if curve.best is None:
        return ""
    told = curves.told(curve, curve.best)
    rest = told[:MAX_TOLD] + ([f"and {len(told) - MAX_TOLD} more in the table"] if told[MAX_TOLD:] else [])
    head = f"<b>{_plain(label)}</b>, best epoch {curve.best.epoch}"
    return "<br>".join([head, *map(_plain, rest)])


def metric_figure(drawn: Sequence[Curve], name: str, look: Look) -> Figure | None:
    """Draw one figure of some runs, a line for each; None where no run has it in these passes."""
    lines = [
        _Line(curve, name, look.labels[curve.run.id], curve.run.id, look.colors[curve.run.id])
        for curve in drawn
        if name in curve.keys
    ]
    return _figure(lines, curves.title(name).text, name, look)


def class_figure(curve: Curve, family: str, look: Look) -> Figure | None:
    """Draw a figure of all classes of one run in the classes' colours; ``family`` is such as "iou/*"."""
    lines = [
        _Line(curve, name, category.name, str(category.category_id), category.color)
        for category, name in curves.members(curve, family)
    ]
    return _figure(lines, f"{curves.title(family).text}, {_short(look.labels[curve.run.id])}", family, look)


def _figure(lines: Sequence[_Line], heading: str, name: str, look: Look) -> Figure | None:
    points = sum(len(line.curve.epochs) for line in lines) * len(look.parts)
    is_dotted = points <= MAX_DOTTED
    has_legend = 1 < len(lines) <= MAX_IN_LEGEND
    traces = [trace for line in lines for trace in _traces(line, look, is_dotted=is_dotted)]
    if not traces:
        return None
    for together in [[line] for line in lines] if has_legend else [lines]:
        traces += _best_mark(together, look)
    return {"data": traces, "layout": _layout(heading, name, look, lines, has_legend=has_legend)}


def _traces(line: _Line, look: Look, *, is_dotted: bool) -> list[Figure]:
    """Draw a line in each pass; where it is smoothed, what was measured stays behind it, pale."""
    places, traces = _packed(curves.places(line.curve, look.axis)), []
    epochs = _packed(np.array([epoch.epoch for epoch in line.curve.epochs], np.int16))
    for part in (WHOLE, *look.parts):
        measured = curves.values(line.curve, line.name, part)
        if measured is None:
            continue
        shared = {"type": "scatter", "x": places, "legendgroup": line.group}
        stroke = {"color": line.color, "dash": DASHES[part]}
        if look.weight:
            pale = {**stroke, "width": 1}
            traces.append(
                shared
                | {"meta": f"{line.group}-{part}-raw", "y": _packed(measured), "line": pale, "mode": "lines"}
                | {"opacity": 0.3, "hoverinfo": "skip", "showlegend": False}
            )
        shown = curves.smooth(measured, look.weight) if look.weight else measured
        traces.append(
            shared
            | {"meta": f"{line.group}-{part}", "y": _packed(shown), "line": {**stroke, "width": WIDTHS[part]}}
            | ({"mode": "lines+markers", "marker": DOTS[part]} if is_dotted else {"mode": "lines"})
            | {"name": _plain(_short(line.label)), "customdata": epochs}
            | {"showlegend": len(traces) == (1 if look.weight else 0)}
            | {"hovertemplate": _hover(line, part, look)}
        )
    return traces


def _hover(line: _Line, part: str, look: Look) -> str:
    where = "" if look.axis == "epoch" else f", {'step %{x:,}' if look.axis == 'step' else '%{x:.2f} h'}"
    what = _plain(f"{curves.title(line.name).text} {part}".strip())
    smoothed = " (smoothed)" if look.weight else ""
    value = f"%{{y:{curves.title(line.name).format}}}{smoothed}"
    return f"<b>{_plain(line.label)}</b><br>epoch %{{customdata}}{where}<br>{what} {value}<extra></extra>"


def _best_mark(lines: Sequence[_Line], look: Look) -> list[Figure]:
    """Mark the best epochs of some lines by stars, which tell all their figures.

    Plotly lets a small point have the mouse before a large one, so on each star lies a small unseen one.
    """
    found = [(line, line.curve.best, at) for line in lines if (at := _best_place(line, look))]
    if not found:
        return []
    stars = [(size, opacity, *star) for size, opacity in ((14, 1), (6, 0)) for star in found]
    marker = {"symbol": "star", "line": {"width": 1, "color": "white"}}
    marker |= {"size": [size for size, *_ in stars], "opacity": [opacity for _, opacity, *_ in stars]}
    marker |= {"color": [line.color for _, _, line, *_ in stars]}
    return [
        {
            "type": "scatter",
            "meta": f"{lines[0].group}-best",
            "x": [at[0] for *_, at in stars],
            "y": [at[1] for *_, at in stars],
            "mode": "markers",
            "marker": marker,
            "customdata": [[line.curve.run.id, best.epoch] for _, _, line, best, _ in stars if best],
            "text": [look.tells[line.curve.run.id] for _, _, line, *_ in stars],
            "hovertemplate": "%{text}<extra></extra>",
            "legendgroup": lines[0].group,
            "showlegend": False,
        }
    ]


def _best_place(line: _Line, look: Look) -> tuple[float, float] | None:
    """Say where the best epoch lies, on the first of the passes drawn that has a value there."""
    row = line.curve.best_row
    if row is None:
        return None
    for part in (WHOLE, *look.parts):
        measured = curves.values(line.curve, line.name, part)
        if measured is not None and np.isfinite(measured[row]):
            return float(curves.places(line.curve, look.axis)[row]), float(measured[row])
    return None


def _layout(heading: str, name: str, look: Look, lines: Sequence[_Line], *, has_legend: bool) -> Figure:
    longest = max(len(line.curve.epochs) for line in lines)
    every = {"dtick": 1} if look.axis == "epoch" and longest <= 15 else {}
    return {
        "title": {"text": _plain(heading), "font": {"size": 14}, "x": 0, "xref": "paper"},
        "height": 340 if has_legend else 300,
        "margin": {"l": 8, "r": 8, "t": 44, "b": 8},
        "showlegend": has_legend,
        "legend": {"orientation": "h", "y": -0.24, "yanchor": "top", "x": 0, "font": {"size": 11}},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "font": {"size": 11}},
        "dragmode": "zoom",
        "xaxis": {"title": {"text": curves.AXES[look.axis], "font": {"size": 11}}, "rangemode": "tozero"}
        | every,
        "yaxis": {"title": {"text": curves.title(name).unit, "font": {"size": 11}}, "rangemode": "tozero"},
        "meta": look.axis,
    }


def _packed(array: NDArray[Any]) -> Figure:
    """Write an array as Plotly's typed array; NaN becomes a gap."""
    small = array.astype("<f4" if array.dtype.kind == "f" else "<i2")
    return {"dtype": TYPES[small.dtype.kind], "bdata": base64.b64encode(small.tobytes()).decode()}


def _plain(text: str) -> str:
    """Keep a name from being read as Plotly's HTML."""
    return html.escape(text, quote=False)


def _short(text: str) -> str:
    return text if len(text) <= LONG_NAME else f"{text[: LONG_NAME - 1]}…"


def _shade(color: str, by: float) -> str:
    """Mix a colour with black (by < 0) or with white."""
    target = 255 if by > 0 else 0
    parts = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part + (target - part) * abs(by)):02X}" for part in parts)
