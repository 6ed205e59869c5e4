"""Figures of every epoch, of one run or of many over each other; a click opens an epoch on Review."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from core.domain.runs import Run, WorkState
from core.services import curves, evaluation, training
from core.services.curves import Curve, VersionFacts
from core.services.home import open_home
from pages.components import chart_views, charts
from pages.components.results import warn_of_different_data
from pages.components.shell import current_project, empty_state, part
from pages.components.words import plain

FIRST_SHOWN = ("miou_foreground", "loss", "dice_foreground", "iou/*")
MAX_FAMILY_RUNS = 6  # of which all classes are drawn, a chart for each run
SHORT_ID = 12  # digits at an id's end, enough for an address

store = open_home()
project = current_project()
everything = training.list_runs(store, project.id)
runs = {run.id: run for run in everything if run.epochs_done or not run.state.is_final}


@st.cache_data(max_entries=512, show_spinner=False)
def version_facts(version_id: str) -> VersionFacts:
    """Remember what is needed of a data version, which never changes."""
    return curves.version_facts(open_home(), version_id)


def watch(drawn: Sequence[Run]) -> None:
    """Draw the page again as soon as one of these runs has a new epoch, or another state."""
    ids = {run.id for run in drawn}

    def stamp(listed: Sequence[Run]) -> set[tuple[Any, ...]]:
        return {(run.id, run.state, run.attempt, run.epochs_done) for run in listed if run.id in ids}

    before = stamp(drawn)

    def look() -> None:
        if stamp(training.list_runs(store, project.id)) != before:
            st.rerun()

    part(look, every="3s")()


def draw_charts(drawn: Sequence[Curve], names: Sequence[str], look: charts.Look) -> None:
    """Draw a chart for each figure; of all classes, one for each run."""
    with st.grid(2, min_column_width=360, gap="medium"):
        for name in names:
            is_family = curves.is_family(name)
            for curve in drawn[:MAX_FAMILY_RUNS] if is_family else drawn[:1]:
                key = f"curve {name} {curve.run.id}" if is_family else f"curve {name}"
                figure = (charts.class_figure(curve, name, look) if is_family
                          else charts.metric_figure(drawn, name, look))  # fmt: skip
                if figure is None:
                    st.caption(f"{curves.title(name).text} has no such lines.")
                elif opened := chart_views.draw(figure, key, run_id=curve.run.id if is_family else ""):
                    chart_views.open_epoch(*opened)


def draw_epochs(curve: Curve, champion: int | None) -> None:
    """Draw the table of a run's epochs: a row is a checkpoint with all its figures."""
    rows: list[dict[str, Any]] = []
    formats: dict[str, Any] = {}
    for row, epoch in enumerate(curve.epochs):
        marks = {"best": row == curve.best_row, "champion": epoch.epoch == champion}
        rows.append({"Epoch": epoch.epoch, "Mark": ", ".join(word for word, holds in marks.items() if holds)})
        for name, of, value in curves.figures_of(curve, epoch):
            title = curves.title(name)
            head = f"{title.text}, {of}".rstrip(", ")
            rows[-1][head] = value
            formats[head] = st.column_config.NumberColumn(format=f"%{title.format}")
    st.dataframe(rows, hide_index=True, width="stretch", column_config=formats)


def say_what_is_not_drawn(chosen: Sequence[Run], drawn: Sequence[Curve], names: Sequence[str]) -> None:
    """Say which runs failed or have nothing to draw yet, and of which not all classes are drawn."""
    with_epochs = {curve.run.id for curve in drawn}
    for run in chosen:
        if run.state is WorkState.FAILED:
            st.caption(f":material/error: {plain(labels[run.id])} failed: {plain(run.error)}")
        elif run.id not in with_epochs:
            st.caption(f":material/hourglass_top: {plain(labels[run.id])} has no finished epoch yet.")
    if len(drawn) > MAX_FAMILY_RUNS and any(curves.is_family(name) for name in names):
        st.caption(
            f":material/info: Charts of all classes are drawn of the first {MAX_FAMILY_RUNS} runs; "
            "choose single classes to see them of all."
        )


def offer_under_way(ids: list[str]) -> None:
    """Say which runs are under way that were not chosen, and offer to draw them as well."""
    others = {run.id: run for run in runs.values() if not run.state.is_final and run.id not in ids}
    if not others:
        return
    names = ", ".join(f"“{plain(labels[run_id])}”" for run_id in others)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(f"{names} {'is' if len(others) == 1 else 'are'} under way.", width="content")
        st.button("Draw too", on_click=charts.choose, args=("runs", project.id, [*ids, *others]))


st.title("Curves", anchor=False)
if not any(run.epochs_done for run in runs.values()):
    under_way = "The first one under way appears here by itself."
    then = under_way if runs else "Start a training; its curves grow here epoch by epoch."
    empty_state("No epoch yet", then, ":material/show_chart:")
    st.page_link("pages/train.py", label="Train a model", icon=":material/model_training:")
    watch(list(runs.values()))
    st.stop()

labels = curves.labels(list(runs.values()))
newest = next(run for run in runs.values() if run.epochs_done)
begin_with = [*[run.id for run in runs.values() if not run.state.is_final][:1], newest.id]
left, right = st.columns(2, gap="medium")
with left:
    ids = charts.choose_several("Runs", "runs", project.id, labels, list(dict.fromkeys(begin_with)), SHORT_ID)
    offer_under_way(ids)
chosen = [runs[run_id] for run_id in ids]
facts = {version_id: version_facts(version_id) for version_id in {run.data_version_id for run in chosen}}
drawn = curves.read(store, chosen, facts)
titles = {name: curves.title(name).text for name in curves.names(drawn)}
with right:
    names = charts.choose_several("Charts", "charts", project.id, titles, FIRST_SHOWN)
with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    look = charts.choose_look(drawn, labels, charts.run_colors(everything))
    if drawn and names:
        st.download_button(
            "CSV", lambda: curves.as_csv(drawn, names).encode("utf-8-sig"),  # else Excel reads it as Latin-1
            "curves.csv", "text/csv", on_click="ignore",
            icon=":material/download:", help="The figures of the charts, epoch by epoch, as measured.",
        )  # fmt: skip
    is_live = any(not run.state.is_final for run in chosen)
    if is_live:
        is_live = st.toggle("Live", True, key="curves_live", help="Drawn again when an epoch is complete.")
if is_live:
    watch(chosen)
say_what_is_not_drawn(chosen, drawn, names)
if not chosen or not names or not look.parts:
    missing = "a run" if not chosen else "a chart" if not names else "validation, training or both"
    st.info(f"Choose {missing}.", icon=":material/info:")
    st.stop()
if drawn:
    if curves.VALID in look.parts:
        warn_of_different_data(store, [curve.run for curve in drawn], (curves.VALID,))
    st.caption(charts.reading(look, drawn))
    draw_charts(drawn, names, look)
    chart_views.keep_views()
    by_id = {curve.run.id: curve for curve in drawn}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Epochs", anchor=False, width="content")
        shown = drawn[0].run.id
        if len(drawn) > 1:
            shown = st.selectbox(
                "Of", list(by_id), format_func=labels.__getitem__, label_visibility="collapsed", width=320
            )
    champion = evaluation.champion(store, project.id)
    is_here = champion is not None and champion.run_id == shown
    draw_epochs(by_id[shown], champion.epoch if champion and is_here else None)
