"""Which photos get pictures at each epoch, where there are too many for all to get some."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

from core.domain.splitting import Candidate

LEAST = 10  # photos of a class, and of those without damage, before all others have their turn
NO_DAMAGE = 0  # in place of a category_id; those count from 1


def probe_set(images: Sequence[Candidate], at_most: int) -> frozenset[str]:
    """Choose at most so many images, the same ones whenever the same images are given.

    Neither a seed nor the order of the images plays a part, so that runs on the same photos can be compared
    on each photo that has pictures. In turns, the rarest class first, each class gets an image that shows
    it, up to LEAST, as long as there is room; images without any class are one class here. The others
    follow in the order of their keys, so keys should be hashes: that is a draw without chance, and most of
    it stays where images are added. A smaller choice is a part of a larger one.

    Returns:
        The keys chosen.
    """
    return frozenset(itertools.islice(_in_order(images), at_most))


def _in_order(images: Sequence[Candidate]) -> Iterator[str]:
    shown = {image.key: set(image.classes) or {NO_DAMAGE} for image in images}
    keys = sorted(shown)
    frequency = Counter(c for classes in shown.values() for c in classes)
    rarest_first = sorted(frequency, key=lambda c: (frequency[c], c))
    taken: set[str] = set()
    shown_by_taken: Counter[int] = Counter()
    for least in range(1, LEAST + 1):
        for class_ in (c for c in rarest_first if shown_by_taken[c] < least):
            key = next((k for k in keys if class_ in shown[k] and k not in taken), None)
            if key is not None:
                taken.add(key)
                shown_by_taken.update(shown[key])
                yield key
    yield from (key for key in keys if key not in taken)
