"""The epoch on show: its figures with what they are worth, and the way to make it the champion."""

from collections.abc import Sequence

import streamlit as st

from core.domain.intervals import Interval, Intervals, Ties
from core.domain.runs import Epoch, Run
from core.services import checkpoints, evaluation, intervals
from core.services.home import Store
from pages.components.results import figure
from pages.components.shell import author, rerun_part, shown_errors
from pages.components.words import plain

SEEN = "champion_seen"  # the champion that was last shown, by project
FEW = 10  # photos, or cars or claims: an interval of fewer is itself a guess
MANY_SPANS = 6  # of epochs in one sentence
HOW = (
    "As many photos are drawn from these, with replacement, 1,000 times; those of one car or claim together. "
    "In 95 % of the draws the figure lies between these ends."
)


def draw_promotion(store: Store, run: Run, epoch: int) -> None:
    """Offer to make the shown epoch the champion; say why not where its checkpoint was not kept."""
    champion = evaluation.champion(store, run.project_id)
    seen = st.session_state.get(SEEN, {}).get(run.project_id, champion)
    is_champion = champion is not None and (champion.run_id, champion.epoch) == (run.id, epoch)
    done = evaluation.epochs(store, run.id)
    lost = checkpoints.given_up(run, epoch, done)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**Epoch {epoch}**, all validation photos")
        if is_champion:
            st.badge("Champion", icon=":material/trophy:", color="green")
    shown = next((e for e in done if e.epoch == epoch), None)
    figures, notes = st.container(), st.container(gap="xsmall")
    if shown is not None:
        with shown_errors():
            found = _intervals(store, run, run.id, epoch, shown.created_at.isoformat())
            with figures:
                _draw_figures(shown, found)
            with notes:
                _draw_notes(found)
    if not is_champion and st.button(
        f"Make epoch {epoch} champion",
        type="primary",
        icon=":material/trophy:",
        width="stretch",
        disabled=bool(lost),
    ):
        with shown_errors():
            evaluation.promote(store, run, epoch, author=author(), replacing=seen)
            st.session_state.get(SEEN, {}).pop(run.project_id, None)
            st.toast(f"Epoch {epoch} of {plain(run.name)} is the champion.", icon=":material/trophy:")
            rerun_part()
    st.session_state.setdefault(SEEN, {})[run.project_id] = champion  # what the next press replaces
    if lost:
        st.caption(lost)
    with notes, shown_errors():
        _draw_ties(store, run, done)  # last of all: of many epochs it takes seconds, once


def ties_in_words(found: Ties) -> str:
    """Say which epochs are as good as the best one; there must be one."""
    spans = _spans(found)
    if len(spans) > MANY_SPANS:
        which = f"{len(found.others)} of the epochs {found.others[0]} to {found.others[-1]}"
    else:
        joined = " and ".join([", ".join(spans[:-1]), spans[-1]]) if spans[1:] else spans[0]
        which = f"{'Epochs' if found.others[1:] else 'Epoch'} {joined}"
    return f"{which} cannot be told apart from the best one, epoch {found.best}, on these photos."


def over_in_words(found: Intervals) -> str:
    """Say what the intervals are over: "95 % intervals over 309 photos of 120 cars or claims"."""
    if found.of.miou_foreground is None:
        return f"No interval: it needs two {_units(found)} that show damage."
    of_groups = f" of {found.groups:,} {_units(found)}" if found.groups < found.images else ""
    return f"95 % intervals over {found.images:,} photos{of_groups}"


def few_in_words(found: Intervals) -> str:
    """Say that an interval of so few photos, or of a class on so few, says little.

    Nothing where they suffice, or there is no interval.
    """
    if min(found.groups, found.rarest) >= FEW or found.of.miou_foreground is None:
        return ""
    few = f"Only {found.groups} {_units(found)}"
    if found.groups >= FEW:
        few = f"Some class is seen on only {found.rarest} {_units(found, found.rarest)}"
    return f":orange[:material/warning: {few}: such an interval says little.]"


def _units(found: Intervals, count: int = 2) -> str:
    one, several = ("car or claim", "cars or claims") if found.groups < found.images else ("photo", "photos")
    return one if count == 1 else several


def _draw_figures(shown: Epoch, found: Intervals) -> None:
    figures = (
        ("Foreground mIoU", evaluation.METRIC, found.of.miou_foreground),
        ("Foreground Dice", "val_dice_foreground", found.of.dice_foreground),
    )
    with st.grid(2, min_column_width=110):
        for title, key, interval in figures:
            st.metric(
                title,
                figure(shown.metrics.get(key)),
                delta=_ends(interval),
                delta_color="off",
                delta_arrow="off",
            )


def _draw_notes(found: Intervals) -> None:
    st.caption(over_in_words(found), help=HOW)
    if few := few_in_words(found):
        st.caption(few)


def _draw_ties(store: Store, run: Run, done: Sequence[Epoch]) -> None:
    state = " ".join([str(len(done)), *(epoch.created_at.isoformat() for epoch in done[-1:])])
    found = _ties(store, run, run.id, state)
    if found and found.others:
        st.caption(ties_in_words(found))


def _ends(interval: Interval | None) -> str | None:
    return interval and f"{interval.low:.3f} to {interval.high:.3f}"


def _spans(found: Ties) -> Sequence[str]:
    """Put the tied epochs into spans: 9, 11, "12 to 17"; the best one may lie inside one, not at its end."""
    spans: list[list[int]] = []
    for epoch in sorted({*found.others, found.best}):
        if spans and epoch == spans[-1][-1] + 1:
            spans[-1].append(epoch)
        else:
            spans.append([epoch])
    words: list[str] = []
    for span in spans:
        inner = [epoch for epoch in span if epoch != found.best or span[0] < epoch < span[-1]]
        words += [f"{inner[0]} to {inner[-1]}"] if len(inner) > 2 else [str(epoch) for epoch in inner]
    return words


@st.cache_data(max_entries=500, show_spinner=False)
def _intervals(_store: Store, _run: Run, run_id: str, epoch: int, written_at: str) -> Intervals:
    """Remember an epoch's intervals; one that was trained again is written at another moment."""
    return intervals.of_checkpoint(_store, _run, epoch)


@st.cache_data(max_entries=20, show_spinner="Comparing the epochs…")
def _ties(_store: Store, _run: Run, run_id: str, epochs_done: str) -> Ties | None:
    """Remember a run's ties until it has another epoch."""
    return intervals.tied_epochs(_store, _run)
