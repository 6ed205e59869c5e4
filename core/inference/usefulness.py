"""How much a model doubts a photo, and features that tell like photos from unlike ones.

An exported model ends at its logits, so no features of its encoder can be had from it; making every exported
file give them would mean to export all champions anew. What is used instead costs next to nothing: how
the photo looks (colour and contrast) and what the model believes to see where, each on a grid of 4 x 4.
"""

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.active_learning import normalised
from core.domain.errors import FormatError
from core.inference.outputs import Predictor
from core.models.preprocessing import network_image, to_input

SIDE = 512  # at which doubt is measured, at most
DOUBTFUL_SHARE = 0.05
GRID = 4

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Usefulness:
    """What is known of one photo.

    doubt: 0..1. look: (96,), mean and deviation of L, a and b in each cell. belief: (16 (C - 1),), the root
    of each class's mean probability in each cell.
    """

    doubt: float
    look: Features = field(repr=False)
    belief: Features = field(repr=False)


def measure(model: Predictor, photo: bytes) -> Usefulness:
    """Measure one photo.

    Doubt is the mean over the DOUBTFUL_SHARE most doubted pixels of 1 - (p1 - p2), the first and the second
    class's probability: 1 where two classes are equally likely. Only these pixels count, since a small damage
    that the model cannot decide on is as much worth a label as a large one, and most of any photo is
    undoubted background.

    Raises:
        ImageError: the file is no photo that can be read.

    Source: best versus second best, Joshi et al. 2009 (doi 10.1109/CVPR.2009.5206627), there of images.
    """
    rgb = network_image(photo, model.preprocessing.size)
    logits = model.outputs(to_input(rgb, model.preprocessing)).logits
    step = -(-logits.shape[1] // SIDE)
    probabilities = _softmax(logits[:, ::step, ::step])
    return Usefulness(doubt_of(probabilities), _look(rgb), _belief(probabilities))


def doubt_of(probabilities: NDArray[np.float32]) -> float:
    """Give the doubt, as ``measure`` defines it, of probabilities (C, H, W); 0 where there is one class."""
    if len(probabilities) < 2:
        return 0.0
    two = np.partition(probabilities, -2, axis=0)[-2:]
    margins = (1 - (two[1] - two[0])).ravel()
    count = max(1, round(DOUBTFUL_SHARE * margins.size))
    return float(np.partition(margins, -count)[-count:].mean().clip(0, 1))


def scores_key(run_id: str, epoch: int) -> str:
    """Give the blob key of what a checkpoint measured; the name changes with what is measured."""
    return f"usefulness/{run_id}/epoch_{epoch:03d}-v1.npz"


def pack(measured: Mapping[str, Usefulness]) -> bytes:
    """Write what was measured of photos, by the SHA-256 of their content."""
    found = list(measured.values())
    file = io.BytesIO()
    np.savez_compressed(
        file,
        allow_pickle=False,
        sha256=np.array(list(measured), "S64"),
        doubt=np.array([one.doubt for one in found], np.float32),
        look=np.array([one.look for one in found], np.float16),
        belief=np.array([one.belief for one in found], np.float16),
    )
    return file.getvalue()


def unpack(data: bytes) -> dict[str, Usefulness]:
    """Read what ``pack`` wrote.

    Raises:
        FormatError: it is something else, or damaged.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            names = [name.decode("ascii") for name in file["sha256"].tolist()]
            columns = (file["doubt"].tolist(), file["look"], file["belief"])
            return {
                name: Usefulness(float(doubt), look.astype(np.float32), belief.astype(np.float32))
                for name, doubt, look, belief in zip(names, *columns, strict=True)
            }
    except (OSError, ValueError, TypeError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise FormatError("What was measured of the photos is damaged. Measure them again.") from error


def embeddings(measured: Iterable[Usefulness]) -> Features:
    """Give the embeddings float32 (N, D) of photos to be compared; looks and beliefs weigh alike."""
    found = list(measured)
    if not found:
        return np.zeros((0, 0), np.float32)
    blocks = {"look": [one.look for one in found], "belief": [one.belief for one in found]}
    return normalised({name: np.array(rows, np.float32) for name, rows in blocks.items()})


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), np.float32)


def _look(rgb: NDArray[np.uint8]) -> Features:
    lab = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.float32) / np.float32(255)
    means, squares = _cells(lab), _cells(np.square(lab))
    return np.concatenate([means, np.sqrt((squares - means**2).clip(0))]).astype(np.float32)


def _belief(probabilities: NDArray[np.float32]) -> Features:
    planes = [_cells(plane) for plane in probabilities[1:]]
    return np.sqrt(np.concatenate(planes).clip(0)) if planes else np.zeros(0, np.float32)


def _cells(pixels: NDArray[np.float32]) -> Features:
    """Give the means of the grid's cells of (H, W) or (H, W, k), in one row."""
    return np.asarray(cv2.resize(pixels, (GRID, GRID), interpolation=cv2.INTER_AREA), np.float32).ravel()
