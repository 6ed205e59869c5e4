"""How well an epoch finds each class, and what it takes for what; a cell leads to its photos."""

import html
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from core.domain.labels import Category
from core.services import confusions
from core.services.confusions import Cell, MeasuredPhotos, Mistake
from pages.components.results import cell_words, count_words
from pages.components.words import plain

Norm = Literal["truth", "called", "pixels"]
Figure = dict[str, Any]

NORMS: dict[Norm, str] = {"truth": "Of what is labelled", "called": "Of what is called", "pixels": "Pixels"}
READING: dict[Norm, str] = {
    "truth": "A row says where the pixels labelled with a class went, in percent of that row.",
    "called": "A column says what the pixels called a class are, in percent of that column.",
    "pixels": "Pixels of all photos together.",
}
MAX_DRAWN = 30  # classes: more numbers than a thousand are no picture any more
PAIRS, WITH_NOTHING = 8, 4  # mistakes listed: between two classes, with nothing on one side
PAIRS_UNDRAWN = 30  # where no matrix is drawn
LEAST_END = 0.05  # a share: below it even the largest mistake between two classes is pale
MISTAKE, RIGHT = "200, 68, 45", "46, 125, 94"
STRONG = 0.85  # of the colour scale: from there on white is easier to read than ink
INK = {"light": "#17202B", "dark": "#E7ECF2"}
LARGE_PX, SMALL_PX, ROW_PX, LABEL_PX, SLANT_PX = 68, 42, 32, 130, 64
FEW = 8  # classes up to which cells are wide
LONG_NAME = 16
ARROW = ":material/chevron_right:"
HELPS = {
    "Dice (F1)": "2 × found / (labelled + called), in pixels: the F1 score of pixels",
    "Precision": "Of the pixels that are called so, the share that is labelled so",
    "Recall": "Of the pixels that are labelled so, the share that is called so",
    "Pixels": "Labelled with this class, on all photos",
    "Photos": "Photos whose labels show this class",
}


def draw_classes(photos: MeasuredPhotos, categories: Sequence[Category]) -> Cell | None:
    """Draw the figures of each class, the confusion matrix and what is confused most.

    Returns:
        The cell (class indices: labelled as, called) that the visitor clicked just now, None otherwise.
    """
    _draw_table(photos, categories)
    names = ["nothing", *(category.name for category in categories)]
    st.subheader("What is taken for what", anchor=False)
    if photos.classes > MAX_DRAWN:
        st.caption(
            f"A matrix of {photos.classes - 1} classes has too many numbers to be read; it is drawn up to "
            f"{MAX_DRAWN - 1}. Here is what is confused most."
        )
        return _draw_pairs(photos, names, PAIRS_UNDRAWN)
    norm = _choose_norm()
    with st.container(key="confusion_matrix"):
        width = matrix_width(photos.classes)
        st.html(
            "<style>.st-key-confusion_matrix {overflow-x: auto} "
            f".st-key-confusion_matrix > * {{min-width: {width}px}}</style>"
        )
        event = st.plotly_chart(
            matrix_figure(photos, names, norm, INK["dark" if st.context.theme.type == "dark" else "light"]),
            width=width,
            key=f"confusion_{norm}",
            config={"displaylogo": False, "displayModeBar": False},
            on_select="rerun",
            selection_mode="points",
        )
    st.caption(f"{READING[norm]} {how_colored(photos.total, norm)} Click a number to see its photos.")
    clicked = clicked_cell(event.selection.points, photos.classes)
    return _draw_pairs(photos, names, PAIRS) or clicked


def matrix_figure(
    photos: MeasuredPhotos, names: Sequence[str], norm: Norm, ink: str = INK["light"]
) -> Figure:
    """Draw the confusion matrix, rows what is labelled, background first; numbers in the cells.

    Mistakes and what is right have colours of their own. Traces: the two colours, then the numbers on pale
    and on strong colours, which take the clicks (a heat map's own cells give none): ``customdata`` is the
    cell, row * C + column.
    """
    values = _values(photos.total, norm)
    ends = color_ends(photos.total, norm)
    is_right = np.eye(photos.classes, dtype=bool)
    strength = np.nan_to_num(np.clip(np.where(is_right, values / ends[1], values / ends[0]), 0, 1))
    colors = [
        _colors(np.where(part & (photos.total > 0), strength, np.nan), rgb)
        for part, rgb in ((~is_right, MISTAKE), (is_right, RIGHT))
    ]
    is_drawn = photos.total > 0
    numbers = [
        _numbers(photos, names, norm, is_drawn & (strength < STRONG), ink),
        _numbers(photos, names, norm, is_drawn & (strength >= STRONG), "#FFFFFF"),
    ]
    return {"data": [*colors, *numbers], "layout": _layout(names, photos.classes)}


def color_ends(total: NDArray[np.int64], norm: Norm) -> tuple[float, float]:
    """Say at which value the colour of mistakes, and that of what is right, is at its strongest.

    The background is left out of both: it is most of a photo, and beside it all else would be pale. Where no
    class is taken for another the mistakes with the background are the measure.
    """
    values = np.nan_to_num(_values(total, norm))
    inner = values[1:, 1:]
    between = np.where(np.eye(len(inner), dtype=bool), 0, inner)
    largest = float(between.max(initial=0)) or float(
        max(values[0, 1:].max(initial=0), values[1:, 0].max(initial=0))
    )
    least = 1.0 if norm == "pixels" else LEAST_END
    right = float(np.diagonal(inner).max(initial=0)) if norm == "pixels" else 1.0
    return max(largest, least), max(right, least)


def how_colored(total: NDArray[np.int64], norm: Norm) -> str:
    """Say what the colours mean, and what they are measured by."""
    inner = total[1:, 1:]
    end = number_text(color_ends(total, norm)[0], norm) + ("" if norm == "pixels" else " %")
    if (inner - np.diag(np.diagonal(inner))).any():
        why = "the largest mistake between two classes, background left out"
    else:
        why = "the largest mistake: no class is taken for another"
    if norm != "pixels" and color_ends(total, norm)[0] == LEAST_END:
        why = f"for {why} is smaller still"
        return f"Green is right, red is wrong, the strongest from {end} on, {why}."
    return f"Green is right, red is wrong, the strongest from {end} on: {why}."


def number_text(value: float, norm: Norm) -> str:
    """Write the number of a cell in few signs: percent of a share, or pixels such as "1.2M"."""
    if norm == "pixels":
        for unit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if value >= unit:
                return f"{value / unit:.1f}{sign}" if value < 10 * unit else f"{value / unit:.0f}{sign}"
        return f"{value:.0f}"
    percent = 100 * value
    if 0 < percent <= 0.5:
        return "<1"
    return ">99" if 99.5 <= percent < 100 else f"{percent:.0f}"


def mistake_words(mistake: Mistake, names: Sequence[str]) -> str:
    """Say a mistake as a sentence: "14 % of what is labelled dent is called scratch"."""
    percent = number_text(mistake.share, "truth").replace("<1", "Less than 1").replace(">99", "More than 99")
    if not mistake.truth:
        return f"{percent} % of what is called {names[mistake.called]} is nothing"
    went = f"is called {names[mistake.called]}" if mistake.called else "is missed"
    return f"{percent} % of what is labelled {names[mistake.truth]} {went}"


def clicked_cell(points: Sequence[Any], classes: int) -> Cell | None:
    """Tell the cell of the first of the points that were clicked."""
    for point in points:
        told = point.get("customdata")
        told = told[0] if isinstance(told, list | tuple) else told
        if told is not None:
            return divmod(int(told), classes)
    return None


def matrix_width(classes: int) -> int:
    """Give the pixels of a matrix with its labels."""
    return LABEL_PX + classes * _cell_width(classes) + SLANT_PX  # for the last column's slanted name


def _cell_width(classes: int) -> int:
    return LARGE_PX if classes <= FEW else SMALL_PX


def _draw_table(photos: MeasuredPhotos, categories: Sequence[Category]) -> None:
    rows = [
        {
            "Class": row.category.name,
            "IoU": row.iou,
            "Dice (F1)": row.dice,
            "Precision": row.precision,
            "Recall": row.recall,
            "Pixels": row.pixels,
            "Photos": row.photos,
        }
        for row in confusions.class_scores(photos, categories)
    ]
    columns = {
        name: st.column_config.NumberColumn(
            format="localized" if name in ("Pixels", "Photos") else "%.3f", help=HELPS.get(name)
        )
        for name in ("IoU", *HELPS)
    }
    st.dataframe(
        rows, hide_index=True, width="stretch", column_config=columns, placeholder="–", key="class_scores"
    )
    said = f"Of all pixels of {photos.measured:,} validation photos together; a dash: not defined."
    if photos.deleted:
        said += f" {photos.deleted:,} of them were deleted since: counted here, and not listed any more."
    st.caption(said)


def _choose_norm() -> Norm:
    state, asked = st.session_state, st.query_params.get("matrix")
    state.setdefault("confusion_norm", next((norm for norm in NORMS if norm == asked), "truth"))
    norm: Norm = st.segmented_control(
        "Numbers", list(NORMS), format_func=NORMS.__getitem__, key="confusion_norm", required=True
    )  # type: ignore[assignment]
    if norm == "truth":
        st.query_params.pop("matrix", None)
    elif asked != norm:
        st.query_params["matrix"] = norm
    return norm


def _draw_pairs(photos: MeasuredPhotos, names: Sequence[str], most: int) -> Cell | None:
    """List what is confused most, a button each; give the cell of the one pressed."""
    found = confusions.mistakes(photos.total)
    between = [mistake for mistake in found if mistake.truth and mistake.called]
    parts = (
        ("Confused most", between[:most], "No class is taken for another one."),
        ("Missed most", [m for m in found if not m.called][:WITH_NOTHING], "Nothing is missed."),
        ("Found where nothing is", [m for m in found if not m.truth][:WITH_NOTHING], "Nothing is made up."),
    )
    shown, pressed, there = [plain(name) for name in names], None, confusions.photos_in(photos)
    st.html("<style>.st-key-confusion_pairs button * {text-align: left; justify-content: start}</style>")
    with st.container(key="confusion_pairs"), st.grid(len(parts), min_column_width=300):
        for title, mistakes, none in parts:
            with st.container(gap=None):
                st.markdown(f"**{title}**")
                if not mistakes:
                    st.caption(none)
                for mistake in mistakes:
                    cell = (mistake.truth, mistake.called)
                    words = f"{mistake_words(mistake, shown)} · {count_words(there[cell])}"
                    key = f"confused_{cell[0]}_{cell[1]}"
                    is_gone = not there[cell]  # deleted since
                    if st.button(words, key=key, type="tertiary", icon=ARROW, disabled=is_gone):
                        pressed = cell
    return pressed


def _values(total: NDArray[np.int64], norm: Norm) -> NDArray[np.float64]:
    return total.astype(np.float64) if norm == "pixels" else confusions.shares(total, norm)


def _colors(strength: NDArray[np.float64], rgb: str) -> Figure:
    """Colour cells by strength, 0 to 1; NaN stays empty. See-through, for light and dark pages alike."""
    return {
        "type": "heatmap",
        "z": [[None if np.isnan(value) else float(value) for value in row] for row in strength],
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, f"rgba({rgb}, 0.04)"], [1, f"rgba({rgb}, 1)"]],
        "showscale": False,
        "hoverinfo": "skip",
        "xgap": 1,
        "ygap": 1,
    }


def _numbers(
    photos: MeasuredPhotos, names: Sequence[str], norm: Norm, of: NDArray[np.bool_], color: str
) -> Figure:
    values = _values(photos.total, norm)
    rows, columns = (place.tolist() for place in np.nonzero(of))
    cells = list(zip(rows, columns, strict=True))
    side = min(_cell_width(photos.classes), ROW_PX) - 2
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": columns,
        "y": rows,
        "text": [number_text(values[cell], norm) for cell in cells],
        "textfont": {"size": 12, "color": color},
        "marker": {"symbol": "square", "size": side, "opacity": 0},
        "customdata": [row * photos.classes + column for row, column in cells],
        "hovertext": _told(photos, names, cells),
        "hovertemplate": "%{hovertext}<extra></extra>",
        "showlegend": False,
    }


def _told(photos: MeasuredPhotos, names: Sequence[str], cells: Sequence[Cell]) -> list[str]:
    """Tell all there is to know of some cells, as Plotly's HTML."""
    there = confusions.photos_in(photos)
    of_truth, of_called = (confusions.shares(photos.total, of) for of in ("truth", "called"))
    return [
        f"<b>{html.escape(cell_words(cell, names), quote=False)}</b><br>"
        f"{photos.total[cell]:,} pixels on {count_words(there[cell])}<br>"
        f"{number_text(of_truth[cell], 'truth')} % of what is so labelled, "
        f"{number_text(of_called[cell], 'called')} % of what is so called"
        for cell in cells
    ]


def _layout(names: Sequence[str], classes: int) -> Figure:
    short = [name if len(name) <= LONG_NAME else f"{name[: LONG_NAME - 1]}…" for name in names]
    ticks = {
        "tickvals": list(range(classes)),
        "ticktext": [html.escape(name, quote=False) for name in short],
        "range": [-0.5, classes - 0.5],
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
        "tickfont": {"size": 12},
    }
    across, down = {"text": "called", "font": {"size": 11}}, {"text": "labelled", "font": {"size": 11}}
    return {
        "width": matrix_width(classes),
        "height": LABEL_PX + classes * ROW_PX,
        "margin": {"l": LABEL_PX, "r": SLANT_PX, "t": LABEL_PX, "b": 0, "autoexpand": False},
        "xaxis": ticks | {"side": "top", "tickangle": -45, "title": across},
        "yaxis": ticks | {"range": [classes - 0.5, -0.5], "title": down},
        "hovermode": "closest",
        "hoverdistance": _cell_width(classes),
        "hoverlabel": {"align": "left", "font": {"size": 12}},
        "dragmode": False,
        "uirevision": "keep",
    }
