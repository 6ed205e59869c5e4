"""What kind of errors a checkpoint makes: per class, how sure it is of them, and the photos to look at."""

import html
from collections.abc import Sequence
from typing import Any

import streamlit as st

from core.domain.analysis import KINDS, Analysis, ErrorCounts, Kind, Reliability
from core.domain.errors import FormatError
from core.domain.runs import Run, WorkState
from core.services import analysis, training
from core.services.analysis import ClassRow, Means, WorstPhoto
from core.services.home import Store
from pages.components.jobs import follow_job
from pages.components.results import figure
from pages.components.shell import shown_errors
from pages.components.words import plain

TITLES: dict[Kind, str] = {"boundary": "Edge", "extent": "Extent", "missed": "Missed", "false": "False"}
MEANINGS: dict[Kind, str] = {
    "boundary": "along the edge of something that was found",
    "extent": "too much or too little of something that was found",
    "missed": "labelled, and nothing of it was found",
    "false": "called damage where nothing like it is labelled",
}
ADVICE: dict[Kind, str] = {
    "boundary": "Mostly along edges; label them more exactly, or train at a larger size",
    "extent": "Mostly too much or too little; agree on where it ends, and relabel what differs",
    "missed": "Mostly missed regions; label more photos like those below",
    "false": "Mostly false finds; add photos that look like it and show none",
}
MIXED = "Several kinds of errors, none the most"
GOOD, GOOD_IOU = "Little is wrong", 0.9
COLORS: dict[Kind | None, str] = {
    None: "#3C9D78",
    "boundary": "#E9C46A",
    "extent": "#E08E45",
    "missed": "#C8442D",
    "false": "#4477AA",
}
LONG_NAME = 16
PLAIN = {"displaylogo": False, "displayModeBar": False}

Figure = dict[str, Any]


def draw_analysis(store: Store, run: Run, epoch: int) -> str | None:
    """Draw what kind of errors an epoch makes on the validation photos, or offer to count them.

    Returns:
        The id of a photo that the visitor chose just now, None otherwise.
    """
    with shown_errors():
        try:
            found = analysis.find(store, run, epoch)
        except FormatError as error:  # a damaged one can be made anew
            st.warning(str(error), icon=":material/warning:")
            found = None
        if found is None:
            _offer(store, run, epoch)
            return None
        return _draw(store, run, epoch, found)
    return None


def advice(errors: ErrorCounts) -> str:
    """Say what to do about the errors of a class."""
    if (errors.iou or 0) >= GOOD_IOU:
        return GOOD
    return ADVICE[errors.mostly] if errors.mostly else MIXED


def error_bars(rows: Sequence[ClassRow]) -> Figure:
    """Draw one bar per class, from what is right to what is wrong, as shares of truth and prediction.

    The bars are in the order of the rows, the first on top; traces are IoU and then the kinds.
    """
    parts: list[tuple[str, str, list[float]]] = [
        ("Right (IoU)", COLORS[None], [row.counts.errors.iou or 0 for row in rows])
    ]
    parts += [
        (TITLES[kind], COLORS[kind], [row.counts.errors.share(kind) or 0 for row in rows]) for kind in KINDS
    ]
    names = [html.escape(row.name, quote=False) for row in rows]
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": title,
            "x": shares,
            "y": list(range(len(rows))),
            "customdata": names,
            "marker": {"color": color},
            "hovertemplate": f"%{{customdata}}: {title} %{{x:.1%}}<extra></extra>",
        }
        for title, color, shares in parts
    ]
    short = [name if len(name) <= LONG_NAME else f"{name[: LONG_NAME - 1]}…" for name in names]
    layout = _layout(height=90 + 30 * len(rows)) | {
        "barmode": "stack",
        "bargap": 0.25,
        "xaxis": {"range": [0, 1], "tickformat": ".0%", "fixedrange": True},
        "yaxis": {
            "tickvals": list(range(len(rows))),
            "ticktext": short,
            "autorange": "reversed",
            "fixedrange": True,
        },
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
    }
    return {"data": traces, "layout": layout}


def reliability_diagram(found: Reliability) -> Figure:
    """Draw how often pixels are right against how sure the network is; on the line both agree."""
    bins = found.bins
    total = sum(found.pixels)
    measured = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [mean for mean, _, _ in bins],
        "y": [accuracy for _, accuracy, _ in bins],
        "customdata": [count / total for _, _, count in bins],
        "marker": {"size": [6 + 22 * (count / total) ** 0.5 for _, _, count in bins]},
        "line": {"color": "#4477AA"},
        "hovertemplate": "%{x:.0%} sure, %{y:.0%} right<br>%{customdata:.1%} of the pixels<extra></extra>",
    }
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": [0, 1],
        "y": [0, 1],
        "line": {"dash": "dot", "color": "#999999"},
        "hoverinfo": "skip",
    }
    axis = {"range": [0, 1.02], "tickformat": ".0%", "fixedrange": True}
    layout = _layout(height=280) | {
        "showlegend": False,
        "xaxis": axis | {"title": {"text": "how sure", "font": {"size": 11}}},
        "yaxis": axis | {"title": {"text": "how often right", "font": {"size": 11}}},
    }
    return {"data": [line, measured], "layout": layout}


def _offer(store: Store, run: Run, epoch: int) -> None:
    """Offer to count the errors, or show how that goes."""
    job = analysis.under_way(store, run, epoch)
    if job is not None and not job.state.is_final:
        follow_job(store, job.id, f"analysis_{job.id}", f"Errors of epoch {epoch}")
        return
    if job is not None and job.state is not WorkState.SUCCEEDED and job.error:
        st.error(job.error, icon=":material/error:")
    st.caption(
        "Which errors are along edges, which are whole regions missed or invented, and how sure the model "
        "is when it is wrong: counted from the stored predictions, in the background."
    )
    if st.button(f"Analyse errors of epoch {epoch}", icon=":material/troubleshoot:", key="analyse"):
        analysis.analyse(store, run, epoch)
        st.rerun()


def _draw(store: Store, run: Run, epoch: int, found: Analysis) -> str | None:
    rows = analysis.class_rows(found, training.data_version(store, run).categories)
    if not rows:
        st.info("These photos show no damage, and none was predicted.", icon=":material/info:")
        return None
    every = [*rows, analysis.any_damage(found)]
    photos = f"{len(found.images):,} validation photos"
    st.caption(f"{photos}, epoch {epoch}, at display size; the lowest IoU first")
    if found.unpictured:
        st.caption(f"Of {found.unpictured:,} more no pictures were kept, so these are not counted.")
    if found.skipped:
        st.warning(f"{len(found.skipped):,} photos are left out: their pictures or labels are gone.")
    event = st.plotly_chart(
        error_bars(every),
        width="stretch",
        key=f"analysis_bars_{run.id}",
        config=PLAIN,
        on_select="rerun",
        selection_mode="points",
    )
    _take_click(run, every, event.selection.points)
    _draw_advice(rows)
    _draw_table(every, analysis.means(rows))
    chosen = _draw_worst(store, run, found, every)
    _draw_reliability(found)
    return chosen


def _take_click(run: Run, every: Sequence[ClassRow], points: Sequence[Any]) -> None:
    """Make the clicked part of a bar the kind of error to list photos of; once, for the click stays."""
    place = next(((point["curve_number"], point["point_index"]) for point in points), None)
    if st.session_state.get("analysis_click") == (run.id, place):
        return
    st.session_state["analysis_click"] = (run.id, place)
    if place is not None and 1 <= place[0] <= len(KINDS) and place[1] < len(every):
        st.session_state[_class_key(run)] = every[place[1]].class_index
        st.session_state[_kind_key(run)] = KINDS[place[0] - 1]


def _draw_advice(rows: Sequence[ClassRow]) -> None:
    """Say what to do, and for which classes."""
    named: dict[str, list[str]] = {}
    for row in rows:
        named.setdefault(advice(row.counts.errors), []).append(f"**{plain(row.name)}**")
    st.markdown("\n".join(f"- {what}: {', '.join(names)}" for what, names in named.items()))


def _draw_table(every: Sequence[ClassRow], means: Means) -> None:
    rows: list[dict[str, Any]] = [
        {
            "Class": row.name,
            "IoU": row.counts.errors.iou,
            "Boundary IoU": row.counts.boundaries.iou,
            "Edge within tolerance": row.counts.boundaries.surface_dice,
            "Regions": row.counts.objects.truths,
            "Found": row.counts.objects.recall,
            "Right of those predicted": row.counts.objects.precision,
        }
        for row in every
    ]
    helps = {
        "Boundary IoU": "IoU of the bands along the edges, 2 % of the diagonal wide (Cheng et al. 2021)",
        "Edge within tolerance": "Share of the edges at most 0.5 % of the diagonal, or 2 pixels, away from "
        "each other (normalised surface Dice): the figure for thin scratches",
        "Regions": "Connected regions that are labelled; specks below 0.01 % of the photo are left out",
        "Found": "Regions that a predicted one matches at an IoU of at least 0.5 (recall)",
        "Right of those predicted": "Predicted regions that match a labelled one (precision)",
    }
    columns = {
        name: st.column_config.NumberColumn(
            format="localized" if name == "Regions" else "%.3f", help=helps.get(name)
        )
        for name in ("IoU", *helps)
    }
    st.dataframe(rows, hide_index=True, width="stretch", column_config=columns)
    st.caption(
        f"Means over classes: IoU {figure(means.iou)}, boundary IoU {figure(means.boundary_iou)}, edge "
        f"within tolerance {figure(means.surface_dice)}, found {figure(means.recall)}, right of those "
        f"predicted {figure(means.precision)}."
    )


def _draw_worst(store: Store, run: Run, found: Analysis, every: Sequence[ClassRow]) -> str | None:
    """Let the visitor choose a class and a kind of error; give the photo that is chosen of those."""
    names = {row.class_index: row.name for row in every}
    if st.session_state.get(_class_key(run)) not in names:  # the other epoch showed other classes
        st.session_state[_class_key(run)] = every[0].class_index
    st.session_state.setdefault(_kind_key(run), _largest(every[0].counts.errors))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        class_index = st.selectbox("Class", list(names), format_func=names.__getitem__, key=_class_key(run))
        kind: Kind = st.selectbox("Error", KINDS, format_func=TITLES.__getitem__, key=_kind_key(run))
    photos = analysis.worst_photos(store, run, found, class_index, kind)
    st.caption(f"{TITLES[kind]}: {MEANINGS[kind]}. The photos with the most of it; click one to see it.")
    if not photos:
        st.caption("No photo shows this error.")
        return None
    return _draw_photos(photos, f"analysis_photos_{run.id}_{class_index}_{kind}")


def _draw_photos(photos: Sequence[WorstPhoto], key: str) -> str | None:
    rows = [
        {
            "Photo": photo.name.rsplit("/", 1)[-1],
            "Of photo": photo.share,
            "Of all": photo.part,
            "IoU here": photo.iou,
        }
        for photo in photos
    ]
    percent = st.column_config.NumberColumn
    event = st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        on_select="rerun",
        selection_mode="single-row",
        key=key,
        column_config={
            "Of photo": percent(format="percent", help="Share of the photo's pixels"),
            "Of all": percent(format="percent", help="Share of all such pixels on all photos"),
            "IoU here": percent(format="%.3f", help="Of this class on this photo"),
        },
    )
    chosen = (key, tuple(event.selection.rows))
    is_new = st.session_state.get("analysis_photo") != chosen
    st.session_state["analysis_photo"] = chosen
    places = [place for place in chosen[1] if place < len(photos)]
    return photos[places[0]].image_id if is_new and places else None


def _draw_reliability(found: Analysis) -> None:
    damage, everything = (found.reliability(is_foreground=is_foreground) for is_foreground in (True, False))
    if damage.expected_error is None:
        return
    st.plotly_chart(reliability_diagram(damage), width="stretch", config=PLAIN, key="analysis_reliability")
    surer = (
        "surer than it is right" if (damage.overconfidence or 0) > 0 else "more often right than it is sure"
    )
    st.caption(
        f"Where damage is labelled or predicted the model is {surer}: expected calibration error (ECE) "
        f"{figure(damage.expected_error)}; over all pixels, most of them background, "
        f"{figure(everything.expected_error)}."
    )


def _largest(errors: ErrorCounts) -> Kind:
    return max(KINDS, key=errors.pixels)


def _class_key(run: Run) -> str:
    return f"analysis_class_{run.id}"


def _kind_key(run: Run) -> str:
    return f"analysis_kind_{run.id}"


def _layout(*, height: int) -> Figure:
    return {
        "height": height,
        "margin": {"l": 8, "r": 20, "t": 30, "b": 8},
        "font": {"size": 12},
        "dragmode": False,
        "uirevision": "keep",
    }
