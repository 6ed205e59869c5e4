"""A training that starts from a file of weights that a user brought, or is refused with what is wrong."""

import io
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from core.domain.runs import Run, WorkState
from core.services import start_weights
from core.storage import runs
from core.storage.store import Store
from core.training.checkpoints import load_weights
from tests.worker.builders import wait_until
from tests.worker.small_runs import (
    SMALL,
    Killed,
    Moments,
    Small,
    carry_out,
    carry_out_until_killed,
    check_succeeded,
    resume,
)

QueueRun = Callable[..., Run]
STILL = SMALL | {"encoder_learning_rate": 0.0, "decoder_learning_rate": 1e-9, "weight_decay": 0.0}


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Give each weight another value than a new network has."""
    generator = torch.Generator().manual_seed(7)
    state = network.state_dict()
    return {
        name: torch.rand(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def torch_file(state: dict[str, Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, file)
    return file.getvalue()


def weights_after(store: Store, run: Run, epoch: int) -> dict[str, Tensor]:
    checkpoint = runs.epochs(store, run.id)[epoch - 1].checkpoint
    return load_weights(store.blobs.local(checkpoint))[0].state_dict()


@pytest.mark.parametrize("to_file", [torch_file, save_safetensors], ids=["torch", "safetensors"])
def test_a_training_starts_from_a_file_of_weights(
    store: Store, queue_run: QueueRun, moments: Moments, to_file: Callable[[dict[str, Tensor]], bytes]
) -> None:
    state = weights_of(Small(2))
    kept = start_weights.keep(store, "mine", to_file(state))

    code, done = carry_out(store, queue_run(epochs=1, **(STILL | {"start_weights": kept.sha256})))

    check_succeeded(code, done)
    after = weights_after(store, done, 1)
    for name in ("encoder.0.weight", "encoder.3.weight", "head.weight", "head.bias"):
        torch.testing.assert_close(after[name], state[name], atol=1e-5, rtol=0)


def test_only_its_beginning_needs_the_file(store: Store, queue_run: QueueRun, moments: Moments) -> None:
    kept = start_weights.keep(store, "mine", torch_file(weights_of(Small(2))))
    run = queue_run(epochs=2, **(STILL | {"start_weights": kept.sha256}))

    def kill() -> None:
        wait_until(lambda: runs.get(store, run.id).epochs_done == 1)
        raise Killed

    moments.before(kill, epoch=2)
    carry_out_until_killed(store, run)
    store.blobs.delete(f"weights/{kept.sha256}")

    code, done = carry_out(store, runs.get(store, run.id))

    check_succeeded(code, done)
    assert [epoch.attempt for epoch in runs.epochs(store, run.id)] == [1, 2]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            torch_file(weights_of(nn.Sequential(nn.Conv2d(3, 8, 3)))),
            "The start weights are of another network:",
        ),
        (torch_file({"encoder.0.weight": torch.full((48, 3, 3, 3), torch.nan)}), "The start weights"),
        (torch_file(weights_of(Small(2)))[:200] + b"{", "The start weights cannot be read: they are damaged"),
    ],
    ids=["of another network", "no numbers", "damaged"],
)
def test_weights_that_do_not_fit_fail_the_run_with_a_sentence(
    store: Store, queue_run: QueueRun, moments: Moments, content: bytes, sentence: str
) -> None:
    sha256 = "ab" * 32
    store.blobs.put(f"weights/{sha256}", content)  # past the check of what is kept

    code, failed = carry_out(store, queue_run(**(STILL | {"start_weights": sha256})))

    assert (code, failed.state, failed.epochs_done) == (1, WorkState.FAILED, 0)
    assert failed.error.startswith(sentence), failed.error


def test_weights_that_are_gone_fail_the_run_and_with_them_it_goes_on(
    store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    content = torch_file(weights_of(Small(2)))
    kept = start_weights.keep(store, "mine", content)
    store.blobs.delete(f"weights/{kept.sha256}")

    code, failed = carry_out(store, queue_run(epochs=1, **(STILL | {"start_weights": kept.sha256})))

    assert (code, failed.state) == (1, WorkState.FAILED)
    assert failed.error == (
        f"The weights to start from ({kept.sha256[:8]}…) are not in the file store any more. Add their file "
        "again, and resume."
    )
    start_weights.keep(store, "again", content)
    check_succeeded(*resume(store, failed))
