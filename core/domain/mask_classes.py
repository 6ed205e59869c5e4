"""What the numbers or colours of mask pictures mean: a class, background, or nothing that counts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from core.domain.errors import FormatError

Role = Literal["class", "background", "ignore"]
ROLES: tuple[Role, ...] = ("class", "background", "ignore")

MAX_NAME = 80
BACKGROUND_NAMES = ("background", "_background_", "none", "no damage", "nodamage", "bg")
IGNORED_NAMES = ("void", "ignore", "ignored", "unlabelled", "unlabeled")

_KEY = re.compile(r"\d{1,9}|#[0-9a-f]{6}")


@dataclass(frozen=True)
class Meaning:
    """What one value stands for. ``color`` is "#rrggbb", or "" for any; background needs no name."""

    name: str
    role: Role = "class"
    color: str = ""

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise FormatError(f"A value of a mask is class, background or ignore, not “{self.role}”.")
        if self.role != "background" and not 1 <= len(self.name.strip()) <= MAX_NAME:
            raise FormatError(f"A class needs a name of 1 to {MAX_NAME} characters.")
        if self.color and not re.fullmatch(r"#[0-9A-Fa-f]{6}", self.color):
            raise FormatError(f"A class's colour is written like #E69F00, not {self.color!r}.")


Meanings = Mapping[str, Meaning]
"""By key: a number as "3", a colour mask's colour as "#804080"."""


@dataclass(frozen=True)
class FoundValue:
    """A value that masks hold.

    ``share`` is that of all pixels, 0..1; ``images`` counts the masks that hold it. ``is_known``: its
    meaning stands in the source or follows from its layout; else it is a guess, and a person is asked.
    """

    key: str
    share: float
    images: int
    meaning: Meaning
    is_known: bool = False
    example: str = field(default="", repr=False)  # a small picture of it as a "data:" address


def role_of(name: str) -> Role:
    """Tell from a name whether it is a class, background or to be ignored."""
    plain = re.sub(r"[\s-]+", " ", name).strip().casefold()
    if plain in BACKGROUND_NAMES:
        return "background"
    return "ignore" if plain in IGNORED_NAMES else "class"


def parse_meanings(text: str) -> dict[str, Meaning]:
    """Read ``0=background,1=scratch,255=ignore`` or ``#000000=background,#ff0000=dent``.

    The name tells the role.

    Raises:
        FormatError: a part is not VALUE=NAME, or numbers and colours are mixed.
    """
    meanings: dict[str, Meaning] = {}
    for part in filter(str.strip, text.split(",")):
        key, _, name = (piece.strip() for piece in part.partition("="))
        if not _KEY.fullmatch(key.casefold()) or not name:
            raise FormatError(
                f"“{part.strip()}” does not say what a value means. Write it like "
                "0=background,1=scratch,255=ignore, or #ff0000=scratch for colours."
            )
        meanings[key.casefold()] = Meaning(name, role_of(name))
    if not meanings:
        raise FormatError("Say what the values mean, like 0=background,1=scratch,255=ignore.")
    return _of_one_kind(meanings)


def meanings_to_json(meanings: Meanings) -> dict[str, dict[str, str]]:
    """Give the JSON form: ``{key: {name, role, color}}``."""
    return {key: {"name": m.name, "role": m.role, "color": m.color} for key, m in meanings.items()}


def meanings_from_json(value: object) -> dict[str, Meaning]:
    """Read the JSON form.

    Raises:
        FormatError: it is none, or numbers and colours are mixed.
    """
    if not isinstance(value, Mapping):
        raise FormatError("The meanings of a mask's values are an object.")
    meanings: dict[str, Meaning] = {}
    for key, entry in cast("Mapping[Any, Any]", value).items():
        if not isinstance(key, str) or not _KEY.fullmatch(key) or not isinstance(entry, Mapping):
            raise FormatError(f"The value “{key}” of a mask is a number or a colour with its meaning.")
        told = cast("Mapping[str, Any]", entry)
        role = cast("Role", str(told.get("role", "class")))
        meanings[key] = Meaning(str(told.get("name", "")), role, str(told.get("color", "")))
    return _of_one_kind(meanings)


def _of_one_kind(meanings: dict[str, Meaning]) -> dict[str, Meaning]:
    if len({key.startswith("#") for key in meanings}) > 1:
        raise FormatError("Masks hold either numbers or colours; name the values as one of the two.")
    return meanings
