"""The study tables of the field, on one's own photos: presets beside each other, over several seeds."""

import streamlit as st

from core.domain.errors import AppError
from core.domain.runs import WorkState
from core.services import benchmarks, projects, recipes
from core.services.benchmarks import Row, Spread
from core.services.home import open_home
from pages.components.jobs import warn_without_worker
from pages.components.shell import current_project, empty_state, part, shown_errors
from pages.components.words import duration, plain

SHOWN = "benchmark_shown"
REFUSED = "benchmark_refused"
LIVE_SECONDS = "5s"
BUDGETS = {"own": "As each preset is", "photos": "Equal number of photos"}

store = open_home()
project = current_project()


def words(spread: Spread | None, digits: int = 3) -> str:
    """Give a mean with its deviation: "0.523 ± 0.011"; a single run has no deviation."""
    if spread is None:
        return "–"
    mean = f"{spread.mean:.{digits}f}"
    return mean if spread.deviation is None else f"{mean} ± {spread.deviation:.{digits}f}"


def draw_form() -> None:
    """Let the visitor choose what is compared, and start it."""
    presets = recipes.presets()
    titles = {other.id: other.name for other in projects.list_all(store)}
    name = st.text_input("Name", max_chars=benchmarks.MAX_NAME, placeholder="Decoders, spring")
    chosen = st.multiselect(
        "Presets", list(presets), ["tiny", "fast"],
        format_func=lambda key: f"{presets[key].origin}: {presets[key].title}",
    )  # fmt: skip
    where = st.multiselect("Projects", list(titles), [project.id], format_func=titles.__getitem__)
    row = st.container(horizontal=True, vertical_alignment="bottom")
    seeds = row.number_input(
        "Seeds", 1, benchmarks.MAX_SEEDS, 3, width=110,
        help="Each preset is trained once per seed on the same photos; the table gives mean ± spread.",
    )  # fmt: skip
    budget = row.segmented_control(
        "Budget", list(BUDGETS), default="own", format_func=BUDGETS.__getitem__, key="benchmark_budget"
    )
    photos = 0
    if budget == "photos":
        photos = row.number_input("Photos shown", 16, 10_000_000, 4_000, step=500, width=140)
    try:
        plan = benchmarks.plan(store, where, chosen, seeds, photos) if where and chosen else None
    except AppError as error:
        st.warning(str(error), icon=":material/warning:")
        plan = None
    if plan is not None:
        takes = "" if plan.seconds is None else f", about {duration(plan.seconds)} here one after the other"
        st.caption(f"{plan.runs} runs{takes}. They wait in the queue like all others.")
    if st.button("Start the benchmark", type="primary", icon=":material/play_arrow:", disabled=plan is None):
        with shown_errors():
            benchmarks.start(store, name, where, chosen, seeds, photos)
            st.session_state[SHOWN] = " ".join(name.split())
            st.rerun()


def draw_table(rows: list[Row]) -> None:
    """Draw one line per preset and project, and what goes on."""
    is_several = len({row.project for row in rows}) > 1
    shown = [
        {
            **({"Project": row.project} if is_several else {}),
            "Preset": presets[row.preset].title if row.preset in presets else row.preset,
            "Runs": f"{row.done} of {len(row.runs)}",
            "mIoU, valid": words(row.figures["miou"]),
            "mIoU, test": words(row.test_miou),
            "Dice": words(row.figures["dice"]),
            "Any damage, Dice": words(row.figures["any_dice"]),
            "Pixel accuracy": words(row.figures["pixel_accuracy"]),
            "Minutes": words(row.minutes, 1),
        }
        for row in rows
    ]
    st.dataframe(shown, hide_index=True, width="stretch")
    st.caption(
        "Mean ± standard deviation over seeds, of each run's best epoch on valid; foreground classes, at the "
        "photos' own sizes. Test is of that same epoch."
    )
    failed = [run for row in rows for run in row.runs if run.state is WorkState.FAILED]
    for run in failed[:5]:
        st.warning(f"{plain(run.name)}: {run.error}", icon=":material/error:")
    if any(len({other.data for other in rows if other.project == row.project}) > 1 for row in rows):
        st.warning(
            "Some of these runs saw other labels, so their rows do not compare.", icon=":material/rule:"
        )


presets = recipes.presets()
st.title("Benchmarks", anchor=False)
names = benchmarks.names(store)
with st.expander("New benchmark", icon=":material/add:", expanded=not names):
    draw_form()
if not names:
    empty_state(
        "No benchmark yet",
        "Choose presets above; each is trained with several seeds on the same photos.",
        ":material/leaderboard:",
    )
    st.stop()
wanted = st.session_state.get(SHOWN) or st.query_params.get("benchmark")
name = st.selectbox("Benchmark", names, names.index(wanted) if wanted in names else 0)
st.session_state[SHOWN] = st.query_params["benchmark"] = name


def draw() -> None:
    """Draw the chosen benchmark; it follows its runs while some are under way."""
    rows = benchmarks.table(store, name)
    if not rows:
        st.info("All of its runs were deleted or archived.", icon=":material/info:")
        return
    if any(not run.state.is_final for row in rows for run in row.runs):
        warn_without_worker(store, "run")
    draw_table(rows)
    line = st.container(horizontal=True)
    left = sum(len(row.untested) for row in rows)
    if benchmarks.is_testing(store, rows):
        line.caption(":material/hourglass_top: Testing the best epochs.")
    elif left and line.button(f"Test the best epochs ({left})", icon=":material/rule:"):
        with shown_errors():
            st.session_state[REFUSED] = benchmarks.measure_all(store, rows)
            st.rerun()
    for sentence in st.session_state.pop(REFUSED, []):
        st.warning(plain(sentence), icon=":material/warning:")
    line.download_button(
        "CSV", benchmarks.as_csv(rows).encode("utf-8-sig"), f"{name}.csv", "text/csv", on_click="ignore",
        icon=":material/download:",
    )  # fmt: skip


part(draw, every=LIVE_SECONDS if benchmarks.is_under_way(store, name) else None)()
