"""A network with all that is needed to run it, the same in training, validation and evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.precision import MixedPrecision
from lightning.fabric.strategies.ddp import DDPStrategy
from numpy.typing import NDArray
from torch import Tensor, nn

from core.domain.errors import AppError
from core.models.card import ModelCard
from core.models.outputs import Outputs
from core.training.criterion import Criterion

FabricPrecision = Literal["bf16-mixed", "16-mixed", "32-true"]


@dataclass(frozen=True)
class Network:
    """Images to outputs, on some device.

    ``module`` maps float32 (N, 3, S, S) to Outputs and lies on its device already; S may change from
    batch to batch.
    ``batch_size`` belongs to it: the last bits of the logits depend on it, and so two measurements
    of one checkpoint agree exactly.
    """

    module: nn.Module = field(repr=False)
    card: ModelCard
    loss: Criterion = field(repr=False)
    batch_size: int
    is_channels_last: bool
    device: torch.device
    is_compiled: bool = False
    ignored: tuple[int, ...] = ()  # ids of categories whose pixels count nowhere


class CompilationFailed(AppError):
    """A network could not be compiled here."""


def open_fabric(
    devices: int = 1,
    *,
    is_deterministic: bool = False,
    precision: str = "auto",
    is_partly_frozen: bool = False,
) -> Fabric:
    """Choose the device, and the precision that TrainingConfig names.

    With more devices this process is one of as many, and its modules share their gradients. They do not
    share buffers in each forward pass, so that each process may measure as many photos as it likes.

    Args:
        is_partly_frozen: parameters may be without a gradient in some epochs.

    Raises:
        AppError: the precision is fp16, and there is no CUDA device.
    """
    strategy = "auto"
    if devices > 1:
        # Unless it looks for unused ones, DDP sorts the gradients anew after a process's first step, and
        # from three processes on it then adds them up in another order than a resumed process.
        looks = is_deterministic or is_partly_frozen
        strategy = DDPStrategy(forward_sync_buffers=False, find_unused_parameters=looks)
    return Fabric(
        accelerator="auto",
        devices=devices,
        strategy=strategy,
        precision=_fabric_precision(precision, has_cuda=torch.cuda.is_available()),
    )


def measuring_precision(precision: str) -> str:
    """Give the precision to measure a checkpoint with: that of its run, wherever this machine has it."""
    return "fp32" if precision == "fp16" and not torch.cuda.is_available() else precision


def _fabric_precision(precision: str, *, has_cuda: bool) -> FabricPrecision:
    """Translate; auto is bfloat16 where a CUDA device has units for it, float32 elsewhere.

    On processors without such units it is several times slower than float32, so never by itself there.
    """
    if precision == "fp16":
        if not has_cuda:
            raise AppError(
                "fp16 needs an NVIDIA GPU, and there is none here. Choose auto or fp32 as precision."
            )
        return "16-mixed"
    if precision == "auto":
        has_units = has_cuda and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if has_units else "32-true"
    return "bf16-mixed" if precision == "bf16" else "32-true"


def scaler_of(fabric: Fabric) -> torch.amp.GradScaler | None:
    """Give what keeps fp16 gradients from vanishing; None in other precisions."""
    precision = fabric.strategy.precision
    return precision.scaler if isinstance(precision, MixedPrecision) else None


def run_network(network: Network, images_nhwc: NDArray[np.uint8]) -> Outputs:
    """Give the network's float32 outputs for uint8 (N, S, S, 3)."""
    outputs: Outputs = network.module(network_input(network, images_nhwc))
    return outputs


@contextlib.contextmanager
def compiling(network: Network) -> Generator[None]:
    """Say in a sentence that a network cannot be compiled; it happens at its first use of a kind.

    Raises:
        CompilationFailed: it cannot.
    """
    if not network.is_compiled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # slow to import

    try:
        yield
    except TorchDynamoException as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CompilationFailed(
            f"This network cannot be compiled on this machine: {reason[:200]}. Set compile to false."
        ) from error


def memory_format(is_channels_last: bool) -> torch.memory_format:
    """Give torch's name of a layout."""
    return torch.channels_last if is_channels_last else torch.contiguous_format


def network_input(network: Network, images_nhwc: NDArray[np.uint8]) -> Tensor:
    """Bring uint8 (N, S, S, 3) to the network's device, layout and range: float32 (N, 3, S, S)."""
    preprocessing = network.card.preprocessing
    pixels = _on_device(images_nhwc, network.device)
    pixels = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.preserve_format)
    factor, offset = (
        _on_device(values, network.device)[:, None, None]
        for values in (preprocessing.factor, preprocessing.offset)
    )
    inputs = pixels.mul_(factor).add_(offset)
    return inputs.contiguous(memory_format=memory_format(network.is_channels_last))


def network_truth(network: Network, labels_nhw: NDArray[np.uint8]) -> Tensor:
    """Bring labels, or numbers of regions, uint8 (N, S, S) to the network's device: int64 (N, S, S)."""
    return _on_device(labels_nhw, network.device).long()


def _on_device(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """Copy to a device; CUDA does so while the host goes on, which it can from pinned memory only."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
