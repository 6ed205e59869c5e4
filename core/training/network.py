"""A network with all that is needed to run it, the same in training, validation and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from numpy.typing import NDArray
from torch import Tensor, nn

from core.models.card import ModelCard
from core.training.losses import Loss


@dataclass(frozen=True)
class Network:
    """Images to logits, on some device.

    ``module`` maps float32 (N, 3, S, S) to logits (N, C, S, S) and lies on its device already.
    ``batch_size`` belongs to it: the last bits of the logits depend on it, and so two measurements
    of one checkpoint agree exactly.
    """

    module: nn.Module = field(repr=False)
    card: ModelCard
    loss: Loss = field(repr=False)
    batch_size: int
    is_channels_last: bool
    device: torch.device


def open_fabric(devices: int = 1, *, is_deterministic: bool = False) -> Fabric:
    """Choose the device and the precision: bfloat16 where a CUDA device computes it, float32 elsewhere.

    On processors without bfloat16 units it is several times slower than float32, so never there. With
    more devices this process is one of as many, and its modules share their gradients. They do not
    share buffers in each forward pass, so that each process may measure as many photos as it likes.
    """
    has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    strategy = "auto"
    if devices > 1:
        # Unless it looks for unused ones, DDP sorts the gradients anew after a process's first step, and
        # from three processes on it then adds them up in another order than a resumed process.
        strategy = DDPStrategy(forward_sync_buffers=False, find_unused_parameters=is_deterministic)
    return Fabric(
        accelerator="auto",
        devices=devices,
        strategy=strategy,
        precision="bf16-mixed" if has_bf16 else "32-true",
    )


def memory_format(is_channels_last: bool) -> torch.memory_format:
    """Give torch's name of a layout."""
    return torch.channels_last if is_channels_last else torch.contiguous_format


def network_input(network: Network, images_nhwc: NDArray[np.uint8]) -> Tensor:
    """Bring uint8 (N, S, S, 3) to the network's device, layout and range: float32 (N, 3, S, S)."""
    preprocessing = network.card.preprocessing
    pixels = torch.from_numpy(images_nhwc).to(network.device, non_blocking=True)
    pixels = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.preserve_format)
    factor, offset = (
        torch.from_numpy(values).to(network.device)[:, None, None]
        for values in (preprocessing.factor, preprocessing.offset)
    )
    inputs = pixels.mul_(factor).add_(offset)
    return inputs.contiguous(memory_format=memory_format(network.is_channels_last))


def network_truth(network: Network, labels_nhw: NDArray[np.uint8]) -> Tensor:
    """Bring labels uint8 (N, S, S) to the network's device: int64 (N, S, S)."""
    return torch.from_numpy(labels_nhw).to(network.device, non_blocking=True).long()
