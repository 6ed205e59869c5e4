"""Who learns and who measures: draws that keep the classes' shares and the groups together."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import NotEnoughLabels, listed
from core.domain.training import VersionItem

NEAR_BITS = 6  # perceptual hashes that differ in so many of their 64 bits or fewer are of one scene
MAX_PAIRS = 50_000_000  # of hashes that are compared, a quarter of a second
FEW_IMAGES = 3  # fewer photos of a class than that teach little
LISTED = 5  # names in a sentence
_PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Candidate:
    """An image to draw from. ``key`` is its own and outlasts an import; ``classes`` it shows."""

    key: str
    classes: tuple[int, ...]
    group: str | None = None


def stratified_share(
    images: Sequence[Candidate], share: float, seed: int, *, at_most: int = 0
) -> frozenset[str]:
    """Draw a share of the images, from the images of each rarest class alike.

    Each image counts for the rarest class it shows, those without any for themselves; each such class
    keeps an image as long as there is room. Of the same images and seed, a smaller share is a part of
    a larger one.

    Args:
        share: 0..1; the number is rounded, but at least 1.
        at_most: images, 0: no limit.

    Returns:
        The keys drawn.
    """
    count = max(1, round(share * len(images)))
    classes = {image.key: image.classes for image in images}
    return frozenset(_spread(classes, seed, first=0.0)[: min(count, at_most) if at_most else count])


def held_out(images: Sequence[Candidate], share: float, seed: int, *, by_group: bool) -> frozenset[str]:
    """Draw a share of the images to measure with, from the images of each rarest class alike.

    Args:
        share: of the images; at least one is drawn, and at least one is left.
        by_group: no group has images on both sides, so the share is met as nearly as groups allow.

    Returns:
        The keys drawn.

    Raises:
        NotEnoughLabels: all images are of one group, so none can be held out.
    """
    units: dict[str, list[Candidate]] = defaultdict(list)
    for image in images:
        is_grouped = by_group and image.group
        units[f"group {image.group}" if is_grouped else f"image {image.key}"].append(image)
    if len(units) < 2:
        raise NotEnoughLabels(
            f"All {len(images)} photos are of one group, and a group is never split. Add photos of another "
            "group, put them into train and valid yourself, or switch split_by_group off."
        )
    classes = {name: tuple(c for image in unit for c in image.classes) for name, unit in units.items()}
    sizes = {name: len(unit) for name, unit in units.items()}
    target = min(max(1, round(share * len(images))), len(images) - 1)
    drawn = _filling(_spread(classes, seed, first=0.5), sizes, target)
    return frozenset(image.key for name in drawn for image in units[name])


def groups_astride(items: Iterable[VersionItem]) -> tuple[str, ...]:
    """Name the groups that are in train and in valid or test too, in order."""
    splits: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.group:
            splits[item.group].add(item.split)
    return tuple(sorted(group for group, of in splits.items() if "train" in of and len(of) > 1))


def count_near_duplicates(hashes: Sequence[str], others: Sequence[str]) -> int:
    """Count the perceptual hashes that are within NEAR_BITS of one of the others.

    Where both are very many, only the first ones are looked at: MAX_PAIRS in all.

    Args:
        hashes, others: 64 bits as 16 hex digits each.
    """
    if not hashes or not others:
        return 0
    looked_at = _bits(hashes[: max(1, MAX_PAIRS // len(others))])
    known, step = _bits(others), max(1, _PAIRS_AT_ONCE // len(others))
    found = 0
    for start in range(0, len(looked_at), step):
        differing = np.bitwise_count(looked_at[start : start + step, None] ^ known)
        found += int((differing <= NEAR_BITS).any(axis=1).sum())
    return found


def leak_warnings(items: Sequence[VersionItem], phashes: Mapping[str, str]) -> list[str]:
    """Say where train and what it is measured with are not apart: groups, photos that look alike.

    Args:
        phashes: perceptual hash by image id.
    """
    warnings: list[str] = []
    if astride := groups_astride(items):
        named = listed(f"“{group}”" for group in astride[:LISTED])
        more = f" and {len(astride) - LISTED} more" if len(astride) > LISTED else ""
        warnings.append(
            f"Photos of the same group are in train and in valid or test: {named}{more}. "
            "The figures will look better than the model is."
        )
    learnt = [phashes[item.image_id] for item in items if item.split == "train"]
    for split in ("valid", "test"):
        measured = [phashes[item.image_id] for item in items if item.split == split]
        if alike := count_near_duplicates(measured, learnt):
            warnings.append(
                f"Photos in {split} that look almost like one in train: {alike} of {len(measured)}. "
                "The figures will look better than the model is."
            )
    return warnings


def class_warnings(names: Mapping[int, str], images_of: Mapping[str, Mapping[int, int]]) -> list[str]:
    """Say which classes can hardly be learnt or not be measured.

    Args:
        names: of the classes that are used, by category_id.
        images_of: split -> category_id -> images that show it.
    """
    train, valid = images_of["train"], images_of["valid"]
    warnings = [
        f"No photo in train shows “{name}”: the model cannot learn it."
        for category_id, name in names.items()
        if category_id not in train
    ]
    if few := [f"“{names[c]}” ({train[c]})" for c in names if 0 < train.get(c, 0) < FEW_IMAGES]:
        warnings.append(f"Few photos in train show {listed(few)}: the model will hardly learn that.")
    if unseen := [f"“{names[c]}”" for c in names if c in train and c not in valid]:
        warnings.append(f"No photo in valid shows {listed(unseen)}: how well it is found cannot be measured.")
    return warnings


def _bits(hashes: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(digits, 16) for digits in hashes], np.uint64)


def _spread(classes: Mapping[str, tuple[int, ...]], seed: int, *, first: float) -> list[str]:
    """Order keys so that each beginning of the list has about the same part of every stratum.

    A stratum is what has the same rarest class. The j-th of its n, in a seeded order, stands at
    (j + first) / n of the way; what stands at the same place is in a seeded order.

    Args:
        first: 0 puts one of each stratum at the very start, 1/2 leaves a stratum of one in the middle.
    """
    frequency = Counter(c for shown in classes.values() for c in set(shown))
    strata: dict[int, list[str]] = defaultdict(list)
    for key in sorted(classes):
        strata[min(classes[key], key=lambda c: (frequency[c], c), default=0)].append(key)
    rng = random.Random(seed)
    placed: list[tuple[float, float, str]] = []
    for _, keys in sorted(strata.items()):
        rng.shuffle(keys)
        placed += [((j + first) / len(keys), rng.random(), key) for j, key in enumerate(keys)]
    return [key for _, _, key in sorted(placed)]


def _filling(order: Sequence[str], sizes: Mapping[str, int], target: int) -> list[str]:
    """Take units in their order while they fit; one more where that is nearer to the target."""
    taken: list[str] = []
    missing = target
    for name in order:
        if sizes[name] <= missing:
            taken.append(name)
            missing -= sizes[name]
    chosen = set(taken)
    left = [name for name in order if name not in chosen]
    smallest = min(left, key=lambda name: sizes[name])
    if not taken or (len(left) > 1 and abs(sizes[smallest] - missing) < missing):
        taken.append(smallest)
    return taken
