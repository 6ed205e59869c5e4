"""All runs of the project in one table: find them, mark them, tell them apart, go on from them."""

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from core.domain.runs import WorkState
from core.services import checkpoints, evaluation, run_table, training
from core.services.home import open_home
from core.services.run_table import ID_SHOWN, Row, View, figure_of
from pages.components.recipe import fill_from
from pages.components.run_comparison import draw_comparison, draw_influences, setting_word
from pages.components.run_marks import draw_marks
from pages.components.runs import BADGES, RESUMABLE, state_badge
from pages.components.settings import lasting
from pages.components.shell import PROJECT, current_project, empty_state, part, shown_errors
from pages.components.words import plain

CHOSEN, BEGUN, WRITTEN, SEEN = "runs_chosen", "runs_begun", "runs_written", "runs_seen"
READ = "runs_read"  # counts readings of the address: new widgets each time
SEARCH, ARCHIVED, FILTERS = "q", "archived", ("state", "tag", "preset", "data")  # in the address
STATES = {state.value: BADGES[state][0] for state in WorkState}
AT_BEST = "Of the best epoch, on the validation photos."
zone, number, text = st.context.timezone, st.column_config.NumberColumn, st.column_config.TextColumn
COLORS = {"gray": "#8A94A050", "blue": "#56B4E970", "green": "#009E7360", "red": "#D5464670"}
MARKS = {"Champion": "#8E6FC870", "Archived": COLORS["gray"]}
PILLS = {title: COLORS.get(color, "#E69F0080") for title, color, _ in BADGES.values()} | MARKS
COLUMNS = {
    "Name": text(pinned=True, width=150),
    "State": st.column_config.MultiselectColumn(options=list(PILLS), color=list(PILLS.values()), width=150),
    "Data": text(width=115, help="Figures on different data do not compare."),
    "Best mIoU": st.column_config.ProgressColumn(min_value=0, max_value=1, format="%.3f", width=120),
    "Best epoch": number(width=85),
    "Dice": number(format="%.3f", width=70, help=AT_BEST),
    "Any-damage Dice": number(format="%.3f", width=125, help=AT_BEST),
    "Pixel accuracy": number(format="%.3f", width=105, help=AT_BEST),
    "Last mIoU": number(format="%.3f", width=85),
    "Last epoch": number(width=85),
    "Minutes": number(format="%.1f", width=75, help="From its first start to its end or to now."),
    "Started": st.column_config.DatetimeColumn(format="D MMM, HH:mm", timezone=zone, width=110),
    "Preset": text(width=120),
    "Network": text(width=230),
    "Size": number(format="%d", width=60),
    "Batch": number(format="%d", width=60),
    "Epochs": number(format="%d", width=65),
    "Device": text(width=120),
    "Tags": st.column_config.ListColumn(width=150),
    "Note": text(width=260),
}

store = open_home()
project = current_project()


def read_address(options: Mapping[str, Mapping[str, str]], known: Sequence[str]) -> None:
    """Take the view from the address where it says one that this page has not written itself."""
    names = (*options, SEARCH, ARCHIVED, "runs")
    given = {name: st.query_params.get_all(name) for name in names if name in st.query_params}
    if given and given != st.session_state.get(WRITTEN):
        for name, titles in options.items():
            st.session_state[widget_key(name)] = [v for v in given.get(name, []) if v in titles]
        st.session_state[widget_key(SEARCH)] = "".join(given.get(SEARCH, [])[:1])
        st.session_state[widget_key(ARCHIVED)] = given.get(ARCHIVED) == ["1"]
        wanted = given.get("runs", [])
        found = [run_id for run_id in known if run_id[-ID_SHOWN:] in {end[-ID_SHOWN:] for end in wanted}]
        st.session_state[CHOSEN] = found
        st.session_state[READ] = st.session_state.get(READ, 0) + 1
        if lost := len(wanted) - len(found):
            count = "1 run" if lost == 1 else f"{lost} runs"
            st.info(f"{count} of this link cannot be found in this project.", icon=":material/link_off:")
    for name, titles in options.items():  # a tag may be gone since it was chosen
        chosen = st.session_state.get(widget_key(name), [])
        if not all(value in titles for value in chosen):
            st.session_state[widget_key(name)] = [value for value in chosen if value in titles]


def write_address(view: View, chosen: Sequence[str]) -> None:
    """Put the view into the address: as a link it is the same view again."""
    said: dict[str, list[str]] = {name: list(getattr(view, name)) for name in FILTERS}
    said |= {SEARCH: [view.search] if view.search else [], ARCHIVED: ["1"] if view.has_archived else []}
    said["runs"] = [run_id[-ID_SHOWN:] for run_id in chosen]
    written = {name: values for name, values in said.items() if values}
    if written != {name: st.query_params.get_all(name) for name in said if name in st.query_params}:
        st.query_params.from_dict({PROJECT: project.name, **written})
    st.session_state[WRITTEN] = written


def widget_key(name: str) -> str:
    """Give the key of a filter's widget; each project has a view of its own."""
    return f"runs_{name}_{project.id}"


def choose_view(rows: Sequence[Row]) -> View:
    """Draw the filters in one row."""
    options: dict[str, dict[str, str]] = {
        "state": {s: title for s, title in STATES.items() if any(row.run.state == s for row in rows)},
        "tag": {tag: tag for tag in run_table.tags(rows)},
        "preset": {
            key: setting_word("preset", key) for key in sorted({row.run.config.preset for row in rows})
        },
        "data": {row.data: row.data_title for row in rows},
    }
    read_address(options, [row.run.id for row in rows])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input(
            "Search", type="search", placeholder="Name, note or tag", width=190, **lasting(widget_key(SEARCH))
        )
        found = {
            name: st.multiselect(
                name.capitalize(), list(titles), format_func=titles.__getitem__, placeholder="Any", width=140,
                **lasting(widget_key(name)),
            )
            for name, titles in options.items()
        }  # fmt: skip
        has_archived = st.toggle("Archived", **lasting(widget_key(ARCHIVED)))
    return View((search or "").strip(), **found, has_archived=has_archived)


def line(row: Row) -> dict[str, object]:
    """Give one line of the table."""
    run, config = row.run, row.run.config
    marks = {STATES[run.state.value]: True, "Champion": row.is_champion, "Archived": run.is_archived}
    return {
        "Name": run.name,
        "State": [mark for mark, is_so in marks.items() if is_so],
        "Data": row.data_title,
        "Best mIoU": row.miou,
        "Best epoch": row.best.epoch if row.best else None,
        "Dice": figure_of(row.best, "dice"),
        "Any-damage Dice": figure_of(row.best, "any_dice"),
        "Pixel accuracy": figure_of(row.best, "pixel_accuracy"),
        "Last mIoU": figure_of(row.last, "miou"),
        "Last epoch": row.last.epoch if row.last else None,
        "Minutes": None if row.seconds is None else row.seconds / 60,
        "Started": run.started_at,
        "Preset": setting_word("preset", config.preset),
        "Network": f"{setting_word('model', config.model)} on {setting_word('encoder', config.encoder)}",
        "Size": config.size,
        "Batch": config.batch_size,
        "Epochs": config.epochs,
        "Device": run.device,
        "Tags": list(run.tags),
        "Note": run.note,
    }


def draw_table(fresh: list[list[Row]], view: View) -> None:
    """Draw the runs that the view asks for and note which are chosen.

    ``fresh`` holds the rows that a run of the whole page has read; drawn again by itself, it reads anew.
    """
    is_whole = bool(fresh)
    rows = fresh.pop() if fresh else run_table.rows(store, project.id)
    shown = run_table.visible(rows, view)
    now = [(row.run.id, row.run.state) for row in rows]
    if not is_whole and now != st.session_state[SEEN]:
        st.rerun()  # what stands around the table follows
    st.session_state[SEEN] = now
    ids = [row.run.id for row in shown]
    key = f"runs_table_{hash((*ids, st.session_state.get(READ, 0)))}"  # of other rows it is another choice
    if key not in st.session_state:  # the default of a table that is there may not change
        chosen = st.session_state.get(CHOSEN, [])
        st.session_state[BEGUN] = [number for number, run_id in enumerate(ids) if run_id in chosen]
    event = st.dataframe(
        pd.DataFrame([line(row) for row in shown], columns=list(COLUMNS)),
        hide_index=True,
        height=min(35 * (len(shown) + 1) + 3, 423),
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": st.session_state[BEGUN]}},
        key=key,
        column_config=COLUMNS,
        placeholder="–",
    )
    picked = [ids[number] for number in sorted(event.selection.rows) if number < len(ids)]
    if picked != st.session_state.get(CHOSEN, []):
        st.session_state[CHOSEN] = picked
        if not is_whole:
            st.rerun()


def draw_actions(chosen: Sequence[Row]) -> None:
    """Draw what can be done with the chosen runs."""
    runs = [row.run for row in chosen]
    with st.container(horizontal=True, vertical_alignment="center"), shown_errors():
        if any(row.last for row in chosen) and pressed("Curves", "show_chart"):
            st.switch_page("pages/curves.py", query_params={"runs": [run.id for run in runs]})
        if len(chosen) == 1:
            draw_ways_on(chosen[0])
        is_archived = all(run.is_archived for run in runs)
        title, icon = ("Take back", "unarchive") if is_archived else ("Archive", "archive")
        if pressed(title, icon, "Archived runs are hidden here; nothing of them is deleted."):
            run_table.archive(store, [run.id for run in runs], is_archived=not is_archived)
            st.rerun()


def draw_ways_on(row: Row) -> None:
    """Draw where a single run leads: to its pictures, to a run like it, from its checkpoint, on."""
    run = row.run
    if row.last and pressed("Review", "compare"):
        st.switch_page("pages/review.py", query_params={"run": run.id})
    if pressed("Clone with changes", "content_copy", "Fills the Train page with this run’s settings."):
        fill_from(run)
        st.switch_page("pages/train.py")
    kept = checkpoints.kept_epochs(store, run.id) if row.last else []
    if kept and pressed("Continue from checkpoint", "fork_right", "A new run from the best kept epoch."):
        fill_from(run, epoch=(evaluation.best_epoch(kept) or kept[-1]).epoch)
        st.switch_page("pages/train.py")
    if run.state in RESUMABLE and pressed("Resume", "play_arrow", "Goes on from its last complete epoch."):
        training.resume(store, run.id)
        st.rerun()


def pressed(title: str, icon: str, help_: str | None = None) -> bool:
    """Draw one button of the row."""
    return st.button(title, icon=f":material/{icon}:", help=help_)


with st.container(horizontal=True, vertical_alignment="center"):
    st.title("Runs", anchor=False)
    export = st.container(width="content")
rows = run_table.rows(store, project.id)
if not rows:
    empty_state("No runs yet", "Each training is a line here, with its figures.", ":material/table_rows:")
    st.page_link("pages/train.py", label="Train a model", icon=":material/model_training:")
    st.stop()

view = choose_view(rows)
shown = run_table.visible(rows, view)
hidden = sum(row.run.is_archived for row in rows) if not view.has_archived else 0
st.caption(f"{len(shown)} of {len(rows)} runs" + (f", {hidden} archived" if hidden else ""))
export.download_button(
    "Export CSV", lambda: run_table.csv_text(shown).encode("utf-8-sig"),  # else Excel reads it as Latin-1
    f"{project.name}-runs.csv", "text/csv", on_click="ignore", icon=":material/download:",
)  # fmt: skip
is_live = any(not row.run.state.is_final for row in rows)
part(draw_table, every="5s" if is_live else None)([rows], view)
chosen = [row for row in shown if row.run.id in st.session_state.get(CHOSEN, [])]
write_address(view, [row.run.id for row in chosen])
if chosen:
    with st.container(horizontal=True, vertical_alignment="center"):
        title = chosen[0].run.name if len(chosen) == 1 else f"{len(chosen)} runs"
        st.markdown(f"#### {plain(title)}", width="content", anchors=False)
        if len(chosen) == 1:
            state_badge(chosen[0].run)
    draw_actions(chosen)
    if len(chosen) == 1:
        draw_marks(store, chosen[0].run, run_table.tags(rows))
    else:
        draw_comparison(chosen)
else:
    st.caption("Choose a run to mark it or to go on from it, several to see what tells them apart.")
draw_influences(shown)
