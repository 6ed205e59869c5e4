"""The job that predicts one image with a checkpoint whose network cannot be exported."""

import io
from typing import Any

import numpy as np

from core.domain.runs import Job
from core.inference.outputs import outputs_to_npz
from core.storage.settings import Settings
from core.storage.store import Store
from core.training.checkpoints import load_weights
from core.training.environment import prepare_process
from core.worker.export import checkpoint_file, find_epoch
from core.worker.heartbeat import OnProgress
from core.worker.predictor import NetworkPredictor


def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Run the network on its input, as its run's measurements do.

    Payload: ``{run_id, epoch, image, outputs}``. ``image`` is the blob key of a NumPy file, the network's
    input float32 (3, S, S); what it gives is written to the key ``outputs``, as
    ``core.inference.outputs`` says. Result: ``{}``.

    Raises:
        NotFound: the checkpoint or the input is gone.
        FormatError: the checkpoint is damaged.
    """
    payload = job.payload
    prepare_process(Settings().threads)
    on_progress(0.0, "Predicting")
    epoch = find_epoch(store, payload["run_id"], payload["epoch"])
    network, meta = load_weights(checkpoint_file(store, epoch))
    image = np.load(io.BytesIO(store.blobs.get(payload["image"])), allow_pickle=False)
    outputs = NetworkPredictor(network, meta.card.preprocessing).outputs(image)
    store.blobs.put(payload["outputs"], outputs_to_npz(outputs))
    return {}
