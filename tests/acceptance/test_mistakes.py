"""What a user gets wrong on the command line is one sentence, exit code 1, and nothing on standard output."""

import json
from pathlib import Path

import pytest

from tests.acceptance.command_line import CommandLine
from tests.builders import project_with

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def home(cli: CommandLine) -> CommandLine:
    """A home with one project, which has no photos."""
    project_with(cli.store(), "dent", name="Empty")
    return cli


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            "train --project Empty --preset slow",
            "There is no preset “slow”. There are: tiny, fast, balanced, accurate, ",
        ),
        ("train --project Nowhere", "There is no project “Nowhere”"),
        ("train --project Empty", "Label at least 2 photos"),
        ("train --project Empty --set colour=red", "There is no setting “colour”"),
        ("train --project Empty --set size=100", "size must be a multiple of 32"),
        ("train --project Empty --set size", "--set takes key=value"),
        ("train --from 01a1fe59", "There is no run “01a1fe59”"),
        ("train --continue 01a1fe59 --project Empty", "There is no run “01a1fe59”"),
        ("train", "Name the project: --project NAME"),
        ("resume 01a1fe59", "There is no run “01a1fe59”"),
        ("cancel 01a1fe59", "There is no run “01a1fe59”"),
        ("log 01a1fe59", "There is no run “01a1fe59”"),
        ("runs --project Nowhere", "There is no project “Nowhere”. There are: Empty"),
        ("evaluate 01a1fe59", "There is no run “01a1fe59”"),
        ("promote 01a1fe59 best", "There is no run “01a1fe59”"),
        ("predict door.jpg --project Empty", "There is no trained model yet"),
        ("predict door.jpg --project Empty --run 01a1fe59", "There is no run “01a1fe59”"),
        ("import no/such/folder --project Empty", "no/such/folder does not exist"),
        ("import . --project Empty --format yolo9", "There is no format “yolo9”"),
        ("export out --project Empty --format yolo9", "yolo9"),
    ],
)
def test_a_mistake_is_one_sentence(home: CommandLine, command: str, sentence: str) -> None:
    done = home.run(*command.split(), "--json")

    assert done.returncode == 1
    assert done.stdout == ""
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_photo_that_is_a_text_file_is_refused_by_its_name(home: CommandLine, tmp_path: Path) -> None:
    text = tmp_path / "bumper.jpg"
    text.write_text("This is no photo.")

    done = home.run("import", text, "--project", "Empty", "--json")

    assert done.returncode == 1
    assert [entry["file"] for entry in json.loads(done.stdout)["refused"]] == ["bumper.jpg"]
    assert done.stderr.splitlines()[-1] == "Nothing was imported: every file was refused."
    assert "Traceback" not in done.stderr
