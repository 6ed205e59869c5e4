"""Exported models are opened once, known by their bytes, and at most two stay."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from core.domain.errors import FormatError, NotFound
from core.inference.session import MAX_OPEN, Model, open_model
from tests.inference.exported import heads_of

WriteModel = Callable[..., Path]


def test_a_model_knows_its_categories_and_its_input(model_path: Path) -> None:
    model = open_model(model_path)

    assert [(c.category_id, c.name) for c in model.categories] == [(7, "red"), (3, "blue")]
    assert model.preprocessing.size == 64
    assert model.card.run == {"epoch": 4}


def test_a_model_gives_all_that_it_has(model_path: Path, write_model: WriteModel, tmp_path: Path) -> None:
    heads = heads_of((8, 8, 24, 32))
    image = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)

    alone = open_model(model_path).outputs(image)
    outputs = open_model(write_model(tmp_path / "regions.onnx", heads=heads)).outputs(image)

    assert alone.centres is None and alone.offsets is None
    assert np.array_equal(outputs.logits, alone.logits) and alone.logits.shape == (3, 64, 64)
    assert outputs.centres is not None and np.array_equal(outputs.centres, heads.centres)
    assert outputs.offsets is not None and np.array_equal(outputs.offsets, heads.offsets)


def test_the_same_bytes_are_opened_once_whatever_their_path(model_path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(model_path, tmp_path / "copy.onnx"))

    assert open_model(model_path) is open_model(copy)
    assert open_model(model_path, threads=1) is not open_model(model_path)


def test_a_file_that_changed_is_opened_anew(model_path: Path, write_model: WriteModel) -> None:
    before = open_model(model_path)
    write_model(model_path, gain=9.0)

    assert open_model(model_path).sha256 != before.sha256


def test_the_two_used_last_stay_open(write_model: WriteModel, tmp_path: Path) -> None:
    paths = [write_model(tmp_path / f"{gain}.onnx", gain=float(gain)) for gain in range(1, MAX_OPEN + 2)]
    first, second = open_model(paths[0]), open_model(paths[1])
    assert open_model(paths[0]) is first

    open_model(paths[2])

    assert open_model(paths[0]) is first, "used after the second"
    assert open_model(paths[1]) is not second


def test_threads_that_ask_at_once_get_one_model(model_path: Path) -> None:
    found: list[Model] = []
    threads = [threading.Thread(target=lambda: found.append(open_model(model_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert all(model is found[0] for model in found)


def test_the_number_of_threads_can_be_set(model_path: Path) -> None:
    options = open_model(model_path, threads=1).session.get_session_options()

    assert options.intra_op_num_threads == 1


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.onnx is not there"):
        open_model(tmp_path / "gone.onnx")


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x09\x12\x00"])
def test_what_is_no_model_is_a_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(content)

    with pytest.raises(FormatError, match=r"other\.onnx is damaged"):
        open_model(path)


def test_a_foreign_model_is_refused(model_path: Path, write_model: WriteModel, tmp_path: Path) -> None:
    foreign = onnx.load(model_path)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")

    with pytest.raises(FormatError, match="not a model that this program exported"):
        open_model(tmp_path / "foreign.onnx")
    with pytest.raises(FormatError, match="not a model that this program exported"):
        open_model(write_model(tmp_path / "broken.onnx", card="{"))
