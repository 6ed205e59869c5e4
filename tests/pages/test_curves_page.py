"""The Curves page: what is drawn, what the address keeps, what a click opens, and what cannot be drawn."""

import base64
import codecs
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.testing.v1 import AppTest

from core.domain.images import Project
from core.domain.runs import Epoch, Run
from core.services import evaluation, training
from core.storage import lifecycle, processes, runs, tables
from core.storage.lifecycle import RUNS, Claim, Room
from core.storage.store import Store
from pages.components import chart_views, charts
from tests.builders import add_image, project_with, square
from tests.pages.said import texts
from tests.pages.trained import finish_run

OpenPage = Callable[[str], AppTest]


@pytest.fixture
def project(store: Store) -> Project:
    """A project of two classes with a few labelled photos."""
    made = project_with(store, "dent", "scratch")
    for seed in range(4):
        add_image(store, made, seed, square(1), square(2, 50, 30, 15), split="train" if seed < 3 else "valid")
    return made


def start(store: Store, project: Project, name: str) -> tuple[Run, Claim]:
    """Have a run under way."""
    run = training.start_run(store, project.id, training.configure("fast", {"epochs": 9}), name)
    claim = lifecycle.claim(store, RUNS, "test", Room(9))
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())
    return run, claim


def add_epoch(store: Store, claim: Claim, number: int, loss: float | None, **figures: float | None) -> None:
    """Write an epoch whose mIoU is a tenth of its number."""
    metrics = {"val_loss": loss, "train_loss": 0.5, "val_miou_foreground": number / 10, **figures}
    row = Epoch(claim.work_id, number, 1, metrics, {"train": 60.0}, "runs/x.pt", tables.now())
    runs.add_epoch(store, claim, row, [])


def figures(page: AppTest) -> dict[str, dict[str, Any]]:
    """Give the charts by their headings."""
    specs = [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]
    return {spec["layout"]["title"]["text"]: spec for spec in specs}


def lines(figure: dict[str, Any], part: str = "solid") -> dict[str, list[float]]:
    """Give a figure's measured lines of a pass by name, NaN for a gap."""
    named = [trace for trace in figure["data"] if "name" in trace]
    drawn = [trace for trace in named if trace["line"]["dash"] == part]
    return {trace["name"]: unpacked(trace["y"]) for trace in drawn}


def unpacked(packed: dict[str, str]) -> list[float]:
    return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"]).tolist()


def stars(figure: dict[str, Any]) -> list[dict[str, Any]]:
    return [trace for trace in figure["data"] if trace.get("marker", {}).get("symbol") == "star"]


def open_link(page: AppTest, **address: list[str]) -> AppTest:
    """Open the page by a link, in a session of its own."""
    fresh = AppTest.from_file(page._script_path, default_timeout=30)
    for name, words in address.items():
        fresh.query_params[name] = words
    fresh.run()
    fresh.switch_page("pages/curves.py")
    for name, words in address.items():
        fresh.query_params[name] = words
    fresh.run()
    assert not fresh.exception, fresh.exception
    return fresh


def test_a_finished_run_is_drawn_with_its_best_epoch_and_its_classes(
    store: Store, open_page: OpenPage
) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=3)
    evaluation.promote(store, run, 2)

    page = open_page("curves")

    drawn = figures(page)
    done = evaluation.epochs(store, run.id)
    assert list(drawn) == ["Foreground mIoU", "Loss", "Foreground Dice", f"IoU per class, {run.name}"]
    assert list(lines(drawn["Loss"]).values()) == [pytest.approx([1.2, 0.6, 0.4])]
    assert list(lines(drawn["Loss"], "dot").values()) == [pytest.approx([1.0, 0.5, 1 / 3])]
    assert lines(drawn[f"IoU per class, {run.name}"])["scratch"] == pytest.approx(
        [epoch.metrics["val_iou/2"] for epoch in done]
    )
    colors = {c.name: c.color for c in project.categories}
    classes = drawn[f"IoU per class, {run.name}"]["data"]
    assert {t["name"]: t["line"]["color"] for t in classes if "name" in t} == colors
    for figure in list(drawn.values())[:3]:
        (star,) = stars(figure)
        assert set(star["x"]) == {3} and star["customdata"] == 2 * [[run.id, 3]]
        assert "best epoch 3" in star["text"][0] and "Foreground Dice: " in star["text"][0]
        assert "Loss: 0.4000 valid, 0.3333 train" in star["text"][0]
    table = page.dataframe[0].value
    assert list(table["Mark"]) == ["", "champion", "best"]
    assert list(table["Loss, valid"]) == pytest.approx([1.2, 0.6, 0.4])
    assert list(table["IoU of dent, valid"]) == [epoch.metrics["val_iou/1"] for epoch in done]


def test_an_undefined_figure_is_a_gap_and_an_empty_cell(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    _, claim = start(store, project, "gappy")
    for number, loss in enumerate([0.9, None, 0.7], start=1):
        add_epoch(store, claim, number, loss)

    page = open_page("curves")

    (measured,) = lines(figures(page)["Loss"]).values()
    assert measured[0] == pytest.approx(0.9) and np.isnan(measured[1]) and measured[2] == pytest.approx(0.7)
    assert page.dataframe[0].value["Loss, valid"].isna().tolist() == [False, True, False]


def test_runs_keep_their_colours_whichever_are_chosen_first(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    made = []
    for name in ("first", "second", "third"):
        run, claim = start(store, project, name)
        add_epoch(store, claim, 1, 0.5)
        lifecycle.succeed(store, RUNS, claim)
        made.append(run.id)
    page = open_page("curves")
    choice = page.multiselect(key=f"curves_runs_{project.id}")
    assert choice.value == [made[2]]

    colors = []
    for chosen in ([made[0], made[2]], [made[2], made[1], made[0]]):
        choice.set_value(chosen).run()
        traces = figures(page)["Loss"]["data"]
        colors.append({t["name"]: t["line"]["color"] for t in traces if t.get("name")})

    assert colors[1] == {**colors[0], "second": colors[1]["second"]}
    assert len(set(colors[1].values())) == 3


def test_what_is_chosen_stands_in_the_address_and_a_link_brings_it_back(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    for name in ("first", "second"):
        _, claim = start(store, project, name)
        for number in (1, 2):
            add_epoch(store, claim, number, 0.5, learning_rate=0.01)
        lifecycle.succeed(store, RUNS, claim)
    page = open_page("curves")
    ids = [run.id for run in training.list_runs(store, project.id)]

    page.multiselect(key=f"curves_runs_{project.id}").set_value(ids).run()
    page.multiselect(key=f"curves_charts_{project.id}").set_value(["learning_rate", "loss"]).run()
    page.selectbox(key="curves_smooth").set_value(60).run()
    page.button_group(key="curves_x").set_value("time").run()
    page.button_group(key="curves_lines").set_value(["valid"]).run()

    names = ("runs", "charts", "x", "lines", "smooth")
    address = {name: page.query_params[name] for name in names}
    address = {name: [word] if isinstance(word, str) else word for name, word in address.items()}
    assert address["charts"] == ["learning_rate", "loss"] and address["smooth"] == ["60"]
    again = open_link(page, **address)
    assert figures(again) == figures(page)
    drawn = figures(again)
    assert list(drawn) == ["Learning rate", "Loss"]
    assert drawn["Loss"]["layout"]["xaxis"]["title"]["text"] == "Hours since the start"
    assert not lines(drawn["Loss"], "dot") and list(lines(drawn["Learning rate"])) != []
    assert sum(trace.get("opacity") == 0.3 for trace in drawn["Loss"]["data"]) == 2


def test_a_link_to_a_run_that_is_gone_says_so_and_shows_the_rest(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    run, claim = start(store, project, "kept")
    add_epoch(store, claim, 1, 0.5)

    page = open_link(open_page("curves"), runs=["000000000000", run.id], charts=["loss", "iou/rust"])

    assert page.multiselect(key=f"curves_runs_{project.id}").value == [run.id]
    assert list(figures(page)) == ["Loss"]
    assert texts(page).count("1 of the link are not in this project (any more)") == 2


def test_a_run_without_an_epoch_and_a_failed_one_are_named(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    failed, claim = start(store, project, "diverged")
    add_epoch(store, claim, 1, 0.5)
    lifecycle.fail(store, RUNS, claim, "The loss became nan in epoch 2.")
    waiting = training.start_run(store, project.id, failed.config, "waiting")
    page = open_page("curves")

    page.multiselect(key=f"curves_runs_{project.id}").set_value([failed.id, waiting.id]).run()

    assert "diverged failed: The loss became nan in epoch 2." in texts(page)
    assert "waiting has no finished epoch yet." in texts(page)
    assert list(lines(figures(page)["Loss"]).values()) == [[0.5]]


def test_a_run_under_way_is_drawn_beside_the_last_finished_one_or_offered(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    done, claim = start(store, project, "First")
    add_epoch(store, claim, 1, 0.5)
    lifecycle.succeed(store, RUNS, claim)
    run, _ = start(store, project, "Next")
    page = open_page("curves")
    choice = f"curves_runs_{project.id}"

    assert page.multiselect(key=choice).value == [run.id, done.id]
    assert "Next has no finished epoch yet." in texts(page)

    page.multiselect(key=choice).set_value([done.id]).run()
    assert "“Next” is under way." in texts(page)
    next(button for button in page.button if button.label == "Draw too").click().run()

    assert not page.exception
    assert page.multiselect(key=choice).value == [done.id, run.id]
    assert not [button for button in page.button if button.label == "Draw too"]


def test_before_the_first_epoch_the_page_waits_for_it(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    _, claim = start(store, project, "new")
    page = open_page("curves")
    assert "The first one under way appears here by itself." in texts(page)

    add_epoch(store, claim, 1, 0.5)
    page.run()

    assert "Foreground mIoU" in figures(page)


def test_without_a_run_or_a_line_the_page_asks_for_one_and_forgets_no_chart(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    run, claim = start(store, project, "only")
    add_epoch(store, claim, 1, 0.5)
    page = open_page("curves")
    page.multiselect(key=f"curves_charts_{project.id}").set_value(["loss"]).run()

    page.multiselect(key=f"curves_runs_{project.id}").set_value([]).run()
    assert "Choose a run." in texts(page) and not page.exception
    page.multiselect(key=f"curves_runs_{project.id}").set_value([run.id]).run()
    assert list(figures(page)) == ["Loss"]
    page.button_group(key="curves_lines").set_value([]).run()
    assert "Choose validation, training or both." in texts(page)


def test_a_click_tells_the_run_and_the_epoch() -> None:
    on_a_line = {"legendgroup": "run-a", "customdata": 7, "x": 350.0, "y": 0.5}
    on_a_star = {"legendgroup": "run-a", "customdata": ["run-b", 3]}
    on_a_class = {"legendgroup": "2", "customdata": 4}

    assert chart_views.clicked([]) is None
    assert chart_views.clicked([{"x": 1, "y": 2}]) is None  # the pale line behind a smoothed one
    assert chart_views.clicked([on_a_line]) == ("run-a", 7)
    assert chart_views.clicked([on_a_star], "") == ("run-b", 3)
    assert chart_views.clicked([on_a_class], "run-c") == ("run-c", 4)


def test_an_epoch_is_opened_on_review(store: Store, open_page: OpenPage) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=3)
    page = open_page("curves")

    page.session_state[chart_views.EPOCH] = {run.id: 1}  # as open_epoch leaves it
    page.switch_page("pages/review.py").run()

    assert not page.exception and "at epoch 1" in texts(page)


def test_a_chart_drawn_anew_keeps_what_was_zoomed_and_hidden(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    run, claim = start(store, project, "live")
    add_epoch(store, claim, 1, 0.5)
    page = open_page("curves")
    seen = {"curve loss epoch": {"xaxis": [0.5, 4.5], "hidden": [f"{run.id}-train"]}}
    page.session_state[chart_views.VIEWS] = {"views": seen}  # as the browser tells it

    add_epoch(store, claim, 2, 0.4)
    page.run()

    drawn = figures(page)
    assert drawn["Loss"]["layout"]["xaxis"]["range"] == [0.5, 4.5]
    assert "range" not in drawn["Loss"]["layout"]["yaxis"]
    assert "range" not in drawn["Foreground mIoU"]["layout"]["xaxis"]
    hidden = [t["meta"] for t in drawn["Loss"]["data"] if t.get("visible") == "legendonly"]
    assert hidden == [f"{run.id}-train"]
    page.button_group(key="curves_x").set_value("step").run()
    assert "range" not in figures(page)["Loss"]["layout"]["xaxis"]  # epochs are no steps


def test_runs_of_other_photos_or_labels_are_not_drawn_over_each_other_unsaid(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    made: list[str] = []
    for name in ("first", "second", "third"):
        if name == "third":
            add_image(store, project, 9, square(1), split="valid")
        run, claim = start(store, project, name)
        add_epoch(store, claim, 1, 0.5)
        lifecycle.succeed(store, RUNS, claim)
        made.append(run.id)
    page = open_page("curves")
    choice = page.multiselect(key=f"curves_runs_{project.id}")

    choice.set_value(made[:2]).run()
    assert "do not compare" not in texts(page), "the same data"
    choice.set_value(made).run()

    warning = "Measured on different photos or labels in valid: these figures do not compare."
    assert [w.value for w in page.warning] == [warning]
    page.button_group(key="curves_lines").set_value(["train"]).run()
    assert not page.warning, "no figure of valid is drawn"


def test_the_csv_says_in_its_first_bytes_that_it_is_utf_8(
    store: Store, project: Project, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[Callable[[], bytes]] = []
    register = MediaFileManager.add_deferred

    def watched(self: MediaFileManager, data: Callable[[], bytes], *args: Any, **kwargs: Any) -> str:
        offered.append(data)
        return register(self, data, *args, **kwargs)

    monkeypatch.setattr(MediaFileManager, "add_deferred", watched)
    _, claim = start(store, project, "Türkratzer")
    add_epoch(store, claim, 1, 0.5)

    open_page("curves")

    written = offered[-1]()
    assert written.startswith(codecs.BOM_UTF8) and "Türkratzer" in written.decode("utf-8-sig")


def test_names_are_no_markup(store: Store, project: Project, open_page: OpenPage) -> None:
    _, claim = start(store, project, '<a href="https://x">lure</a>')
    add_epoch(store, claim, 1, 0.5)

    traces = figures(open_page("curves"))["Loss"]["data"]

    shown = [trace.get("name", "") + trace.get("hovertemplate", "") for trace in traces]
    assert not any("<a" in text for text in shown) and any("&lt;a" in text for text in shown)


def test_colours_differ_for_as_many_runs_as_there_are_shades(store: Store, project: Project) -> None:
    run = training.start_run(store, project.id, training.configure("fast", {}), "x")
    many = [replace(run, id=f"{number:036d}") for number in range(24)]

    colors = charts.run_colors(many)

    assert len(set(colors.values())) == 24
    assert charts.run_colors(many[::-1]) == colors
    assert colors[many[0].id] == charts.RUN_COLORS[0]
