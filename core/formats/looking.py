"""Look at a source before it is taken: what it may be, and what a person has to say first."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.domain.errors import AppError, FormatError, pick
from core.domain.labels import unused_color
from core.domain.mask_classes import FoundValue, Meaning, Meanings
from core.formats.ingest import ImportReport, ingest
from core.formats.registry import FORMATS, FormatSpec, Seen, seen_in
from core.formats.source import SourceDataset
from core.formats.unpack import open_source
from core.formats.value_names import unnamed_sentence
from core.storage import projects
from core.storage.store import Store

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Wanted:
    """What is known of a source: its format, or "auto"; what its masks' values mean, or None."""

    format: str = "auto"
    meanings: Meanings | None = None


@dataclass(frozen=True)
class Possible:
    """A format that a source may be in, with the values that need a name (all of them), or none."""

    seen: Seen
    values: tuple[FoundValue, ...] = ()


@dataclass(frozen=True)
class Question:
    """What a person has to say before a source is taken: the format of several, the values' names."""

    possible: tuple[Possible, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form, which pages draw."""
        return {"possible": [_possible_json(possible) for possible in self.possible]}

    def sentence(self) -> str:
        """Say what is asked to somebody who can only try again."""
        first, *others = self.possible
        if others:
            several = " ".join(f"{p.seen.format}: {p.seen.sentence}" for p in self.possible)
            return f"This may be read in {len(others) + 1} ways; name the format. {several}"
        return unnamed_sentence(first.values)


def take(
    store: Store,
    project_id: str,
    path: Path,
    wanted: Wanted,
    *,
    is_upload: bool = False,
    on_progress: Progress | None = None,
) -> ImportReport | Question:
    """Import a folder, a zip or a photo into a project, or give the question that is open.

    A source that one format fits and whose classes have names is taken at once. The report's notes
    begin with what was seen.

    Args:
        is_upload: as for ``ingest.import_path``.

    Raises:
        UnknownChoice: there is no such format.
        FormatError: the source is nothing that can be read.
        OutOfReach, StorageError, NotFound: as ``ingest.import_path``.
    """
    before = {c.name.casefold() for c in projects.get(store, project_id).categories}
    with open_source(path, store.home / "scratch", with_zips=is_upload) as opened:
        question = look(opened.folder, wanted)
        if isinstance(question, Question):
            return question
        seen, meanings = question
        dataset = _read(FORMATS[seen.format], opened.folder, meanings)
        is_told = wanted.format == "auto" and seen.format != "photos"
        notes = (f"Recognised: {seen.sentence}",) if is_told else ()
        dataset = replace(dataset, refused=opened.refused + dataset.refused, notes=notes + dataset.notes)
        report = ingest(store, project_id, dataset, on_progress=on_progress)
    if meanings:
        _recolour(store, project_id, meanings, known=before)
    return report


def look(folder: Path, wanted: Wanted) -> tuple[Seen, Meanings | None] | Question:
    """Find out a folder's format and what its masks' values mean, or what has to be asked.

    Raises:
        UnknownChoice: there is no such format.
        FormatError: none fits, or the one that is wanted does not; the sentence says what there is.
    """
    only, *others = _fitting(folder, wanted)
    if others:
        return Question(tuple(Possible(one, _values(one, folder)) for one in (only, *others)))
    numbered = FORMATS[only.format].numbered
    if numbered is None and wanted.meanings is not None:
        raise FormatError(f"{only.title} tells its classes itself; their meaning cannot be said beside it.")
    if numbered is None:
        return only, None
    if wanted.meanings is not None:
        return only, wanted.meanings
    values = numbered.find(folder)
    if all(value.is_known for value in values):
        return only, {value.key: value.meaning for value in values}
    return Question((Possible(_told(only, folder), values),))


def _fitting(folder: Path, wanted: Wanted) -> tuple[Seen, ...]:
    """Give the formats in question: the wanted one, else those that fit.

    Where the values' meanings are known, only formats with values are meant: masks of zeros and ones are
    then classes, and not one object each.
    """
    if wanted.format != "auto":
        return (Seen(wanted.format, pick(FORMATS, wanted.format, kind="format").title, ""),)
    seen = seen_in(folder)
    if wanted.meanings is None:
        return seen
    numbered = tuple(one for one in seen if FORMATS[one.format].numbered)
    return numbered or (Seen("index_masks", FORMATS["index_masks"].title, ""),)


def _told(seen: Seen, folder: Path) -> Seen:
    """Give what was seen with its sentence, which a format named beforehand does not have yet."""
    see = FORMATS[seen.format].see
    return seen if seen.sentence or see is None else replace(seen, sentence=f"{seen.title}: {see(folder)}.")


def _values(seen: Seen, folder: Path) -> tuple[FoundValue, ...]:
    """Give the values that need a name; none where the format cannot be read at all."""
    numbered = FORMATS[seen.format].numbered
    if numbered is None:
        return ()
    with suppress(FormatError):
        values = numbered.find(folder)
        return () if all(value.is_known for value in values) else values
    return ()


def _read(spec: FormatSpec, folder: Path, meanings: Meanings | None) -> SourceDataset:
    if spec.numbered is not None and meanings is not None:
        return spec.numbered.read(folder, meanings)
    return spec.read(folder)


def _recolour(store: Store, project_id: str, meanings: Mapping[str, Meaning], known: set[str]) -> None:
    """Give new classes the colours that were wanted for them, where no other class has them."""
    colors = {m.name.strip().casefold(): m.color for m in meanings.values() if m.color}
    fresh = [c for c in projects.get(store, project_id).categories if c.name.casefold() not in known]
    left = [replace(c, color=colors[c.name.casefold()]) for c in fresh if c.name.casefold() in colors]
    taken = {c.color for c in projects.get(store, project_id).categories} | set(colors.values())
    for category in left:  # two may have to swap, so all let go of theirs first
        aside = unused_color(category.category_id, taken)
        taken.add(aside)
        projects.change_category(store, project_id, replace(category, color=aside))
    for category in left:
        with suppress(AppError):
            projects.change_category(store, project_id, category)


def _possible_json(possible: Possible) -> dict[str, Any]:
    return {
        "format": possible.seen.format,
        "title": possible.seen.title,
        "sentence": possible.seen.sentence,
        "values": [_value_json(value) for value in possible.values],
    }


def _value_json(value: FoundValue) -> dict[str, Any]:
    meaning = value.meaning
    told = {"name": meaning.name, "role": meaning.role, "color": meaning.color}
    counts = {"key": value.key, "share": value.share, "images": value.images}
    return {**counts, **told, "example": value.example}
