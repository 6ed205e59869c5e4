"""What kind of errors a checkpoint makes: counts per photo that add up, and the figures they give.

Counts are of maps at display size (long side at most 1024 px). As with core.domain.scores they are added
over all photos first and divided once; a ratio without anything to divide by is None and left out of means.
"""

import gzip
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError

FORMAT = 1  # raise it when a definition changes: what was counted by another one is then not shown
ANY = 0  # in place of a class index: all damage as one class
BINS = 15  # of equal width. Source: Guo et al. 2017, arXiv 1706.04599

Kind = Literal["boundary", "extent", "missed", "false"]
KINDS: tuple[Kind, ...] = ("boundary", "extent", "missed", "false")


@dataclass(frozen=True)
class BoundaryCounts:
    """Pixels along edges, as core.imaging.boundaries counts them.

    ``shared`` and ``union`` are of the two bands of Boundary IoU; ``contour`` are the edge pixels of truth
    and prediction together, ``near`` those of them within the tolerance of the other's edge.
    """

    shared: int = 0
    union: int = 0
    near: int = 0
    contour: int = 0

    @property
    def iou(self) -> float | None:
        """Boundary IoU, None where there is no boundary."""
        return _ratio(self.shared, self.union)

    @property
    def surface_dice(self) -> float | None:
        """The share of the edge that lies within the tolerance (NSD), None where there is no edge."""
        return _ratio(self.near, self.contour)


@dataclass(frozen=True)
class ObjectCounts:
    """Connected regions that are labelled, that were predicted, and pairs of them that match."""

    truths: int = 0
    predictions: int = 0
    matches: int = 0

    @property
    def recall(self) -> float | None:
        """The share of labelled regions that were found, None without any."""
        return _ratio(self.matches, self.truths)

    @property
    def precision(self) -> float | None:
        """The share of predicted regions that are right, None without any."""
        return _ratio(self.matches, self.predictions)

    @property
    def f1(self) -> float | None:
        """Two matches over all regions, None without any."""
        return _ratio(2 * self.matches, self.truths + self.predictions)


@dataclass(frozen=True)
class ErrorCounts:
    """The union of truth and prediction in pixels: what is right, and the four kinds of what is wrong.

    The kinds are those of core.imaging.error_split. The five add up to the union, so the four shares and
    IoU add up to 1.
    """

    right: int = 0
    boundary: int = 0
    extent: int = 0
    missed: int = 0
    false: int = 0

    @property
    def union(self) -> int:
        """All pixels of truth or prediction."""
        return self.right + self.wrong

    @property
    def wrong(self) -> int:
        """All pixels of truth or prediction alone."""
        return sum(self.pixels(kind) for kind in KINDS)

    @property
    def iou(self) -> float | None:
        """Intersection over union, None where the class is in neither truth nor prediction."""
        return _ratio(self.right, self.union)

    def pixels(self, kind: Kind) -> int:
        """Give the pixels of one kind of error."""
        return int(getattr(self, kind))

    def share(self, kind: Kind) -> float | None:
        """Give the share of the union that is one kind of error, None where there is no union."""
        return _ratio(self.pixels(kind), self.union)

    @property
    def mostly(self) -> Kind | None:
        """The kind that is more than half of all that is wrong, None where none is."""
        return next((kind for kind in KINDS if 2 * self.pixels(kind) > self.wrong), None)


@dataclass(frozen=True)
class ClassCounts:
    """All counts of one class."""

    boundaries: BoundaryCounts = field(default_factory=BoundaryCounts)
    objects: ObjectCounts = field(default_factory=ObjectCounts)
    errors: ErrorCounts = field(default_factory=ErrorCounts)

    def row(self) -> list[int]:
        """Give all counts as whole numbers, to be added or written down."""
        return [*astuple(self.boundaries), *astuple(self.objects), *astuple(self.errors)]

    @staticmethod
    def of_row(row: Sequence[int]) -> "ClassCounts":
        """Undo ``row``."""
        return ClassCounts(BoundaryCounts(*row[:4]), ObjectCounts(*row[4:7]), ErrorCounts(*row[7:]))


ROW = len(ClassCounts().row())
NO_BINS = (0,) * BINS


@dataclass(frozen=True)
class Reliability:
    """How often pixels are right by how sure the network was of them, in ``BINS`` bins.

    ``pixels`` and ``right`` are counts; ``confidence`` is the sum of the stored values, 255 for certainty.
    Bin i holds the probabilities above i / BINS up to (i + 1) / BINS, the first one 0 as well.
    """

    pixels: tuple[int, ...] = NO_BINS
    confidence: tuple[int, ...] = NO_BINS
    right: tuple[int, ...] = NO_BINS

    @property
    def bins(self) -> list[tuple[float, float, int]]:
        """Give (mean probability, accuracy, pixels) of each bin that holds any."""
        rows = zip(self.pixels, self.confidence, self.right, strict=True)
        return [(total / (255 * count), right / count, count) for count, total, right in rows if count]

    @property
    def expected_error(self) -> float | None:
        """ECE: the mean distance of accuracy and probability, bins weighted by pixels; None without any.

        Source: Guo et al. 2017 (arXiv 1706.04599), equation 3.
        """
        gaps = [abs(accuracy - mean) * count for mean, accuracy, count in self.bins]
        return sum(gaps) / sum(self.pixels) if gaps else None

    @property
    def overconfidence(self) -> float | None:
        """Mean probability minus accuracy; above 0 the network is surer than it is right."""
        total = sum(self.pixels)
        return (sum(self.confidence) / 255 - sum(self.right)) / total if total else None


@dataclass(frozen=True)
class ImageCounts:
    """The counts of one photo: by class index those that it shows or should, ``ANY`` among them.

    ``foreground`` are the pixels where truth or prediction is foreground, ``everything`` all that count.
    """

    image_id: str
    classes: Mapping[int, ClassCounts]
    foreground: Reliability
    everything: Reliability


@dataclass(frozen=True)
class Analysis:
    """The counts of a checkpoint on the photos of a split.

    ``of`` is the ``fingerprint`` of what was looked at. ``skipped`` are the ids of photos whose labels or
    pictures were gone or damaged; ``unpictured`` counts those that the run kept no pictures of, by its
    ``pictures``.
    """

    of: str
    images: tuple[ImageCounts, ...]
    skipped: tuple[str, ...] = ()
    unpictured: int = 0

    def total(self, class_index: int) -> ClassCounts:
        """Add up one class, or ``ANY``, over all photos."""
        rows = [image.classes[class_index].row() for image in self.images if class_index in image.classes]
        return ClassCounts.of_row(_column_sums(rows, ROW))

    def reliability(self, *, is_foreground: bool) -> Reliability:
        """Add up the reliability over all photos."""
        each = [image.foreground if is_foreground else image.everything for image in self.images]
        return Reliability(
            *(tuple(_column_sums(rows, BINS)) for rows in zip(*map(_bin_rows, each), strict=True))
            if each
            else ()
        )


def mean_defined(values: Iterable[float | None]) -> float | None:
    """Give the mean of the figures that are defined, None without any."""
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None


def fingerprint(measured: Iterable[tuple[str, str, NDArray[np.int64]]]) -> str:
    """Tell one measuring of a checkpoint from another, as 16 hex digits.

    Args:
        measured: image id, key of the prediction and confusion matrix of each photo, in a fixed order.
    """
    digest = hashlib.sha256(f"{FORMAT}".encode())
    for image_id, prediction, confusion in measured:
        digest.update(f"\n{image_id}\n{prediction}\n".encode())
        digest.update(np.ascontiguousarray(confusion, "<i8").tobytes())
    return digest.hexdigest()[:16]


def analyses_folder(run_id: str, epoch: int, split: str) -> str:
    """Give the key prefix of the analyses of a checkpoint on a split."""
    return f"runs/{run_id}/analyses/epoch_{epoch:03d}-{split}"


def analysis_key(run_id: str, epoch: int, split: str, of: str) -> str:
    """Give the key of an analysis. It holds what was looked at, so stale counts are never found."""
    return f"{analyses_folder(run_id, epoch, split)}/{of}.json.gz"


def pack(analysis: Analysis) -> bytes:
    """Write an analysis as compressed JSON; the same one gives the same bytes."""
    content = {
        "format": FORMAT,
        "of": analysis.of,
        "images": [_image_to_json(image) for image in analysis.images],
        "skipped": list(analysis.skipped),
        "unpictured": analysis.unpictured,
    }
    return gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0)


def unpack(data: bytes) -> Analysis:
    """Undo ``pack``.

    Raises:
        FormatError: these are no such bytes, or they were written by another program's definitions.
    """
    try:
        content = json.loads(gzip.decompress(data))
        if content["format"] != FORMAT:
            raise FormatError("This analysis was made by another version of the program. Analyse again.")
        images = tuple(map(_image_from_json, content["images"]))
        skipped, unpictured = tuple(map(str, content["skipped"])), int(content.get("unpictured", 0))
        return Analysis(str(content["of"]), images, skipped, unpictured)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"A stored analysis is damaged: {error}. Analyse again.") from error


def _image_to_json(image: ImageCounts) -> dict[str, Any]:
    return {
        "id": image.image_id,
        "classes": {str(index): counts.row() for index, counts in image.classes.items()},
        "foreground": _bin_rows(image.foreground),
        "everything": _bin_rows(image.everything),
    }


def _image_from_json(value: dict[str, Any]) -> ImageCounts:
    return ImageCounts(
        str(value["id"]),
        {int(index): ClassCounts.of_row(_whole(row, ROW)) for index, row in value["classes"].items()},
        Reliability(*(tuple(_whole(row, BINS)) for row in value["foreground"])),
        Reliability(*(tuple(_whole(row, BINS)) for row in value["everything"])),
    )


def _bin_rows(found: Reliability) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    return found.pixels, found.confidence, found.right


def _whole(row: Sequence[Any], length: int) -> list[int]:
    if len(row) != length:
        raise ValueError(f"{len(row)} counts where {length} belong")
    return [int(count) for count in row]


def _column_sums(rows: Sequence[Sequence[int]], length: int) -> list[int]:
    return [int(total) for total in np.array(rows, np.int64).reshape(-1, length).sum(axis=0)]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
