"""One process of a team, as tests start it: `python -m tests.training.member SCENARIO FOLDER`.

What it saw is left in FOLDER as ``<scenario>-<rank>.pkl``: the fields of ``Seen``.
"""

import dataclasses
import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from core.domain.errors import Cancelled, Fenced, PeerLost, TrainingDiverged
from core.domain.training import TrainingConfig
from core.models import registry
from core.training.checkpoints import load_checkpoint, save_checkpoint
from core.training.dataset import TrainingData, batches, prepare_data
from core.training.environment import prepare_process
from core.training.learner import Learner, build_learner
from core.training.loop import EpochResult, fit, train_step
from core.training.metrics import Metrics
from core.training.progress import OnBatch, Progress
from core.training.team import Team, open_team
from core.training.validation import ImageResult
from tests.training.builders import NETS, PLAIN_ENCODERS, Photos, config_of, ignore, version_of

TRAIN, VALID = 9, 9  # batches of 4 and 5 to train on; of 4, 4 and 1 to measure
EPOCHS = 2


@dataclass
class Seen:
    """What one process saw of a training that is stopped, interrupted, resumed and run to its end."""

    reads: int = 0  # while the data was prepared
    results: list[EpochResult] = field(default_factory=list[EpochResult])
    heard: list[Progress] = field(default_factory=list[Progress])
    measured: list[tuple[int, ImageResult]] = field(default_factory=list[tuple[int, ImageResult]])
    weights: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    resumed_weights: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    gradients: list[Tensor] = field(default_factory=list[Tensor])
    still_figures: Metrics = field(default_factory=Metrics)
    gathered: list[str] = field(default_factory=list[str])
    stops: dict[str, tuple[str, Progress | None]] = field(
        default_factory=dict[str, tuple[str, Progress | None]]
    )
    error: str = ""


def team_config(model: str, devices: int) -> TrainingConfig:
    """Configure a run that this many processes share; one has the same batches."""
    return dataclasses.replace(config_of(model), batch_size=4, devices=devices, epochs=EPOCHS)


def prepared(config: TrainingConfig, folder: Path, photos: Photos) -> TrainingData:
    """Prepare the data, or find it prepared."""
    return prepare_data(version_of(TRAIN, VALID), config, photos, folder / "cache", ignore)


def uneven_gradients(config: TrainingConfig, data: TrainingData, team: Team) -> list[Tensor]:
    """Give the gradients of one step on a batch of five, of which two processes have three and two."""
    learner = build_learner(dataclasses.replace(config, loss="ce", clip_gradient_norm=0), data, team)
    *_, last = batches(data.train, config, 1, team.rank)
    assert last.whole == 5
    train_step(learner, last)
    return [parameter.grad for parameter in learner.network.module.parameters() if parameter.grad is not None]


def still_figures(config: TrainingConfig, data: TrainingData, team: Team) -> Metrics:
    """Give the training figures of an epoch in which the network hardly moves."""
    still = dataclasses.replace(config, loss="ce", decoder_learning_rate=1e-9)
    (result,) = fit(build_learner(still, data, team), range(1), ignore, ignore)
    return {name: value for name, value in result.metrics.items() if name.startswith("train_")}


def train(team: Team, folder: Path) -> Seen:
    """Train to the end, and again from the first epoch's checkpoint; then be stopped in many ways."""
    config, seen, photos = team_config("three_layers", 2), Seen(), Photos()
    data = team.leader_first(lambda: prepared(config, folder, photos))
    seen.reads = photos.reads
    seen.gathered = team.gather(f"rank {team.rank}")
    seen.gradients = uneven_gradients(team_config("two_layers", 2), data, team)
    seen.still_figures = still_figures(team_config("two_layers", 2), data, team)

    learner = build_learner(config, data, team)
    for result in fit(learner, range(EPOCHS), seen.heard.append, lambda *image: seen.measured.append(image)):
        seen.results.append(result)
        if team.is_leader:
            save_checkpoint(folder / f"epoch_{result.epoch}.pt", learner, result.epoch, {})
    seen.weights = _copy(learner)

    team.wait()  # the leader's last save
    resumed = load_checkpoint(folder / "epoch_1.pt", build_learner(config, data, team))
    list(fit(resumed, range(resumed.epochs_done, EPOCHS), ignore, ignore))
    seen.resumed_weights = _copy(resumed)

    for name, (rank, phase, batch, error) in STOPS.items():
        stop = _raising(error, phase, batch) if rank == team.rank else ignore
        seen.stops[name] = _stopped(build_learner(config, data, team), stop)
    seen.stops["no number"] = _stopped(_broken(build_learner(config, data, team), on_rank=1), ignore)
    return seen


STOPS: dict[str, tuple[int, str, int, type[Exception]]] = {
    "cancelled in training": (0, "train", 2, Cancelled),
    "cancelled in validation": (0, "validate", 1, Cancelled),
    "fenced": (0, "train", 1, Fenced),
    "cancelled elsewhere": (1, "train", 1, Cancelled),
}


def lose_peer(team: Team, folder: Path, *, in_backward: bool) -> Seen:
    """Train until process 1 is killed: in the middle of its second step, or after it."""
    config, seen = team_config("three_layers", 2), Seen()
    data = team.leader_first(lambda: prepared(config, folder, Photos()))
    learner = build_learner(config, data, team)

    def on_batch(progress: Progress) -> None:
        seen.heard.append(progress)
        if team.rank == 1 and not in_backward and progress.batch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if team.rank == 1 and in_backward:
            parameter = next(learner.network.module.parameters())
            parameter.register_hook(lambda _: os.kill(os.getpid(), signal.SIGKILL))

    try:
        list(fit(learner, range(EPOCHS), on_batch, ignore))
    except PeerLost as error:
        seen.error = str(error)
    return seen


def _raising(error: type[Exception], phase: str, batch: int) -> OnBatch:
    def stop(progress: Progress) -> None:
        if (progress.phase, progress.batch) == (phase, batch):
            raise error

    return stop


def _stopped(learner: Learner, stop: OnBatch) -> tuple[str, Progress | None]:
    """Train until something stops it; give its name and the last batch that was heard of."""
    heard: list[Progress | None] = [None]

    def on_batch(progress: Progress) -> None:
        heard.append(progress)
        stop(progress)

    try:
        list(fit(learner, range(1), on_batch, ignore))
    except (Cancelled, Fenced, TrainingDiverged) as error:
        return type(error).__name__, heard[-1]
    return "nothing", heard[-1]


def _broken(learner: Learner, *, on_rank: int) -> Learner:
    if learner.team.rank != on_rank:
        return learner
    broken = dataclasses.replace(learner.network.loss, loss=lambda logits, *_: logits.mean() * torch.nan)
    return dataclasses.replace(learner, network=dataclasses.replace(learner.network, loss=broken))


def _copy(learner: Learner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.network.module.state_dict().items()}


SCENARIOS: dict[str, Callable[[Team, Path], Seen]] = {
    "train": train,
    "lose_in_backward": lambda team, folder: lose_peer(team, folder, in_backward=True),
    "lose_between": lambda team, folder: lose_peer(team, folder, in_backward=False),
}


def main() -> None:
    """Join the team, play the scenario, leave what was seen."""
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    registry.MODELS.update(NETS)
    registry.ENCODERS.update(PLAIN_ENCODERS)
    prepare_process(1, is_deterministic=True)
    team = open_team(team_config("three_layers", 2))
    seen = SCENARIOS[scenario](team, folder)
    (folder / f"{scenario}-{team.rank}.pkl").write_bytes(pickle.dumps(vars(seen)))


if __name__ == "__main__":
    main()
