"""Public data sets, as they were released, arrive whole."""

import time
from pathlib import Path

from core.domain.images import ImageFilter
from core.domain.labels import ImageState
from core.formats.ingest import import_path
from core.storage import images, projects
from core.storage.store import Store

PLACES = ("train", "valid", "test", "unsplit")


def test_a_roboflow_export_arrives_whole_and_fast(store: Store, project_id: str, shared_data: Path) -> None:
    start = time.monotonic()
    report = import_path(store, project_id, shared_data / "car_damage")
    seconds = time.monotonic() - start

    assert report.images == dict(zip(PLACES, (941, 309, 322, 0), strict=True))
    assert report.annotations == dict(zip(PLACES, (2445, 725, 787, 0), strict=True))
    assert report.refused == ()
    categories = projects.get(store, project_id).categories
    assert [c.category_id for c in categories] == list(range(1, 9))
    assert "car" not in [c.name for c in categories]
    assert seconds < 60

    again = import_path(store, project_id, shared_data / "car_damage")

    assert (again.already_there, sum(again.images.values()), again.refused) == (1572, 0, ())


def test_ids_from_two_and_a_background_category(store: Store, project_id: str, shared_data: Path) -> None:
    report = import_path(store, project_id, shared_data / "car_parts")

    assert report.images == dict(zip(PLACES, (400, 0, 100, 0), strict=True))
    assert report.annotations == dict(zip(PLACES, (3073, 0, 811, 0), strict=True))
    assert report.refused == ()
    assert [c.category_id for c in projects.get(store, project_id).categories] == list(range(2, 20))


def test_a_label_studio_export_tells_damage_from_none(
    store: Store, project_id: str, shared_data: Path
) -> None:
    report = import_path(store, project_id, shared_data / "seed_custom")

    listed = images.list_page(store, project_id, ImageFilter())
    assert {i.state for i in listed} == {ImageState.DONE}
    assert {i.name.rpartition("/")[2]: i.annotation_count for i in listed} == {
        f"{n}.jpg": int(n != 8) for n in range(5, 14)
    }
    assert report.categories == ("Severe Damages",)
    assert report.refused == ()
    assert report.annotations["unsplit"] == 8


def test_masks_of_zeros_and_ones_and_colour_masks(store: Store, project_id: str, shared_data: Path) -> None:
    cracks = import_path(store, project_id, shared_data / "crack_forest")
    rocks = import_path(store, project_id, shared_data / "mars_rock_samples")

    assert (cracks.images["unsplit"], cracks.annotations["unsplit"], cracks.refused) == (118, 118, ())
    assert (rocks.images["unsplit"], rocks.annotations["unsplit"], rocks.refused) == (4, 4, ())
