"""What a run will keep on the disk, said before it starts: checkpoints, and pictures of validation photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from core.domain.errors import NotFound
from core.domain.runs import Run
from core.domain.training import TrainingConfig, VersionItem
from core.imaging.overlay import display_size_hw
from core.services import checkpoints
from core.services.checkpoints import Budget
from core.services.home import Store
from core.storage import runs, versions

T = TypeVar("T")

TIGHT_SHARE = 0.9  # of the free disk
SAMPLED = 7  # photos of an epoch, or sizes of photos for a guess times as many
MOST_BYTES_PER_PIXEL = 0.35  # at display size; real networks on photos of cars: 0.15 to 0.27 per epoch


@dataclass(frozen=True)
class PictureSize:
    """The bytes that prediction and confidence of one photo take together, and the run where they do."""

    each_bytes: float
    like: str


@dataclass(frozen=True)
class Pictures:
    """What a run's pictures will take: of so many photos ``of`` all that it validates on, at each epoch.

    ``like`` names the run whose pictures were measured; "" means that ``each_bytes`` is more than a photo
    usually takes, by its size.
    """

    photos: int
    of: int
    epochs: int
    each_bytes: float
    like: str

    @property
    def total_bytes(self) -> int:
        """What they take in the end, if the run goes through all of its epochs."""
        return round(self.photos * self.epochs * self.each_bytes)


@dataclass(frozen=True)
class Need:
    """All that a run keeps, but for its figures, which are small."""

    checkpoints: Budget
    pictures: Pictures

    @property
    def is_tight(self) -> bool:
        """Whether it does not fit on the disk, or nearly fills it, as far as that is known."""
        if self.checkpoints.free_bytes is None:
            return False
        known = (self.checkpoints.total_bytes or 0) + self.pictures.total_bytes
        return known > TIGHT_SHARE * self.checkpoints.free_bytes


def need(
    store: Store, config: TrainingConfig, valid: Sequence[VersionItem], size: PictureSize | None
) -> Need:
    """Say what a run with this configuration will keep.

    Args:
        valid: the images that it will validate on.
        size: of earlier runs on such photos, see ``picture_size``; None guesses by the photos' own sizes.
    """
    photos = min(config.pictures, len(valid))
    each = size.each_bytes if size else guessed_bytes(store, valid)
    pictures = Pictures(photos, len(valid), config.epochs, each, size.like if size else "")
    return Need(checkpoints.budget(store, config), pictures)


def picture_size(store: Store, measured: Sequence[Run]) -> PictureSize | None:
    """Look up what the pictures of the first of these runs that has any take per photo.

    The mean over some photos of its first, middle and last epoch: unsure networks make larger pictures. It
    asks the blob store for some dozens of files, which takes a second where that is far away.

    Returns:
        None where none of the runs has pictures.
    """
    for run in measured:
        epochs = {1, (run.epochs_done + 1) // 2, run.epochs_done}
        sizes = [size for epoch in sorted(epochs) for size in _sizes(store, run, epoch)]
        if sizes:
            return PictureSize(sum(sizes) / len(sizes), run.name)
    return None


def guessed_bytes(store: Store, items: Sequence[VersionItem]) -> float:
    """Give what the pictures of one of these photos take at most, as a rule; 0 without any photo.

    That goes by the pixels at display size, in which they are kept.
    """
    sampled = _spread(items, SAMPLED * SAMPLED)
    if not sampled:
        return 0.0
    sizes_wh = versions.reader(store, sampled).sizes_wh.values()
    pixels = [height * width for height, width in (display_size_hw((h, w)) for w, h in sizes_wh)]
    return MOST_BYTES_PER_PIXEL * sum(pixels) / len(pixels)


def _sizes(store: Store, run: Run, epoch: int) -> list[int]:
    found: list[int] = []
    for keys in _spread(list(runs.picture_keys(store, run.id, epoch).values()), SAMPLED):
        try:
            found.append(sum(store.blobs.size(key) for key in keys))
        except NotFound:
            continue  # deleted by hand
    return found


def _spread(values: Sequence[T], at_most: int) -> list[T]:
    """Take so many values at equal distances."""
    step = max(1, -(-len(values) // at_most))
    return list(values[::step])
