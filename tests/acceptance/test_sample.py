"""From nothing to a mask on the command line, with the sample project: no photo needed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.imaging.overlay import encode_jpeg
from core.imaging.sample import draw_panel
from tests.acceptance.command_line import CommandLine

pytestmark = pytest.mark.acceptance

CLASSES = ("scratch", "dent", "paint loss")


@pytest.fixture(scope="module")
def trained(cli: CommandLine) -> dict[str, Any]:
    """The run of a short training on the sample project."""
    assert sum(cli.json("sample", "--project", "Sample")["images"].values()) == 60
    answer = cli.json("train", "--project", "Sample", "--preset", "tiny", "--epochs", "3", "--wait")
    assert answer["state"] == "succeeded", answer
    (run,) = cli.json("runs", "--project", "Sample")
    assert run["run"] == answer["run"]
    return run


@pytest.fixture(scope="module")
def champion(cli: CommandLine, trained: dict[str, Any]) -> dict[str, Any]:
    """The last epoch, made champion."""
    chosen = cli.json("promote", trained["run"], "last", "--note", "looks right")
    assert chosen == {"run": trained["run"], "epoch": 3, "note": "looks right"}
    return chosen


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo that no training has seen."""
    path = tmp_path_factory.mktemp("photos") / "left door.jpg"
    path.write_bytes(encode_jpeg(draw_panel(99, 2).rgb))
    return path


def test_three_epochs_find_damage_on_validation_photos(trained: dict[str, Any]) -> None:
    scores = [epoch["metrics"]["val_miou_foreground"] for epoch in trained["epochs"]]

    assert max(scores) >= 0.3, scores
    losses = [epoch["metrics"]["train_loss"] for epoch in trained["epochs"]]
    assert losses == sorted(losses, reverse=True)


def test_the_champion_predicts_a_new_photo(
    cli: CommandLine, champion: dict[str, Any], photo: Path, tmp_path: Path
) -> None:
    (found,) = cli.json("predict", photo, "--project", "Sample", "--out", tmp_path)

    assert (found["photo"], found["run"], found["epoch"]) == (str(photo), champion["run"], 3)
    assert set(found["share"]) == set(CLASSES)
    with Image.open(found["mask"]) as mask:
        assert (mask.mode, mask.size) == ("P", (640, 480))
        indices = np.asarray(mask)
    shares = [np.mean(indices == index) for index in range(1, 4)]
    assert shares == pytest.approx([found["share"][name] for name in CLASSES], abs=1e-6)
    assert 0 < sum(shares) < 0.9
    assert indices.max() <= len(CLASSES)
    with Image.open(found["overlay"]) as overlay:
        assert (overlay.format, overlay.size) == ("JPEG", (640, 480))
    (run,) = cli.json("runs", "--project", "Sample")
    assert run["champion_epoch"] == 3


def test_a_photo_that_is_none_is_named_and_the_others_are_predicted_all_the_same(
    cli: CommandLine, champion: dict[str, Any], photo: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("This is no photo.")

    done = cli.run("predict", text, photo, "--project", "Sample", "--out", tmp_path / "out", "--json")

    assert done.returncode == 1
    assert [found["photo"] for found in json.loads(done.stdout)] == [str(photo)]
    assert str(text) in done.stderr and "1 of 2 photos could not be read." in done.stderr
    assert "Traceback" not in done.stderr


def test_without_json_people_read_lines(cli: CommandLine, champion: dict[str, Any]) -> None:
    done = cli.run("runs", "--project", "Sample")

    assert done.returncode == 0
    assert "3 epochs" in done.stdout and "champion epoch 3" in done.stdout


def test_an_epoch_that_does_not_exist_is_a_sentence(cli: CommandLine, trained: dict[str, Any]) -> None:
    done = cli.run("evaluate", trained["run"], "--epoch", "9", "--json")

    assert (done.returncode, done.stdout) == (1, "")
    assert "has no epoch 9" in done.stderr and len(done.stderr.splitlines()) == 1
