"""The attempt under way, as the steps of a training need it."""

from dataclasses import dataclass
from typing import Any

from core.domain.runs import Run
from core.domain.training import DataVersion
from core.storage.lifecycle import Claim
from core.storage.store import Store
from core.worker.heartbeat import Sign


@dataclass(frozen=True)
class Attempt:
    """One attempt at one run."""

    store: Store
    claim: Claim
    run: Run
    version: DataVersion
    sign: Sign

    @property
    def number(self) -> int:
        """The attempt's number; 1 is the first."""
        return self.claim.attempt

    def report(self, phase: str, **figures: Any) -> None:
        """Hand progress over, and leave if there is reason to. Raises Cancelled or Fenced."""
        config = self.run.config
        self.sign.report({"phase": phase, "epochs": config.epochs, **figures})
        self.sign.check()
