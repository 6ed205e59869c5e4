"""Checkpoints: which ones a run keeps, what they take, and from which one a new run may start."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.domain.errors import FormatError, NotFound
from core.domain.labels import Category
from core.domain.runs import Epoch, Run
from core.domain.training import TrainingConfig, retention
from core.services import workers
from core.services.home import Store
from core.storage import runs, versions

LISTED = 8  # epochs that a sentence names


@dataclass(frozen=True)
class Budget:
    """What a run's checkpoints will take on the disk, and what is there.

    ``most`` is how many it keeps in the end, at most. ``each_bytes`` is None while no run has kept one
    of such a network; ``like`` names the run whose checkpoint was measured. ``kept_bytes`` is what all
    runs keep so far; ``free_bytes`` is that of the tightest worker that trains, None while there is none.
    """

    most: int
    each_bytes: int | None
    like: str
    kept_bytes: int
    free_bytes: int | None

    @property
    def total_bytes(self) -> int | None:
        """What the run's checkpoints take in the end, at most."""
        return None if self.each_bytes is None else self.most * self.each_bytes


def budget(store: Store, config: TrainingConfig) -> Budget:
    """Say what the checkpoints of a run with this configuration will take on the disk."""
    sizes = runs.kept_bytes(store)
    alike = (r for r in runs.list_of(store) if sizes.get(r.id) and is_same_network(r.config, config))
    like = next(alike, None)
    measured = [e.checkpoint_bytes or 0 for e in runs.epochs(store, like.id)] if like else []
    free = [
        int(worker.info.usage["free_disk_bytes"])
        for worker in workers.list_all(store)
        if worker.serves("run") and "free_disk_bytes" in worker.info.usage
    ]
    return Budget(
        most=most_kept(config),
        each_bytes=max(measured, default=None),
        like=like.name if like else "",
        kept_bytes=sum(sizes.values()),
        free_bytes=min(free, default=None),
    )


def most_kept(config: TrainingConfig) -> int:
    """Count the checkpoints that a run keeps in the end, at most: its ``keep``, the best and the last."""
    kept = retention(config.keep)
    nth = config.epochs // kept.every if kept.every else 0
    is_last_counted = kept.every > 0 and config.epochs % kept.every == 0
    return min(config.epochs, nth + kept.best + (0 if is_last_counted else 1))


def kept_epochs(store: Store, run_id: str) -> list[Epoch]:
    """List the epochs of a run whose checkpoints are there, first to last."""
    return [epoch for epoch in runs.epochs(store, run_id) if epoch.checkpoint]


def require_kept(store: Store, run: Run, epoch: int) -> Epoch:
    """Give an epoch whose checkpoint is there.

    Raises:
        NotFound: the run has no such epoch, or gave its checkpoint up; the sentence names what is kept.
    """
    done = runs.epochs(store, run.id)
    found = next((e for e in done if e.epoch == epoch), None)
    if found is None:
        raise NotFound(f"The run “{run.name}” has no epoch {epoch}.")
    if lost := given_up(run, epoch, done):
        raise NotFound(lost)
    return found


def given_up(run: Run, epoch: int, done: Sequence[Epoch]) -> str:
    """Say that an epoch's checkpoint was not kept and which ones are; "" when it is there."""
    if any(e.epoch == epoch and e.checkpoint for e in done):
        return ""
    kept = [str(e.epoch) for e in done if e.checkpoint]
    named = kept if len(kept) <= LISTED else [*kept[: LISTED - 1], "…", kept[-1]]
    return (
        f"The checkpoint of epoch {epoch} was not kept: this run keeps {keeping(run.config.keep)}. "
        f"Kept: {', '.join(named) or 'none'}."
    )


def keeping(keep: str) -> str:
    """Put a ``keep`` setting into words: "the best 3 and the last"."""
    kept = retention(keep)
    if kept.every == 1:
        return "all"
    if kept.every:
        return f"every {kept.every}{_ordinal(kept.every)}, the best and the last"
    return f"the best {kept.best} and the last" if kept.best > 1 else "the best and the last"


def startable_runs(store: Store, config: TrainingConfig) -> list[Run]:
    """List the runs, newest first, whose weights fit this configuration's network and are kept."""
    kept = runs.kept_bytes(store)
    return [r for r in runs.list_of(store) if r.id in kept and is_same_network(r.config, config)]


def continued(store: Store, run: Run, epoch: int) -> TrainingConfig:
    """Give the configuration of a new run that starts from this checkpoint, with its run's settings.

    Raises:
        NotFound: the run has no such epoch, or its checkpoint was not kept.
    """
    return replace(run.config, start_from=f"{run.id}/{require_kept(store, run, epoch).epoch}")


def start_point(store: Store, config: TrainingConfig) -> tuple[Run, int] | None:
    """Give the run and the epoch that a configuration starts from, None where it starts from none.

    Raises:
        FormatError: ``start_from`` cannot be read, or the checkpoint is of another network.
        NotFound: there is no such run or epoch, or its checkpoint was not kept.
    """
    if not config.start_from:
        return None
    run_id, _, number = config.start_from.partition("/")
    if not (run_id and number.isascii() and number.isdigit()):
        raise FormatError(f"start_from must be RUN/EPOCH, such as 01a1fe59/12, not “{config.start_from}”.")
    run = runs.get(store, run_id)
    if not is_same_network(run.config, config):
        raise FormatError(
            f"“{run.name}” trained {run.config.model} on {run.config.encoder}, and this would train "
            f"{config.model} on {config.encoder}. Weights fit the same network only: choose its model and "
            "encoder, or start from another checkpoint."
        )
    require_kept(store, run, int(number))
    return run, int(number)


def start_note(store: Store, config: TrainingConfig, categories: Sequence[Category]) -> str | None:
    """Say which classes begin fresh when a run on these classes starts as ``start_from`` says.

    None where it starts from no checkpoint, or from one of the same classes. A network's outputs are
    kept for the same category ids in the same order; else all of them begin anew.

    Raises:
        FormatError, NotFound: see ``start_point``.
    """
    start = start_point(store, config)
    if start is None:
        return None
    run, epoch = start
    known = versions.get(store, run.data_version_id).categories
    if [c.category_id for c in known] == [c.category_id for c in categories]:
        pairs = [(c.name, k.name) for c, k in zip(categories, known, strict=True) if c.name != k.name]
        renamed = [f"“{name}” begins as what was “{former}” there" for name, former in pairs]
        return f"In “{run.name}” classes have other names: {', '.join(renamed)}." if renamed else None
    names = {c.name for c in known}
    new = [f"“{c.name}”" for c in categories if c.name not in names]
    reason = f"It never saw {', '.join(new)}" if new else "It was trained on other classes"
    return (
        f"{reason}, so the outputs of all {len(categories)} classes begin fresh; everything before them "
        f"begins as epoch {epoch} of “{run.name}” left it."
    )


def is_same_network(one: TrainingConfig, other: TrainingConfig) -> bool:
    """Tell whether the weights of one run fit into the other's network, classes aside."""
    return (one.model, one.encoder) == (other.model, other.encoder)


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
