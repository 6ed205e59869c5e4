"""Files of weights that a user brings: what is kept under which name, and what is refused unopened."""

import hashlib
import io
import json
import pickle
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from safetensors.numpy import save as save_safetensors
from typer.testing import CliRunner

from core.__main__ import app
from core.domain.errors import FormatError, NotFound, StorageError
from core.domain.presets import PRESETS
from core.domain.runs import WorkState
from core.domain.training import TrainingConfig
from core.services import recipes, start_weights
from core.storage import runs, tables, workers
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.services.reported import worker_report

SAFETENSORS = save_safetensors({"head": np.ones((2, 2), np.float32)})


def torch_file(value: object = None, *, is_old: bool = False) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"head": value or torch.ones(2, 2)}, file, _use_new_zipfile_serialization=not is_old)
    return file.getvalue()


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"x")
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [torch_file(), torch_file(is_old=True), SAFETENSORS], ids=["torch", "old torch", "safetensors"]
)
def test_a_state_dict_is_kept_by_its_hash_with_its_name(store: Store, content: bytes) -> None:
    kept = start_weights.keep(store, "runs\\best/last one.pt", content)

    assert kept == start_weights.Kept(hashlib.sha256(content).hexdigest(), "last one.pt", len(content))
    assert store.blobs.get(f"weights/{kept.sha256}") == content
    assert start_weights.list_of(store) == [kept]
    assert start_weights.title(store, kept.sha256) == "last one.pt"
    assert not list((store.home / "scratch").iterdir())
    start_weights.require(store, TrainingConfig(start_weights=kept.sha256))


def test_a_file_stays_where_it_is_and_the_same_bytes_are_one_file(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(torch_file())

    first = start_weights.keep(store, path.name, path)
    again = start_weights.keep(store, "renamed.pt", path.read_bytes())

    assert path.exists() and first.sha256 == again.sha256
    assert [kept.name for kept in start_weights.list_of(store)] == ["renamed.pt"]
    assert len(store.blobs.list("weights")) == 2


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"\xff\xd8\xff a photo",
        b'{"head": [1, 2]}',
        zipped("photo.jpg"),
        torch_file()[:-50],
        SAFETENSORS[:20],
        struct.pack("<Q", 1 << 40) + b"{}" + bytes(50),
    ],
    ids=["empty", "short", "photo", "json", "other zip", "cut torch", "cut safetensors", "huge header"],
)
def test_what_is_no_file_of_weights_is_refused(store: Store, content: bytes) -> None:
    with pytest.raises(FormatError, match=r"^a\.pt is no file of weights, or not all of it\."):
        start_weights.keep(store, "a.pt", content)

    assert store.blobs.list("weights") == []
    assert not list((store.home / "scratch").iterdir())


def test_a_pickle_is_refused_and_one_within_an_archive_is_not_opened(store: Store, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    with pytest.raises(FormatError):
        start_weights.keep(store, "a.pt", pickle.dumps(Bomb(trace)))

    start_weights.keep(store, "a.pt", torch_file(Bomb(trace)))

    assert not trace.exists()


def test_too_large_a_file_is_refused_unread(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    with path.open("wb") as file:
        file.truncate(start_weights.MAX_BYTES + 1)  # of holes

    with pytest.raises(FormatError, match="weights of up to 2 GB are taken"):
        start_weights.keep(store, path.name, path)

    assert not list(store.home.glob("scratch/*"))


def test_a_file_that_is_not_there_is_a_sentence(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gone\.pt could not be kept"):
        start_weights.keep(store, "gone.pt", tmp_path / "gone.pt")


def test_the_newest_comes_first(store: Store) -> None:
    names = ["a.pt", "b.safetensors"]
    for name, content in zip(names, (torch_file(), SAFETENSORS), strict=True):
        start_weights.keep(store, name, content)

    assert [kept.name for kept in start_weights.list_of(store)] == names[::-1]


def test_weights_that_are_not_there_are_refused_before_anything_is_queued(store: Store) -> None:
    start_weights.require(store, TrainingConfig())
    with pytest.raises(NotFound, match="There are no weights abababab"):
        start_weights.require(store, TrainingConfig(start_weights="ab" * 32))
    with pytest.raises(FormatError, match="must be the SHA-256"):
        start_weights.require(store, TrainingConfig(start_weights="../photos/a"))
    assert start_weights.title(store, "ab" * 32) == "abababab…"


def test_the_description_beside_is_plain_json(store: Store) -> None:
    kept = start_weights.keep(store, "ä.pt", SAFETENSORS)

    described = json.loads(store.blobs.get(f"weights/{kept.sha256}.json"))
    assert described == {"sha256": kept.sha256, "name": "ä.pt", "bytes": len(SAFETENSORS)}


def test_the_command_line_trains_from_a_file_and_warns_of_memory(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_HOME", str(store.home))
    project = project_with(store, "dent")
    for seed, split in enumerate(("train", "train", "valid")):
        add_image(store, project, seed, square(1), split=split)
    path = tmp_path / "mine.safetensors"
    path.write_bytes(SAFETENSORS)
    changes = {"model": "fpn", "size": 64, "batch_size": 4}
    expensive_here(store, replace(PRESETS["fast"].config, **changes))
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]

    done = CliRunner().invoke(app, ["train", "--project", "Cars", "--weights", str(path), *words, "--json"])

    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    (kept,) = start_weights.list_of(store)
    assert kept.name == "mine.safetensors"
    assert runs.get(store, answer["run"]).config.start_weights == kept.sha256
    note = "At batch 4 this needs about 5.0 GB, and the machine has 4.0 GB: batch 2 with 2 batches per step"
    assert any(warning.startswith(note) for warning in answer["warnings"])
    assert note in done.stderr


def expensive_here(store: Store, config: TrainingConfig) -> None:
    """Have it measured that an image takes a GB, on a machine of four."""
    workers.report(store, worker_report("here", usage={"memory_bytes": 4 << 30}))
    result = dict.fromkeys(("train_seconds", "validate_seconds", "megapixel_seconds"), 0.1)
    sizes = {"fixed_bytes": 1 << 30, "image_bytes": 1 << 30}
    measured = {**result, **sizes, "host": "here", "device": "CPU", "is_disturbed": False}
    job = recipes.measure(store, config, 1)
    with store.write() as connection:
        is_it = tables.job.c.id == job.id
        connection.execute(
            sa.update(tables.job).where(is_it).values(state=WorkState.SUCCEEDED, result=measured)
        )


def test_an_archive_that_would_unpack_to_more_than_it_is_is_refused(store: Store) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data.pkl", b"\0" * 1_000_000)

    with pytest.raises(FormatError, match="is no file of weights"):
        start_weights.keep(store, "bomb.pt", file.getvalue())

    assert start_weights.list_of(store) == []
