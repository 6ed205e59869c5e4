"""What predicts with a checkpoint inside a job: its exported file, else its network itself."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.inference.outputs import Outputs, Predictor
from core.inference.session import open_model
from core.models.preprocessing import Preprocessing
from core.storage import runs
from core.storage.settings import Settings
from core.storage.store import Store
from core.worker.export import checkpoint_file, export_epoch, find_epoch


def open_predictor(store: Store, run_id: str, epoch: int) -> Predictor:
    """Give what predicts with a checkpoint; it is exported first where nobody has tried yet.

    Raises:
        NotFound: the run has no such epoch, or its checkpoint is gone.
        FormatError: a file is damaged.
    """
    found = find_epoch(store, run_id, epoch)
    if runs.export_refusal(store, run_id, epoch) is None:
        key = export_epoch(store, found)
        if key is not None:
            return open_model(store.blobs.local(key), threads=Settings().threads)
    from core.training.checkpoints import load_weights
    from core.training.environment import prepare_process

    prepare_process(Settings().threads)
    network, meta = load_weights(checkpoint_file(store, found))
    return NetworkPredictor(network, meta.card.preprocessing)


class NetworkPredictor:
    """A network that cannot be exported, as what predicts."""

    def __init__(self, network: Any, preprocessing: Preprocessing) -> None:
        self._network, self.preprocessing = network, preprocessing

    def outputs(self, image: NDArray[np.float32]) -> Outputs:
        """Compute all that the network gives for one input float32 (3, S, S)."""
        import torch

        from core.models.outputs import PanopticOutput

        with torch.inference_mode():
            found = self._network(torch.from_numpy(image)[None])
        if isinstance(found, PanopticOutput):
            logits, centres, offsets = (np.ascontiguousarray(tensor.numpy()[0]) for tensor in found)
            return Outputs(logits, centres[0], offsets)
        return Outputs(np.ascontiguousarray(found.numpy()[0]))
