"""A search for a learning rate as a job: on real photos, from where a training would start."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from core.domain.errors import NotFound
from core.domain.images import Project
from core.domain.runs import Run
from core.domain.training import TrainingConfig
from core.models.registry import build_model
from core.services import start_weights
from core.services.rates import find_rate, rate_search
from core.storage import images, jobs, lifecycle, processes, reservations
from core.storage.lifecycle import JOBS, Room
from core.storage.store import Store
from core.worker import __main__ as worker
from core.worker.handlers import HANDLERS
from tests.worker.small_runs import SMALL, know_small_parts

STEPS = 30
QueueRun = Callable[..., Run]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, queue_run: QueueRun) -> TrainingConfig:
    """A small network's, with photos to train on."""
    know_small_parts(monkeypatch)
    run = queue_run(**SMALL)
    return replace(run.config, devices=2, batch_size=4, compile=True)


def carried_out(store: Store) -> int:
    claim = lifecycle.claim(store, JOBS, processes.this_host(), Room(1))
    assert claim is not None
    try:
        return worker.carry_out(store, "job", claim)
    finally:
        reservations.release(store, claim)


def test_a_search_gives_a_curve_and_a_rate_that_a_training_can_take(
    store: Store, project: Project, config: TrainingConfig
) -> None:
    job = find_rate(store, project.id, config, STEPS)

    code = carried_out(store)

    assert code == 0, jobs.get(store, job.id).error
    found = rate_search(store, job.id)
    assert found is not None
    rates = [rate for rate, _ in found.points]
    assert 10 <= len(rates) <= STEPS and len(found.smoothed) == len(rates)
    assert rates[0] == pytest.approx(1e-7) and rates == sorted(rates)
    assert found.suggestion is not None and rates[0] < found.suggestion < rates[-1]
    assert "most steeply" in found.rule
    assert jobs.get(store, job.id).progress == 1.0


def heard_of(store: Store, payload: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[float, str]]]:
    heard: list[tuple[float, str]] = []
    job = jobs.create(store, "find_rate", payload)
    result = HANDLERS["find_rate"](store, job, lambda share, message: heard.append((share, message)))
    return result, heard


def payload_of(store: Store, project: Project, config: TrainingConfig) -> dict[str, Any]:
    payload = find_rate(store, project.id, config, STEPS).payload
    return payload | {"steps": 10}


def test_progress_rises_over_photos_and_steps(store: Store, project: Project, config: TrainingConfig) -> None:
    _, heard = heard_of(store, payload_of(store, project, config))

    shares = [share for share, _ in heard]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert heard[0][1] == "Preparing the photos" and heard[-1][1] == "Step 10 of 10"


def test_it_starts_from_the_weights_that_the_training_would(
    store: Store, project: Project, config: TrainingConfig
) -> None:
    import io

    import torch

    network = build_model(config.model, config.encoder, "none", 2)
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([9.0, -9.0]))  # far too sure that nothing is damaged
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    kept = start_weights.keep(store, "mine.pt", file.getvalue())
    payload = payload_of(store, project, config)

    plain, _ = heard_of(store, payload)
    started, _ = heard_of(store, payload | {"config": asdict(replace(config, start_weights=kept.sha256))})

    assert plain["points"][0][1] < 1.0 < started["points"][0][1]


def test_photos_deleted_from_the_store_since_are_a_sentence(
    store: Store, project: Project, config: TrainingConfig
) -> None:
    payload = payload_of(store, project, config)
    for key, _ in store.blobs.list("photos"):
        store.blobs.delete(key)

    with pytest.raises(NotFound):
        heard_of(store, payload)
    assert images.list_page(store, project.id, images.ImageFilter())
