"""TensorBoard's own reader takes a run's event files for what they are."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.domain.runs import Epoch, Run
from core.domain.training import DataVersion
from core.storage import versions
from core.storage.store import Store
from core.worker.tensorboard import TensorBoard

pytestmark = pytest.mark.integration

STARTED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
READ = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

accumulator = EventAccumulator(sys.argv[1]).Reload()
names = accumulator.Tags()["scalars"]
plugins = accumulator.PluginTagToContent("hparams")
print(json.dumps({
    "scalars": {name: [(e.step, e.value, e.wall_time) for e in accumulator.Scalars(name)] for name in names},
    "text": accumulator.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode(),
    "hparams": sorted(plugins),
}))
"""


@pytest.fixture
def run(queue_run: Callable[..., Run]) -> Run:
    return queue_run(seed=3)


@pytest.fixture
def version(store: Store, run: Run) -> DataVersion:
    return versions.get(store, run.data_version_id)


def epoch_of(run: Run, number: int) -> Epoch:
    metrics = {"train_loss": 1 / number, "val_iou/1": None if number == 1 else 0.25}
    return Epoch(run.id, number, 1, metrics, {}, "", STARTED + timedelta(minutes=number))


def read(servers: Path, store: Store, run: Run) -> Any:
    """Read the run's folder as TensorBoard does."""
    folder = store.blobs.folder
    assert folder is not None
    command = [servers / "python", "-c", READ, folder / "runs" / run.id / "tensorboard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_tensorboard_reads_curves_and_configuration(
    servers: Path, store: Store, run: Run, version: DataVersion
) -> None:
    tracker = TensorBoard(store.blobs, run, version, 1)
    for number in (1, 2, 3):
        tracker.follow([epoch_of(run, number)])

    seen = read(servers, store, run)

    times = [(STARTED + timedelta(minutes=number)).timestamp() for number in (1, 2, 3)]
    assert seen["scalars"].keys() == {"loss/train", "iou/val/dent"}
    assert [tuple(point) for point in seen["scalars"]["loss/train"]] == [
        (1, 1.0, times[0]),
        (2, 0.5, times[1]),
        (3, pytest.approx(1 / 3), times[2]),
    ]
    assert [point[0] for point in seen["scalars"]["iou/val/dent"]] == [2, 3]
    assert "    seed: 3\n" in seen["text"]
    assert seen["hparams"] == ["_hparams_/experiment", "_hparams_/session_start_info"]


def test_tensorboard_shows_an_epoch_once_even_where_an_earlier_attempts_file_is_still_there(
    servers: Path, store: Store, run: Run, version: DataVersion
) -> None:
    TensorBoard(store.blobs, run, version, 1).follow([epoch_of(run, 1), epoch_of(run, 2)])
    ((key, _),) = store.blobs.list(f"runs/{run.id}/tensorboard")
    earlier = store.blobs.get(key)
    TensorBoard(store.blobs, run, version, 2).follow([epoch_of(run, number) for number in (1, 2, 3)])
    store.blobs.put(key, earlier)

    seen = read(servers, store, run)

    assert [point[0] for point in seen["scalars"]["loss/train"]] == [1, 2, 3]
