"""An epoch against other runs' best ones: which differences are more than chance."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from core.domain.errors import AppError
from core.domain.intervals import Difference
from core.domain.runs import Run
from core.services import evaluation, intervals
from core.services.home import Store
from pages.components.words import plain

HOW = (
    "Both are measured on the same photos, and the same 1,000 draws of them are compared: a photo that is "
    "hard for both does not count against either."
)


def draw_duels(store: Store, run: Run, epoch: int, rivals: Sequence[Run]) -> None:
    """Say of each rival's best epoch whether the shown epoch is better, worse, or not to be told apart."""
    for rival in rivals:
        best = evaluation.best_epoch(evaluation.epochs(store, rival.id))
        if best is None:
            continue
        try:
            shown = next(e for e in evaluation.epochs(store, run.id) if e.epoch == epoch)
            which = (run.id, epoch, shown.created_at, rival.id, best.epoch, best.created_at)
            found = _compared(store, run, rival, which)
        except AppError as error:
            st.caption(f"{plain(rival.name)}: {error}")
            continue
        st.caption(f"Against {plain(rival.name)}, epoch {best.epoch}: {duel_in_words(found)}", help=HOW)


def duel_in_words(found: Difference | None) -> str:
    """Say a difference of foreground mIoU with its 95 % interval, and what it means."""
    if found is None:
        return "no interval, for fewer than two photos show damage."
    interval = f"{found.value:+.3f} mIoU, 95 % interval {found.low:+.3f} to {found.high:+.3f}"
    verdict = "not to be told apart" if found.is_tied else "better" if found.value > 0 else "worse"
    return f"{interval}: **{verdict}**."


@st.cache_data(max_entries=200, show_spinner=False)
def _compared(
    _store: Store, _run: Run, _rival: Run, which: tuple[str, int, datetime, str, int, datetime]
) -> Difference | None:
    """Remember a comparison of two checkpoints; one that was trained again is of another moment."""
    _, epoch, _, _, rival_epoch, _ = which
    return intervals.compare(_store, (_run, epoch), (_rival, rival_epoch)).of.miou_foreground
