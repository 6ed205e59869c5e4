"""The Champion page: its card, its history, and two visitors who choose at the same time."""

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from core.services import evaluation
from core.storage import jobs
from core.storage.store import Store
from tests.builders import project_with
from tests.pages.said import press, texts
from tests.pages.trained import finish_run

OpenPage = Callable[[str], AppTest]


def shown_card(page: AppTest) -> str:
    """Give the card that the page shows, "" where it shows none."""
    frames = page.get("iframe")
    return frames[0].proto.srcdoc if frames else ""


def buttons(page: AppTest) -> list[str]:
    """List the words on the page's buttons."""
    return [button.label for button in page.button]


def test_without_a_run_the_page_shows_the_way_to_review(store: Store, open_page: OpenPage) -> None:
    project_with(store, "dent", "scratch")

    page = open_page("champion")

    assert "No champion yet" in texts(page) and not shown_card(page)
    assert "Make champion" not in buttons(page)


def test_the_best_epoch_of_a_run_is_promoted_with_a_note(store: Store, open_page: OpenPage) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, 3)
    page = open_page("champion")
    assert page.main.selectbox[0].options == [f"{run.name}, epoch 3: 1.000"]
    page.text_area[0].input("Sharper edges")

    press(page, "Make champion")

    chosen = evaluation.champion(store, project.id)
    assert chosen is not None and (chosen.epoch, chosen.note) == (3, "Sharper edges")
    assert [job.kind for job in jobs.waiting(store)] == ["export"]
    card = shown_card(page)
    assert f"{run.name}, epoch 3" in card and "Sharper edges" in card
    assert "Sharper edges" in [text.value for text in page.text]
    assert "No other run has a best epoch" in texts(page)


def test_an_earlier_champion_is_promoted_again(store: Store, open_page: OpenPage) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), 3)
    for epoch, note in ((1, "first"), (3, "second")):
        evaluation.promote(store, run, epoch, note=note)
    page = open_page("champion")
    assert buttons(page).count("Promote again") == 1

    press(page, "Promote again")

    history = evaluation.champions(store, run.project_id)
    assert [(entry.epoch, entry.note) for entry in history] == [(1, "first"), (3, "second"), (1, "first")]
    assert f"{run.name}, epoch 1" in shown_card(page)
    assert buttons(page).count("Promote again") == 1, "for epoch 3 alone"


def test_of_two_tabs_the_second_is_told_and_may_go_on(store: Store, open_page: OpenPage) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, 3)
    evaluation.promote(store, run, 2)
    page = open_page("champion")
    page.text_area[0].input("mine")
    evaluation.promote(store, run, 1, author="anna@example.com")  # in another tab

    press(page, "Make champion")

    assert "Since you looked, anna@example.com made epoch 1" in texts(page)
    assert [entry.epoch for entry in evaluation.champions(store, project.id)] == [1, 2]
    assert f"{run.name}, epoch 1" in shown_card(page), "the page shows what the other one did"

    press(page, "Make champion")

    assert [entry.epoch for entry in evaluation.champions(store, project.id)] == [3, 1, 2]
    assert evaluation.champions(store, project.id)[0].note == "mine", "what was typed is kept"


def test_a_champion_without_a_figure_is_shown_all_the_same(store: Store, open_page: OpenPage) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), 2)
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE epoch SET metrics = '{}'")
        connection.exec_driver_sql("DELETE FROM confusion")
    evaluation.promote(store, run, 1)

    page = open_page("champion")

    assert "This epoch was not measured on valid, of 2 labelled photos." in shown_card(page)
    assert "no epoch has this figure" in shown_card(page)
