"""The drawn data set to try the app with."""

from pathlib import Path

import pytest

from core.formats import sample
from core.formats.ingest import ingest
from core.storage.store import Store


def test_the_sample_is_split_labelled_and_whole(store: Store, project_id: str, tmp_path: Path) -> None:
    dataset = sample.sample_dataset(tmp_path / "panels")

    report = ingest(store, project_id, dataset)

    assert report.images == {"train": 40, "valid": 12, "test": 8, "unsplit": 0}
    assert report.refused == ()
    assert report.categories == ("scratch", "dent", "paint loss")
    assert sum(report.annotations.values()) == sum(len(i.annotations) for i in dataset.images) > 60


def test_the_same_seed_draws_the_same_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "PANELS", (("train", 2),))

    first = sample.sample_dataset(tmp_path / "1", seed=3).images
    second = sample.sample_dataset(tmp_path / "2", seed=3).images
    other = sample.sample_dataset(tmp_path / "3", seed=4).images

    assert first == second
    assert first[0].read() == second[0].read() != other[0].read()
