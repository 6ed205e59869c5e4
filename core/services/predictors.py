"""A checkpoint that predicts: in this process from its exported file, else by a job of a worker."""

import io
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import AppError, NotFound
from core.domain.runs import Run, WorkState
from core.inference.outputs import Outputs, Predictor, outputs_from_npz
from core.inference.session import open_model
from core.models.preprocessing import Preprocessing
from core.models.registry import preprocessing_of
from core.services import workers
from core.services.home import Store
from core.storage import jobs, lifecycle, runs
from core.storage.store import new_id
from core.storage.sweep import sweep

SLOWER = "This model predicts in a worker, which takes some seconds per photo."
WAIT_SECONDS = 120.0
START_SECONDS = 15.0  # in which a worker that has just started reports itself
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class WorkersModel:
    """A checkpoint whose network cannot be exported: a worker computes what it gives.

    ``refusal`` says why.
    """

    store: Store = field(repr=False)
    run: Run
    epoch: int
    refusal: str

    @property
    def preprocessing(self) -> Preprocessing:
        """How its input is made."""
        return preprocessing_of(self.run.config.encoder, self.run.config.size)

    def outputs(self, image: NDArray[np.float32]) -> Outputs:
        """Have a worker compute all that the network gives for one input float32 (3, S, S).

        Raises:
            AppError: there is no worker, none did it within two minutes, or it failed; the sentence says why.
        """
        folder = f"predictions/{self.run.id}/exchange/{new_id()}"
        keys = {"image": f"{folder}/image.npy", "outputs": f"{folder}/outputs.npz"}
        payload = {"run_id": self.run.id, "epoch": self.epoch, **keys}
        file = io.BytesIO()
        np.save(file, image, allow_pickle=False)
        self.store.blobs.put(keys["image"], file.getvalue())
        try:
            job = jobs.create(self.store, "predict", payload, self.run.project_id, priority=1)
            self._wait_for(job.id)
            return outputs_from_npz(self.store.blobs.get(keys["outputs"]))
        finally:
            for key in keys.values():
                self.store.blobs.delete(key)

    def _wait_for(self, job_id: str) -> None:
        began = time.monotonic()
        while not (job := jobs.get(self.store, job_id)).state.is_final:
            waited = time.monotonic() - began
            trouble = workers.trouble(self.store, "job") if waited > START_SECONDS else ""
            if trouble or waited > WAIT_SECONDS:
                lifecycle.request_cancel(self.store, lifecycle.JOBS, job_id)
                raise AppError(
                    f"This model predicts in a worker, and none did so within {waited:.0f} seconds. "
                    f"{trouble or 'They are busy.'} Try again later, or choose an epoch of another network."
                )
            time.sleep(_POLL_SECONDS)
            sweep(self.store, lifecycle.JOBS)
        if job.state is not WorkState.SUCCEEDED:
            raise AppError(job.error or f"The prediction was {job.state.value}.")


def is_ready(store: Store, run_id: str, epoch: int) -> bool:
    """Tell whether a checkpoint can predict: it is exported, or known to be one for the workers."""
    is_exported = runs.onnx_key(store, run_id, epoch) is not None
    return is_exported or runs.export_refusal(store, run_id, epoch) is not None


def open_checkpoint(store: Store, run: Run, epoch: int) -> Predictor:
    """Give what predicts with a checkpoint.

    Raises:
        NotFound: it is not ready yet (evaluation.prepare queues that), or its file is gone.
        FormatError: its exported file is damaged.
    """
    if key := runs.onnx_key(store, run.id, epoch):
        return open_model(store.blobs.local(key))
    if refusal := runs.export_refusal(store, run.id, epoch):
        return WorkersModel(store, run, epoch, refusal)
    raise NotFound(f"Epoch {epoch} of “{run.name}” is not prepared for predictions yet.")


def note(store: Store, run: Run, epoch: int) -> str:
    """Say that a checkpoint predicts in a worker, and why; "" where it does so at once."""
    if runs.onnx_key(store, run.id, epoch):
        return ""
    refusal = runs.export_refusal(store, run.id, epoch)
    return f"{SLOWER} {refusal}" if refusal else ""
