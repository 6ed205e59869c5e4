"""Exported models, opened: at most two are kept in memory, known by their content."""

import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import onnxruntime.capi.onnxruntime_pybind11_state as refusals
from numpy.typing import NDArray

from core.domain.errors import FormatError, NotFound
from core.domain.labels import Category
from core.inference.outputs import Outputs
from core.models.card import CARD_KEY, ModelCard, card_from_json
from core.models.preprocessing import Preprocessing

MAX_OPEN = 2

# ONNX Runtime's errors have no common parent of their own.
_REFUSALS = (
    refusals.Fail,
    refusals.InvalidArgument,
    refusals.InvalidGraph,
    refusals.InvalidProtobuf,
    refusals.NoModel,
    refusals.NotImplemented,
    refusals.RuntimeException,
)

_lock = threading.Lock()
_open: OrderedDict[tuple[str, int], "Model"] = OrderedDict()


@dataclass(frozen=True)
class Model:
    """An exported model, ready to predict; may be used by several threads at once."""

    sha256: str
    card: ModelCard
    session: onnxruntime.InferenceSession = field(repr=False)

    @property
    def categories(self) -> tuple[Category, ...]:
        """Foreground channels in order: channel 0 is background, channel i is ``categories[i - 1]``."""
        return self.card.categories

    @property
    def preprocessing(self) -> Preprocessing:
        """How its input is made."""
        return self.card.preprocessing

    def logits(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the logits alone, float32 (C, S, S), of one input float32 (3, S, S)."""
        return np.asarray(self.session.run(["logits"], {"image": image[None]})[0], np.float32)[0]

    def outputs(self, image: NDArray[np.float32]) -> Outputs:
        """Compute all that the network gives for one input float32 (3, S, S)."""
        names = [output.name for output in self.session.get_outputs()]
        if "centres" not in names:
            return Outputs(self.logits(image))
        values = self.session.run(["logits", "centres", "offsets"], {"image": image[None]})
        logits, centres, offsets = (np.asarray(value, np.float32)[0] for value in values)
        return Outputs(logits, centres[0], offsets)


def open_model(path: Path, *, threads: int = 0) -> Model:
    """Open an exported model, or give the one that is open already.

    The two used last stay open, whatever their path: a file is known by its bytes.

    Args:
        threads: CPU threads per prediction; 0 leaves the choice to ONNX Runtime.

    Raises:
        NotFound: there is no such file.
        FormatError: it is not a model that this program exported.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotFound(f"The exported model {path.name} is not there. Export it again.") from error
    key = (hashlib.sha256(content).hexdigest(), threads)
    with _lock:
        if key not in _open:
            _open[key] = _load(content, path.name, *key)
        _open.move_to_end(key)
        while len(_open) > MAX_OPEN:
            _open.popitem(last=False)
        return _open[key]


def _load(content: bytes, name: str, sha256: str, threads: int) -> Model:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        card = card_from_json(json.loads(session.get_modelmeta().custom_metadata_map[CARD_KEY]))
    except (*_REFUSALS, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise FormatError(
            f"{name} is damaged, or not a model that this program exported. Export it again."
        ) from error
    return Model(sha256, card, session)


def close_models() -> None:
    """Forget the models that are kept open; whoever still holds one may go on using it."""
    with _lock:
        _open.clear()
