"""The checkpoint that the project shows to others: its model card, who chose it, and choosing another."""

from collections.abc import Sequence

import streamlit as st

from core.domain.runs import MAX_NOTE_LENGTH, Champion, Run
from core.services import card_writing, checkpoints, evaluation, model_card, run_table, training
from core.services.card_writing import Scheme
from core.services.home import Store, open_home
from pages.components.promotion import SEEN
from pages.components.results import figure
from pages.components.shell import author, current_project, empty_state, shown_errors
from pages.components.words import day_and_clock, plain

ROUND = "champion_round"
CARD_HEIGHT = 860
PER_PAGE = 8
LONG = 400  # characters of a note, more of which are scrolled
NOTE_HEIGHT = 160

store = open_home()
project = current_project()
runs = {run.id: run for run in training.list_runs(store, project.id)}
history = evaluation.champions(store, project.id)
# What the visitor has decided on is what the page showed before it was pressed, and that may be over.
seen: Champion | None = st.session_state.get(SEEN, {}).get(project.id, history[0] if history else None)


@st.cache_data(max_entries=8, ttl="1m", show_spinner="Writing the model card")
def documents(_store: Store, _run: Run, run_id: str, epoch: int, chosen_at: str) -> tuple[str, str, str, str]:
    """Write a card as HTML for any screen, for a light and a dark page, and as Markdown; once a minute."""
    card = model_card.build(_store, _run, epoch)
    schemes: Sequence[Scheme | None] = (None, "light", "dark")
    any_screen, light, dark = (card_writing.html(card, scheme) for scheme in schemes)
    return any_screen, light, dark, card_writing.markdown(card)


def draw_card(champion: Champion) -> None:
    """Draw the champion's card, with its downloads."""
    run = runs[champion.run_id]
    when = champion.created_at.isoformat()
    with shown_errors():
        texts = documents(store, run, run.id, champion.epoch, when)
        any_screen, light, dark, markdown = texts
        name = f"model-card-{run.id[-8:]}-epoch-{champion.epoch}"
        with st.container(horizontal=True, vertical_alignment="center"):
            st.download_button(
                "Model card (HTML)", any_screen, f"{name}.html", "text/html",
                on_click="ignore", icon=":material/download:",
            )  # fmt: skip
            st.download_button(
                "Model card (Markdown)", markdown, f"{name}.md", "text/markdown",
                on_click="ignore", icon=":material/download:",
            )  # fmt: skip
        with st.container(border=True):
            # A height of its own: to measure the card's, Streamlit would have to run a script in it.
            shown = dark if st.context.theme.type == "dark" else light
            st.iframe(shown, height=CARD_HEIGHT, alt="Model card of the champion")


def promote(run: Run, epoch: int, note: str) -> None:
    """Make an epoch the champion, unless somebody made another one since the page was drawn."""
    with shown_errors():
        evaluation.promote(store, run, epoch, author=author(), note=note, replacing=seen)
        st.session_state[SEEN] = {}
        st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1  # the note's field begins anew
        st.toast(f"Epoch {epoch} of {plain(run.name)} is the champion.", icon=":material/trophy:")
        st.rerun()


def draw_choice(champion: Champion | None) -> None:
    """Offer the best epoch of each run."""
    best = {row.run.id: row.best for row in run_table.rows(store, project.id) if row.run.id in runs}
    found = {run_id: epoch for run_id, epoch in best.items() if epoch and epoch.checkpoint}
    if champion and (epoch := found.get(champion.run_id)) and epoch.epoch == champion.epoch:
        del found[champion.run_id]
    st.subheader("Choose another" if champion else "Choose a champion", anchor=False)
    if not found:
        st.caption("No other run has a best epoch. Any epoch can be made champion in Review.")
        st.page_link("pages/review.py", label="Review", icon=":material/compare:")
        return
    with st.form(f"promotion_{project.id}_{st.session_state.get(ROUND, 0)}"):
        run_id = st.selectbox(
            "Best epoch of a run",
            list(found),
            format_func=lambda key: (
                f"{runs[key].name}, epoch {found[key].epoch}: {figure(found[key].metrics[evaluation.METRIC])}"
            ),
            help="The figure is its foreground mIoU on the validation photos.",
        )
        note = st.text_area("Why this one", max_chars=MAX_NOTE_LENGTH, height=80)
        if st.form_submit_button("Make champion", icon=":material/trophy:", width="stretch"):
            promote(runs[run_id], found[run_id].epoch, note)


def draw_history() -> None:
    """List who chose which epoch, newest first."""
    st.subheader("History", anchor=False)
    pages = -(-len(history) // PER_PAGE)
    page = st.pagination(pages, key="champion_history") if pages > 1 else 1
    for place, entry in list(enumerate(history))[(page - 1) * PER_PAGE : page * PER_PAGE]:
        run = runs[entry.run_id]
        with st.container(border=True, gap="small"):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{plain(run.name)}**, epoch {entry.epoch}", width="stretch")
                if place == 0:
                    st.badge("Champion", icon=":material/trophy:", color="green")
                else:
                    draw_again(run, entry, place)
            by = f" by {plain(entry.author)}" if entry.author else ""
            st.caption(f"{day_and_clock(entry.created_at)}{by}")
            if entry.note:
                with st.container(height=NOTE_HEIGHT if len(entry.note) > LONG else "content", border=False):
                    st.text(entry.note)


def draw_again(run: Run, entry: Champion, place: int) -> None:
    """Offer to make an earlier champion the champion again."""
    is_now = (entry.run_id, entry.epoch) == (history[0].run_id, history[0].epoch)
    lost = checkpoints.given_up(run, entry.epoch, evaluation.epochs(store, run.id))
    if not is_now and st.button(
        "Promote again",
        key=f"again_{project.id}_{len(history) - place}",
        disabled=bool(lost),
        help=lost or None,
    ):
        promote(run, entry.epoch, entry.note)


st.title("Champion", anchor=False)
champion = history[0] if history else None
if champion is None:
    empty_state("No champion yet", "Look at the epochs in Review and choose one.", ":material/trophy:")
    st.page_link("pages/review.py", label="Go to Review", icon=":material/compare:")
    if runs:
        draw_choice(None)
else:
    left, right = st.columns([9, 5], gap="medium")
    with left:
        draw_card(champion)
    with right:
        draw_choice(champion)
        draw_history()
st.session_state.setdefault(SEEN, {})[project.id] = champion
