"""Processes that train together compute what one would, stop together, and notice who is gone."""

import dataclasses
import os
import pickle
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, distributed

from core.domain.errors import AppError, Cancelled, Fenced, NotEnoughLabels, PeerLost
from core.domain.training import TrainingConfig
from core.training.checkpoints import load_weights
from core.training.dataset import prepare_data
from core.training.evaluation import evaluate
from core.training.progress import Progress
from core.training.team import ALONE, noticing_lost_peers, open_team
from core.training.validation import ImageResult
from tests.training.builders import Photos, ignore, version_of
from tests.training.member import EPOCHS, Seen, prepared, still_figures, team_config, uneven_gradients

LIMIT_SECONDS = 240
ROOT = Path(__file__).parents[2]
GLOO_ERROR = (
    "[/build/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:1"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("team")


@pytest.fixture(scope="module")
def trained(folder: Path) -> list[Seen]:
    """Two processes under torchrun, as a worker starts them."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--local-addr", "127.0.0.1"]
    member = ["-m", "tests.training.member", "train", str(folder)]
    done = subprocess.run(
        [sys.executable, *launcher, *member],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [_seen(folder, "train", rank) for rank in (0, 1)]


@pytest.mark.acceptance
def test_only_the_leader_prepares_the_photos(trained: list[Seen]) -> None:
    assert [seen.reads for seen in trained] == [18, 0]


@pytest.mark.acceptance
def test_all_processes_have_the_same_weights_and_figures(trained: list[Seen]) -> None:
    leader, other = trained

    assert _is_same(leader.weights, other.weights)
    assert leader.results == other.results
    assert [result.epoch for result in leader.results] == [1, 2]
    assert leader.gathered == other.gathered == ["rank 0", "rank 1"]


@pytest.mark.acceptance
def test_every_process_hears_of_every_batch(trained: list[Seen]) -> None:
    leader, other = ([_place(progress) for progress in seen.heard] for seen in trained)

    epoch = [("train", 1, 2), ("train", 2, 2), ("validate", 1, 2), ("validate", 2, 2)]
    assert leader == other == EPOCHS * epoch


@pytest.mark.acceptance
def test_an_uneven_batch_gives_the_gradient_of_the_whole(
    trained: list[Seen], config: TrainingConfig, folder: Path
) -> None:
    one = team_config("two_layers", 1)

    expected = uneven_gradients(one, prepared(one, folder, Photos()), ALONE)

    for seen in trained:
        assert len(seen.gradients) == len(expected) == 4
        for gradient, whole in zip(seen.gradients, expected, strict=True):
            assert torch.allclose(gradient, whole, rtol=1e-4, atol=1e-7)


@pytest.mark.acceptance
def test_training_figures_are_of_the_images_of_all(
    trained: list[Seen], config: TrainingConfig, folder: Path
) -> None:
    leader, _ = trained
    one = team_config("two_layers", 1)

    alone = still_figures(one, prepared(one, folder, Photos()), ALONE)

    for result in leader.results:
        images = (result.metrics["images_per_second"] or 0) * result.durations["train"]
        assert images == pytest.approx(9)
    assert leader.still_figures == pytest.approx(alone, rel=1e-6)
    assert {"train_loss", "train_pixel_accuracy", "train_iou/7"} <= alone.keys()


@pytest.mark.acceptance
def test_validation_equals_that_of_one_process(
    trained: list[Seen], config: TrainingConfig, folder: Path
) -> None:
    data = prepared(team_config("three_layers", 1), folder, Photos())
    again: list[ImageResult] = []

    evaluation = evaluate(
        folder / "epoch_2.pt", data.valid.items, data.read_item, data.categories, again.append, ignore
    )

    last = trained[0].results[-1].metrics
    assert evaluation.metrics == {name: value for name, value in last.items() if name.startswith("val_")}
    assert [len(seen.measured) for seen in trained] == [EPOCHS * 5, EPOCHS * 4], "batches are not torn apart"
    measured = {image.image_id: image for seen in trained for epoch, image in seen.measured if epoch == 2}
    assert len(measured) == len(again) == 9
    for image in again:
        assert np.array_equal(image.label_map, measured[image.image_id].label_map)
        assert image.loss == measured[image.image_id].loss


@pytest.mark.acceptance
def test_a_teams_checkpoint_is_like_any_other(
    trained: list[Seen], config: TrainingConfig, folder: Path
) -> None:
    model, meta = load_weights(folder / "epoch_2.pt")

    assert _is_same(model.state_dict(), trained[0].weights)
    assert meta.config.devices == 2


@pytest.mark.acceptance
def test_a_resumed_team_equals_an_uninterrupted_one_to_the_last_bit(trained: list[Seen]) -> None:
    for seen in trained:
        assert _is_same(seen.weights, seen.resumed_weights)


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("name", "reasons", "place"),
    [
        ("cancelled in training", ["Cancelled", "Cancelled"], ("train", 2, 2)),
        ("cancelled in validation", ["Cancelled", "Cancelled"], ("validate", 1, 2)),
        ("cancelled elsewhere", ["Cancelled", "Cancelled"], ("train", 1, 2)),
        ("fenced", ["Fenced", "Cancelled"], ("train", 1, 2)),
        ("no number", ["TrainingDiverged", "TrainingDiverged"], None),
    ],
)
def test_what_stops_one_stops_all_at_the_same_batch(
    name: str, reasons: list[str], place: tuple[str, int, int] | None, trained: list[Seen]
) -> None:
    stops = [seen.stops[name] for seen in trained]

    assert [reason for reason, _ in stops] == reasons
    assert [progress and _place(progress) for _, progress in stops] == [place, place]


@pytest.mark.acceptance
@pytest.mark.parametrize(("scenario", "heard"), [("lose_in_backward", 1), ("lose_between", 2)])
def test_a_killed_process_is_noticed_as_such(scenario: str, heard: int, tmp_path: Path) -> None:
    outputs, codes = _lose_one(scenario, tmp_path)
    if codes[0] == -signal.SIGABRT:  # now and then torch ends itself from a thread of its own: a signal too
        outputs, codes = _lose_one(scenario, tmp_path)

    assert codes == [0, -signal.SIGKILL], outputs
    seen = _seen(tmp_path, scenario, 0)
    assert seen.error.startswith("Another process of this training is gone: ")
    assert len(seen.heard) == heard


def test_a_team_of_one_needs_nothing(config: TrainingConfig) -> None:
    team = open_team(config)

    assert team is ALONE and team.is_leader
    assert not distributed.is_initialized()
    assert (team.any(True), team.any(False), team.gather(5)) == (True, False, [5])
    assert team.together(lambda: 7) == team.leader_first(lambda: 7) == 7
    buffer = torch.ones(2)
    team.average([buffer])
    assert buffer.tolist() == [1, 1]


@pytest.mark.parametrize("error", [Cancelled, Fenced, AppError, KeyError])
def test_alone_each_error_passes(error: type[Exception]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(error):
        ALONE.together(fail)


def test_a_run_that_was_started_for_fewer_devices_says_how(config: TrainingConfig) -> None:
    with pytest.raises(AppError, match=r"for 2 devices.*started with 1\. .*--nproc-per-node 2"):
        open_team(dataclasses.replace(config, batch_size=4, devices=2))


@pytest.mark.parametrize(
    "error", [RuntimeError(GLOO_ERROR), distributed.DistBackendError("NCCL communicator was aborted")]
)
def test_a_broken_connection_is_a_lost_peer(error: Exception) -> None:
    with pytest.raises(PeerLost) as caught, noticing_lost_peers():
        raise error

    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("gloo/transport"),
        RuntimeError("Expected all tensors to be on the same device"),
        torch.OutOfMemoryError("CUDA out of memory."),
        distributed.DistBackendError("NCCL error: Cuda failure 2 'out of memory'"),
    ],
)
def test_a_fault_of_ones_own_passes_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, noticing_lost_peers():
        raise error

    assert caught.value is error


def test_every_device_needs_two_images(config: TrainingConfig, tmp_path: Path) -> None:
    three = dataclasses.replace(config, batch_size=6, devices=3)

    with pytest.raises(NotEnoughLabels, match=r"on 3 devices needs at least 6 .* there are 5 and 1"):
        prepare_data(version_of(train=5, valid=1), three, Photos(), tmp_path, ignore)


def _lose_one(scenario: str, folder: Path) -> tuple[list[str], list[int]]:
    """Train in two processes, one of which is killed; give what both said, and how they ended."""
    port = _free_port()
    processes = [_start(scenario, folder, rank, port) for rank in (0, 1)]
    outputs = [process.communicate(timeout=LIMIT_SECONDS)[0] for process in processes]
    return outputs, [process.returncode for process in processes]


def _start(scenario: str, folder: Path, rank: int, port: int) -> subprocess.Popen[str]:
    """Start a process with torchrun's variables, but no torchrun that would stop the other one."""
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    variables = {name: str(value) for name, value in place.items()} | {"TORCHELASTIC_RUN_ID": "test"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.member", scenario, str(folder)],
        cwd=ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _seen(folder: Path, scenario: str, rank: int) -> Seen:
    return Seen(**pickle.loads((folder / f"{scenario}-{rank}.pkl").read_bytes()))


def _place(progress: Progress) -> tuple[str, int, int]:
    return progress.phase, progress.batch, progress.batches


def _is_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())
