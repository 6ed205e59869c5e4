"""A checkpoint's errors per class and per photo, from counts that were kept."""

import dataclasses
import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import analysis as domain
from core.domain.analysis import (
    ANY,
    BINS,
    Analysis,
    BoundaryCounts,
    ClassCounts,
    ErrorCounts,
    ImageCounts,
    ObjectCounts,
    Reliability,
    analysis_key,
    pack,
    unpack,
)
from core.domain.errors import FormatError, NotFound
from core.domain.runs import Run
from core.services import analysis, training
from core.storage import images, jobs, runs
from core.storage.store import Store
from tests.builders import project_with
from tests.pages.trained import finish_run

COUNTS = st.integers(0, 2**40)
ROWS = st.lists(COUNTS, min_size=BINS, max_size=BINS).map(tuple)
RELIABILITIES = st.builds(Reliability, ROWS, ROWS, ROWS)
CLASSES = st.builds(
    ClassCounts,
    st.builds(BoundaryCounts, *[COUNTS] * 4),
    st.builds(ObjectCounts, *[COUNTS] * 3),
    st.builds(ErrorCounts, *[COUNTS] * 5),
)
IMAGES = st.builds(
    ImageCounts, st.text(), st.dictionaries(st.integers(0, 254), CLASSES), RELIABILITIES, RELIABILITIES
)
ANALYSES = st.builds(
    Analysis, st.text(), st.lists(IMAGES, max_size=3).map(tuple), st.lists(st.text(), max_size=2).map(tuple)
)


def errors_of(**pixels: int) -> ClassCounts:
    return ClassCounts(errors=ErrorCounts(**pixels))


def counted(image_id: str, classes: dict[int, ClassCounts]) -> ImageCounts:
    thousand = Reliability((*[0] * (BINS - 1), 1000), (*[0] * (BINS - 1), 255_000), (*[0] * (BINS - 1), 900))
    return ImageCounts(image_id, classes, Reliability(), thousand)


@pytest.fixture
def run(store: Store) -> Run:
    return finish_run(store, project_with(store, "dent", "scratch"), epochs=2)


@pytest.fixture
def found(store: Store, run: Run) -> Analysis:
    """Two photos: the first misses a dent, the second has a scratch too wide and misses half as much."""
    first, second = (record.image_id for record in runs.records(store, run.id, 1))
    return Analysis(
        "x",
        (
            counted(first, {1: errors_of(right=100, missed=80, boundary=10)}),
            counted(second, {1: errors_of(right=10, missed=40), 2: errors_of(right=30, extent=30)}),
        ),
    )


@settings(max_examples=30, deadline=None)
@given(ANALYSES)
def test_unpacking_undoes_packing(written: Analysis) -> None:
    assert unpack(pack(written)) == written
    assert pack(unpack(pack(written))) == pack(written)


@settings(max_examples=30, deadline=None)
@given(ANALYSES)
def test_counts_of_photos_add_up(written: Analysis) -> None:
    for index in {index for image in written.images for index in image.classes}:
        rows = [image.classes[index].row() for image in written.images if index in image.classes]
        assert written.total(index).row() == [sum(column) for column in zip(*rows, strict=True)]
    assert sum(written.reliability(is_foreground=True).right) == sum(
        sum(image.foreground.right) for image in written.images
    )


def test_photos_without_pictures_are_counted_and_unknown_to_older_counts() -> None:
    counts = Analysis("x", (), ("gone",), unpictured=7)
    assert unpack(pack(counts)) == counts

    document = json.loads(gzip.decompress(pack(counts)))
    del document["unpictured"]
    older = gzip.compress(json.dumps(document).encode())

    assert unpack(older) == Analysis("x", (), ("gone",), unpictured=0)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"no gzip",
        gzip.compress(b"no json"),
        gzip.compress(b"[]"),
        gzip.compress(b'{"format": 1}'),
        gzip.compress(json.dumps({"format": 1, "of": "x", "images": [{}], "skipped": []}).encode()),
        pack(Analysis("x", ()))[:-9],
    ],
    ids=["empty", "no gzip", "no json", "a list", "half a document", "an empty image", "cut off"],
)
def test_damaged_bytes_are_refused(damage: bytes) -> None:
    with pytest.raises(FormatError, match="Analyse again"):
        unpack(damage)


def test_counts_by_other_definitions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    written = pack(Analysis("x", ()))
    monkeypatch.setattr(domain, "FORMAT", domain.FORMAT + 1)

    with pytest.raises(FormatError, match="another version"):
        unpack(written)


def test_a_checkpoint_is_queued_once_and_only_when_it_was_measured(store: Store, run: Run) -> None:
    assert analysis.under_way(store, run, 1) is None

    job = analysis.analyse(store, run, 1)
    again = analysis.analyse(store, run, 1)

    assert job.id == again.id
    assert (job.kind, job.payload) == ("analyse", {"run_id": run.id, "epoch": 1, "split": "valid"})
    under_way = analysis.under_way(store, run, 1)
    assert under_way is not None and under_way.id == job.id
    assert analysis.under_way(store, run, 2) is None
    for refused in (lambda: analysis.analyse(store, run, 9), lambda: analysis.analyse(store, run, 1, "test")):
        with pytest.raises(NotFound, match="was not measured"):
            refused()
    assert len(jobs.waiting(store)) == 1


def test_counts_are_found_until_the_checkpoint_is_measured_anew(
    store: Store, run: Run, found: Analysis
) -> None:
    assert analysis.find(store, run, 1) is None
    records = runs.records(store, run.id, 1)
    of = domain.fingerprint((r.image_id, r.prediction, r.confusion) for r in records)
    written = dataclasses.replace(found, of=of)
    store.blobs.put(analysis_key(run.id, 1, "valid", of), pack(written))

    assert analysis.find(store, run, 1) == written
    assert analysis.find(store, run, 2) is None

    other = np.rot90(records[0].confusion).copy()
    changed = [dataclasses.replace(records[0], confusion=other), *records[1:]]
    runs.set_records(store, run.id, 1, "valid", changed)
    assert analysis.find(store, run, 1) is None


def test_classes_are_listed_with_the_lowest_iou_first(store: Store, run: Run, found: Analysis) -> None:
    rows = analysis.class_rows(found, training.data_version(store, run).categories)

    assert [(row.name, row.class_index) for row in rows] == [("dent", 1), ("scratch", 2)]
    assert rows[0].counts.errors == ErrorCounts(right=110, boundary=10, missed=120)
    assert [row.counts.errors.mostly for row in rows] == ["missed", "extent"]
    means = analysis.means(rows)
    assert means.iou == pytest.approx((110 / 240 + 0.5) / 2)
    assert (means.boundary_iou, means.recall) == (None, None)
    first_alone = dataclasses.replace(found, images=found.images[:1])
    rows = analysis.class_rows(first_alone, training.data_version(store, run).categories)
    assert [row.name for row in rows] == ["dent"], "a class that is nowhere has no row"


def test_worst_photos_have_the_most_pixels_of_the_kind(store: Store, run: Run, found: Analysis) -> None:
    first, second = (image.image_id for image in found.images)

    worst = analysis.worst_photos(store, run, found, 1, "missed")

    assert [(p.image_id, p.pixels, p.share) for p in worst] == [(first, 80, 0.08), (second, 40, 0.04)]
    assert [p.part for p in worst] == [80 / 120, 40 / 120]
    assert [p.iou for p in worst] == [100 / 190, 10 / 50]
    assert worst[0].name == images.get(store, first).name
    assert [p.image_id for p in analysis.worst_photos(store, run, found, 1, "missed", limit=1)] == [first]
    assert [p.image_id for p in analysis.worst_photos(store, run, found, 2, "extent")] == [second]
    assert analysis.worst_photos(store, run, found, ANY, "false") == []


def test_photos_deleted_since_are_not_listed(store: Store, run: Run, found: Analysis) -> None:
    images.delete(store, [found.images[0].image_id])

    worst = analysis.worst_photos(store, run, found, 1, "missed")

    assert [photo.image_id for photo in worst] == [found.images[1].image_id]
