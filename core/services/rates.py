"""At which rate a network learns: a search in the background, on the labels of now."""

from dataclasses import asdict, dataclass

from core.domain.errors import FormatError
from core.domain.runs import Job, WorkState
from core.domain.training import TrainingConfig
from core.services import training
from core.services.home import Store
from core.storage import jobs, versions

RATE_STEPS = (10, 1000)  # the fewest and the most that a search for a rate may take


@dataclass(frozen=True)
class RateSearch:
    """What a search for a learning rate found: (rate of the decoder, loss), and the losses smoothed.

    ``suggestion`` follows ``rule``, a sentence; it is None where the loss hardly fell.
    """

    points: tuple[tuple[float, float], ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    rule: str


def find_rate(store: Store, project_id: str, config: TrainingConfig, steps: int = 100) -> Job:
    """Freeze the labels of now, and queue a search for the decoder's learning rate on them.

    Raises:
        FormatError: fewer or more steps than RATE_STEPS; or as ``training.collect`` says.
        NotEnoughLabels, NotFound, UnknownChoice: as it says.
    """
    if not RATE_STEPS[0] <= steps <= RATE_STEPS[1]:
        raise FormatError(f"A search takes {RATE_STEPS[0]} to {RATE_STEPS[1]} steps, not {steps}.")
    data = training.collect(store, project_id, config)
    version = versions.freeze(store, project_id, data.categories, data.items, data.ignored)
    payload = {
        "project_id": project_id,
        "data_version_id": version.id,
        "config": asdict(config),
        "steps": steps,
    }
    return jobs.create(store, "find_rate", payload, project_id)


def rate_search(store: Store, job_id: str) -> RateSearch | None:
    """Give what a search found; None as long as, or where, it did not end well. Raises NotFound."""
    job = jobs.get(store, job_id)
    if job.state is not WorkState.SUCCEEDED or job.result is None:
        return None
    result = job.result
    return RateSearch(
        points=tuple((float(rate), float(loss)) for rate, loss in result["points"]),
        smoothed=tuple(map(float, result["smoothed"])),
        suggestion=None if result["suggestion"] is None else float(result["suggestion"]),
        rule=str(result["rule"]),
    )
