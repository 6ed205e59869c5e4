"""Which photo to label next: those that the champion doubts, mixed with unlike ones."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from core.domain.active_learning import Pick, Pool
from core.domain.active_learning import order as order_of
from core.domain.errors import FormatError, NotFound
from core.domain.images import ImageFilter
from core.domain.runs import Champion, Job
from core.inference.usefulness import Usefulness, embeddings, scores_key, unpack
from core.services.home import Store
from core.services.suggestions import NO_CHAMPION
from core.storage import champions, images, jobs

MAX_PHOTOS = 2_000  # measured in one go
MAX_LABELLED = 500  # of those the others are to be unlike
NOT_MEASURED = "The champion has not looked at these photos yet. Measure them first."
RULE = (
    "First come photos that the champion doubts, and that are unlike those that are labelled or come before. "
    "Photos it has not looked at follow, then finished ones."
)


@dataclass(frozen=True)
class Order:
    """A queue in the order in which it is most useful to label.

    ids: all that were given. picks: what is known of each photo that was measured, by its id. unmeasured:
    how many to be labelled were not. trouble: why the order is as it came; "" where it is not.
    """

    ids: tuple[str, ...]
    picks: Mapping[str, Pick] = field(default_factory=dict[str, Pick])
    unmeasured: int = 0
    trouble: str = ""

    def reason(self, image_id: str) -> str:
        """Say why a photo stands where it does: "doubt 0.41, unlike the ones before"; "" if unknown."""
        pick = self.picks.get(image_id)
        if pick is None:
            return ""
        where = "labelled photos" if pick.is_ranked_only else "the ones before"
        return f"doubt {pick.uncertainty:.2f}, {'unlike' if pick.is_unlike else 'like'} {where}"


def order(store: Store, project_id: str, ids: Sequence[str]) -> Order:
    """Order photos by the rule of ``core.domain.active_learning``; deterministic.

    Photos to be labelled that were measured come first, then those that were not, then the finished ones;
    both as they came. Where there is no champion or nothing was measured, all stay as they came and
    ``trouble`` says why.
    """
    champion = champions.champion(store, project_id)
    if champion is None:
        return Order(tuple(ids), trouble=NO_CHAMPION)
    by_id = {image.id: image for image in images.list_page(store, project_id, ImageFilter())}
    to_do = [by_id[i] for i in ids if i in by_id and not by_id[i].is_labelled]
    file = _newest_file(store, champion)
    known = _measured(store, *file) if file else {}
    pool = tuple((image.id, image.sha256) for image in to_do if image.sha256 in known)
    if not file or not pool:
        return Order(tuple(ids), unmeasured=len(to_do), trouble=NOT_MEASURED if to_do else "")
    labelled = [i.sha256 for i in by_id.values() if i.is_labelled and i.sha256 in known]
    picks = _picks(store, *file, pool, tuple(labelled[-MAX_LABELLED:]))
    first = [pick.id for pick in picks]
    later = [image.id for image in to_do if image.sha256 not in known]
    seen = {*first, *later}
    rest = [image_id for image_id in ids if image_id not in seen]
    return Order((*first, *later, *rest), {pick.id: pick for pick in picks}, len(later))


def prepare(store: Store, project_id: str) -> Job:
    """Queue the job that measures photos with the champion; the same one is not queued twice.

    Raises:
        NotFound: there is no champion.
    """
    champion = champions.champion(store, project_id)
    if champion is None:
        raise NotFound(NO_CHAMPION)
    payload = {
        "project_id": project_id,
        "run_id": champion.run_id,
        "epoch": champion.epoch,
        "limit": MAX_PHOTOS,
        "labelled_limit": MAX_LABELLED,
    }
    return jobs.create(store, "score_unlabelled", payload, project_id, priority=-1)


@functools.lru_cache(maxsize=4)
def _picks(
    store: Store, key: str, written: datetime, pool: tuple[tuple[str, str], ...], labelled: tuple[str, ...]
) -> list[Pick]:
    """Order the pool, (id, SHA-256) each; a page asks for the same order at every step.

    Embeddings are of all these photos at once, since how they are scaled depends on which there are.
    """
    known = _measured(store, key, written)
    rows = embeddings(known[sha256] for sha256 in (*(sha256 for _, sha256 in pool), *labelled))
    doubts = np.array([known[sha256].doubt for _, sha256 in pool])
    return order_of(Pool(tuple(i for i, _ in pool), doubts, rows[: len(pool)]), rows[len(pool) :])


def _newest_file(store: Store, champion: Champion) -> tuple[str, datetime] | None:
    """Give the key of what the champion measured and when it was written; None where it did not."""
    wanted = scores_key(champion.run_id, champion.epoch)
    folder = wanted.rpartition("/")[0]
    return next(((key, written) for key, written in store.blobs.list(folder) if key == wanted), None)


@functools.lru_cache(maxsize=2)
def _measured(store: Store, key: str, written: datetime) -> Mapping[str, Usefulness]:
    """Read what the champion measured; a damaged file counts as none, for the job makes it anew."""
    try:
        return unpack(store.blobs.get(key))
    except (NotFound, FormatError):
        return {}
