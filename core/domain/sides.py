"""Which classes trade places when a picture is mirrored: “left door” and “right door”."""

import re
from collections import Counter
from collections.abc import Sequence

_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}


def mirrored_classes(names: Sequence[str]) -> tuple[int, ...]:
    """Give for each class index, background's 0 first, the class it becomes in a mirrored picture.

    A side is a word of the name: left and right, or l and r, set apart by a space, _ or -; capitals do
    not matter. A class whose partner is not among the names stays itself, and so does one that is
    named twice.

    Args:
        names: of the classes 1, 2, ... in their order.

    Returns:
        A permutation of 0..len(names) that undoes itself.
    """
    words = [tuple(re.split(r"[\s_-]+", name.strip().casefold())) for name in names]
    times = Counter(words)
    index = {of_class: number for number, of_class in enumerate(words, start=1) if times[of_class] == 1}
    partners = (tuple(_OTHER_SIDE.get(word, word) for word in of_class) for of_class in words)
    return 0, *(
        index.get(partner, number) if times[of_class] == 1 else number
        for number, (of_class, partner) in enumerate(zip(words, partners, strict=True), start=1)
    )
