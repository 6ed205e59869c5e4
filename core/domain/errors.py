"""The errors that carry a sentence for the user: what is wrong and what to do."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class AppError(Exception):
    """A mistake that the user can understand; its text is shown as it is."""


class UnknownChoice(AppError):
    """A name is not in its registry."""


class NotFound(AppError):
    """A project, image, run or epoch does not exist (any more)."""


class FormatError(AppError):
    """A file or a message from outside is not what it should be."""


class ImageError(FormatError):
    """A file cannot be used as a photo."""


class NotEnoughLabels(AppError):
    """Too few labelled images to train on or to measure with."""


class Conflict(AppError):
    """Somebody else changed the same thing first; nothing was overwritten."""


class StorageError(AppError):
    """Disk, blob store or database refused to keep something."""


class OutOfReach(StorageError):
    """The database or the blob store does not answer now; the same call may do later."""


class OtherVersion(StorageError):
    """The database belongs to another version of the program."""


class TrainingDiverged(AppError):
    """The loss is not a number any more."""


class Cancelled(Exception):
    """The user stopped the work under way. No fault, so no AppError."""


class Fenced(Exception):
    """Another attempt owns the row now; the process that sees this must leave without a trace."""


class PeerLost(Exception):
    """Another process of the same training is gone; this one cannot go on, and it is nobody's verdict."""


def pick(registry: Mapping[str, T], name: str, *, kind: str) -> T:
    """Look a name up in a registry.

    Raises:
        UnknownChoice: the name is not there; the sentence lists the names that are.
    """
    try:
        return registry[name]
    except KeyError:
        raise UnknownChoice(f"There is no {kind} “{name}”. There are: {listed(registry)}.") from None


def listed(names: Iterable[str]) -> str:
    """Join names for a sentence: "a, b, c"; "none" when there is none."""
    return ", ".join(names) or "none"
