"""The processes that train one network together, one device each, and what they tell each other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
from lightning.fabric import Fabric
from torch import Tensor, distributed

from core.domain.errors import AppError, Cancelled, Fenced, PeerLost
from core.domain.training import TrainingConfig
from core.training.network import open_fabric

T = TypeVar("T")

# Only a process that hangs is waited for so long: one that is gone breaks the connection at once.
_PATIENCE = timedelta(days=1)
_LOOPBACK = "lo"
_GLOO_CONNECTION = "gloo/transport"  # gloo raises plain RuntimeErrors, which begin with its source file


@dataclass(frozen=True)
class Team:
    """One process's place among those that train together. All are equal; the leader also writes.

    Every method has to be called by all of them, in the same order, and raises PeerLost where one is
    gone. A team of one needs nothing of torch.distributed.
    """

    rank: int = 0
    size: int = 1
    fabric: Fabric | None = field(default=None, repr=False)  # None: alone
    control: distributed.ProcessGroup | None = field(default=None, repr=False)  # gloo, whatever the device

    @property
    def is_leader(self) -> bool:
        """Tell whether this process speaks for all: it alone writes to the database."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Tell every process whether the flag is set on at least one."""
        if self.size == 1:
            return flag
        votes = torch.tensor(int(flag))
        with noticing_lost_peers():
            distributed.all_reduce(votes, distributed.ReduceOp.MAX, group=self.control)
        return bool(votes)

    def wait(self) -> None:
        """Go on when all have come here."""
        self.any(False)

    def gather(self, value: T) -> list[T]:
        """Give every process the values of all, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[T] = [value] * self.size
        with noticing_lost_peers():
            distributed.all_gather_object(values, value, group=self.control)
        return values

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Set each tensor, in place, to its mean over all processes."""
        means = list(tensors)
        if self.size == 1 or not means:
            return
        flat = torch.cat([tensor.detach().flatten().cpu() for tensor in means])
        with noticing_lost_peers():
            distributed.all_reduce(flat, group=self.control)
        flat /= self.size
        for tensor, mean in zip(means, flat.split([tensor.numel() for tensor in means]), strict=True):
            tensor.detach().copy_(mean.view_as(tensor))

    def together(self, call: Callable[[], T]) -> T:
        """Make a call that may stop the work: where it stops one process, it stops all of them here.

        Raises:
            Cancelled, Fenced: the call's own exception; Cancelled where it was another process's.
        """
        if self.size == 1:
            return call()
        result: list[T] = []
        stop: Cancelled | Fenced | None = None
        try:
            result.append(call())
        except (Cancelled, Fenced) as error:
            stop = error
        if self.any(stop is not None):
            raise stop or Cancelled
        return result[0]

    def leader_first(self, call: Callable[[], T]) -> T:
        """Make a call on the leader, and then on the others: what it leaves on disk they find there.

        Raises:
            Cancelled, Fenced: on all, where the leader's call raised it.
        """
        if self.is_leader:
            return self.together(call)
        self.together(lambda: None)
        return call()


ALONE = Team()


def open_team(config: TrainingConfig) -> Team:
    """Meet the other processes of this training; torchrun's variables say who and where they are.

    They speak over the loopback interface only.

    Raises:
        AppError: there are more or fewer processes than the run has devices.
        PeerLost: one of them is gone already.
    """
    processes = int(os.environ["WORLD_SIZE"]) if distributed.is_torchelastic_launched() else 1
    if processes != config.devices:
        raise AppError(
            f"This run is for {config.devices} devices and as many processes, but it was started with "
            f"{processes}. Start it by torchrun --nproc-per-node {config.devices}."
        )
    if processes == 1:
        return ALONE
    os.environ |= {"GLOO_SOCKET_IFNAME": _LOOPBACK, "NCCL_SOCKET_IFNAME": _LOOPBACK}
    fabric = open_fabric(
        config.devices,
        is_deterministic=config.deterministic,
        precision=config.precision,
        is_partly_frozen=config.frozen_epochs > 0,
    )
    with noticing_lost_peers():
        fabric.launch()
        control = distributed.new_group(backend="gloo", timeout=_PATIENCE)
    assert isinstance(control, distributed.ProcessGroup), "every process is in the group of all"
    return Team(fabric.global_rank, fabric.world_size, fabric, control)


@contextlib.contextmanager
def noticing_lost_peers() -> Generator[None]:
    """Turn what a broken connection to another process raises into PeerLost; all else passes."""
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise PeerLost(f"Another process of this training is gone: {error}") from error


def _is_lost_connection(error: RuntimeError) -> bool:
    message = str(error)
    if isinstance(error, distributed.DistError):  # NCCL and the store; NCCL's may also be about memory
        return "out of memory" not in message.lower()
    return _GLOO_CONNECTION in message
