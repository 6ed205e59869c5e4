"""What changed from one revision of an image's labels to the next, in a sentence."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.domain.errors import listed
from core.domain.labels import Annotation, AnnotationSet, ImageState

STATE_TITLES: dict[ImageState, str] = {
    ImageState.UNLABELLED: "Unlabelled",
    ImageState.IN_PROGRESS: "In progress",
    ImageState.DONE: "Done",
    ImageState.APPROVED: "Approved",
    ImageState.REJECTED: "Rejected",
}


@dataclass(frozen=True)
class Revision:
    """One save of an image's labels: who, when, in which state, and what it changed."""

    labels: AnnotationSet
    state: ImageState
    changes: str

    @property
    def annotation_count(self) -> int:
        """How many annotations it has, suggestions aside."""
        return sum(not annotation.is_suggestion for annotation in self.labels.annotations)


def describe_changes(
    before: tuple[AnnotationSet, ImageState] | None,
    after: tuple[AnnotationSet, ImageState],
    names: Mapping[int, str],
) -> str:
    """Say what a revision changed, such as "Added 2 dent, removed 1 scratch; note changed.".

    Args:
        before: the revision before and its state; None for an image that had none.
        names: of all categories that the labels may be of, removed ones too, by id.
    """
    empty = AnnotationSet(after[0].image_id, 0, ())
    old_set, old_state = before or (empty, ImageState.UNLABELLED)
    new_set, new_state = after
    old, new = ({a.id: a for a in each.annotations} for each in (old_set, new_set))
    kept = [(old[key], new[key]) for key in new if key in old]
    accepted = [now for was, now in kept if was.is_suggestion and not now.is_suggestion]
    drawn_anew = [now for was, now in kept if was.ops != now.ops and now not in accepted]
    parts = [
        _counted("suggested", [a for key, a in new.items() if key not in old and a.is_suggestion], names),
        _counted("added", [a for key, a in new.items() if key not in old and not a.is_suggestion], names),
        _counted("removed", [a for key, a in old.items() if key not in new and not a.is_suggestion], names),
        _counted("dropped the suggestion of", _dropped(old, new), names),
        _counted("accepted", accepted, names),
        _counted("redrew", drawn_anew, names),
        *(
            f"made {names.get(was.category_id, '?')} {names.get(now.category_id, '?')}"
            for was, now in kept
            if was.category_id != now.category_id
        ),
        "changed the order" if _order(old, new) != _order(new, old) else "",
        "changed the note of an object" if any(was.note != now.note for was, now in kept) else "",
        "changed the note" if old_set.note != new_set.note else "",
        f"state {STATE_TITLES[new_state].lower()}" if old_state is not new_state else "",
    ]
    said = "; ".join(dict.fromkeys(part for part in parts if part))
    return f"{said[:1].upper()}{said[1:]}." if said else "Nothing changed."


def _dropped(old: Mapping[str, Annotation], new: Mapping[str, Annotation]) -> list[Annotation]:
    return [a for key, a in old.items() if key not in new and a.is_suggestion]


def _order(of: Mapping[str, Annotation], other: Mapping[str, Annotation]) -> list[str]:
    return [key for key in of if key in other]


def _counted(verb: str, found: Sequence[Annotation], names: Mapping[int, str]) -> str:
    if not found:
        return ""
    counts = Counter(names.get(a.category_id, "of a class that is gone") for a in found)
    return f"{verb} {listed(f'{number} {name}' for name, number in counts.items())}"
