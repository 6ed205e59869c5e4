"""An import that asked back: what it saw, what a person says about it, and the import that follows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from core.domain.errors import FormatError
from core.domain.mask_classes import Meaning, meanings_to_json
from core.domain.runs import Job, WorkState
from core.services.home import Store
from core.storage import jobs, uploads

KEPT_FOR = timedelta(days=2)


@dataclass(frozen=True)
class AskedValue:
    """A value that masks hold: its share of the pixels 0..1, in how many masks, and a guessed meaning.

    ``example`` is a small picture of it as a "data:" address, or "".
    """

    key: str
    share: float
    images: int
    meaning: Meaning
    example: str


@dataclass(frozen=True)
class Possible:
    """A format that fits, what it would take in a sentence, and the values to name, if any."""

    format: str
    title: str
    sentence: str
    values: tuple[AskedValue, ...]


def question(job: Job) -> tuple[Possible, ...]:
    """Give what an import that is over wants to know; () where it took what there was."""
    asked = (job.result or {}).get("question") if job.state is WorkState.SUCCEEDED else None
    if not asked:
        return ()
    return tuple(
        Possible(one["format"], one["title"], one["sentence"], tuple(map(_value, one["values"])))
        for one in cast("list[dict[str, Any]]", asked["possible"])
    )


def answer(store: Store, job_id: str, *, format: str, meanings: Mapping[str, Meaning] | None = None) -> Job:
    """Queue the import again, of the same upload, with what a person said.

    Raises:
        NotFound: the import does not exist.
        FormatError: it asks nothing, or somebody has answered already; two classes are to have one
            colour; or everything is background.
        OutOfReach: the database does not answer now.
    """
    asked = jobs.get(store, job_id)
    if not question(asked):
        raise FormatError("This import asks nothing. Choose the files again.")
    if _is_answered(store, asked):
        raise FormatError("This question was answered already, perhaps in another window.")
    payload = {**asked.payload, "format": format}
    if meanings:
        _check(meanings)
        payload["classes"] = meanings_to_json(meanings)
    return jobs.create(store, "import", payload, asked.project_id)


def discard(store: Store, job_id: str) -> None:
    """Delete the upload of an import that asked, instead of answering; not of one that was answered.

    Raises NotFound.
    """
    asked = jobs.get(store, job_id)
    if question(asked) and not _is_answered(store, asked):
        uploads.delete(store, str(asked.payload["upload"]))


def discard_forgotten(store: Store, project_id: str) -> None:
    """Delete the uploads of a project's imports that asked two days ago and got no answer."""
    newest: dict[object, Job] = {}  # an answer may have led to another question
    for job in jobs.list_of(store, project_id, kind="import"):
        newest.setdefault(job.payload.get("upload"), job)
    for place, job in newest.items():
        if question(job) and _is_old(job):
            uploads.delete(store, str(place))


def _is_answered(store: Store, asked: Job) -> bool:
    """Whether a later import took, or will take, the same upload; one that was cancelled did not."""
    assert asked.project_id is not None, "an import belongs to a project"
    place, state = asked.payload.get("upload"), WorkState.CANCELLED
    later = [job for job in jobs.list_of(store, asked.project_id, kind="import") if job.id > asked.id]
    return any(job.payload.get("upload") == place and job.state is not state for job in later)


def _is_old(job: Job) -> bool:
    made = job.created_at
    return datetime.now(UTC) - made.replace(tzinfo=made.tzinfo or UTC) > KEPT_FOR


def _check(meanings: Mapping[str, Meaning]) -> None:
    if all(meaning.role == "background" for meaning in meanings.values()):
        raise FormatError("Everything is background; name at least one class.")
    colors: dict[str, str] = {}
    for meaning in meanings.values():
        name = meaning.name.strip()
        if meaning.role == "background" or not meaning.color:
            continue
        if colors.setdefault(meaning.color.casefold(), name.casefold()) != name.casefold():
            raise FormatError(f"“{name}” has the colour of another class. Choose another one.")


def _value(told: Mapping[str, Any]) -> AskedValue:
    meaning = Meaning(told["name"], told["role"], told["color"])
    return AskedValue(told["key"], told["share"], told["images"], meaning, told["example"])
