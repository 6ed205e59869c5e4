"""What a network gives for one image, wherever it is computed: here, or by a worker that sends a file."""

import io
import zipfile
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError
from core.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class Outputs:
    """What a network gives for one image of S x S pixels, all float32.

    logits: (C, S, S). centres: (S, S), about 1 at the centre of a region, and offsets: (2, S, S), pixels
    down and right from each pixel to its region's centre; both None where it gives classes alone.
    """

    logits: NDArray[np.float32] = field(repr=False)
    centres: NDArray[np.float32] | None = field(repr=False, default=None)
    offsets: NDArray[np.float32] | None = field(repr=False, default=None)


class Predictor(Protocol):
    """A checkpoint that can predict, wherever it does so."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How its input is made."""
        ...

    def outputs(self, image: NDArray[np.float32]) -> Outputs:
        """Compute all that the network gives for one input float32 (3, S, S)."""
        ...


def outputs_to_npz(outputs: Outputs) -> bytes:
    """Write outputs as a NumPy archive, compressed."""
    arrays = {name: value for name, value in vars(outputs).items() if value is not None}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def outputs_from_npz(data: bytes) -> Outputs:
    """Read what ``outputs_to_npz`` wrote.

    Raises:
        FormatError: it is something else.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Outputs(**{name: np.asarray(arrays[name], np.float32) for name in arrays})
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError("What the worker computed is damaged. Predict the photo again.") from error
