"""Images that are mixed with others: pixels, labels and regions change together and exactly."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.errors import UnknownChoice
from core.domain.labels import IGNORED
from core.domain.training import TrainingConfig
from core.models import registry
from core.training.augmentation import AUGMENTATIONS, Sample, augment
from core.training.mixing import Cache, copy_paste, cut_mix, draw_sample, recipe_of
from tests.training.builders import NETS

SIDE = 48
CONFIG = TrainingConfig(size=SIDE, augmentation="none")
SEEDS = st.integers(0, 10_000)


def sample_of(seed: int, classes: tuple[int, ...] = (0, 1, 2, IGNORED)) -> Sample:
    """Draw noise, and blocks of labels of which each is a region of its own."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    blocks = rng.choice(classes, (4, 4)).astype(np.uint8)
    labels = np.repeat(np.repeat(blocks, SIDE // 4, 0), SIDE // 4, 1)
    numbers = np.repeat(np.repeat(np.arange(1, 17).reshape(4, 4), SIDE // 4, 0), SIDE // 4, 1)
    is_region = (labels > 0) & (labels < IGNORED)
    return Sample(image, labels, np.where(is_region, numbers, 0).astype(np.uint8))


def cache_of(*samples: Sample) -> Cache:
    images, labels = (np.stack([getattr(s, name) for s in samples]) for name in ("image", "labels"))
    return Cache((), images, labels, np.stack([s.instances for s in samples if s.instances is not None]))


def taken_from_other(mixed: Sample, base: Sample, other: Sample) -> np.ndarray:
    """Tell each pixel's origin by its colour, and check that its label came with it."""
    is_other = (mixed.image == other.image).all(axis=-1)
    assert (is_other | (mixed.image == base.image).all(axis=-1)).all()
    assert np.array_equal(mixed.labels, np.where(is_other, other.labels, base.labels))
    return is_other


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_rectangle_is_cut_in_with_its_labels(seed: int) -> None:
    base, other = sample_of(1), sample_of(2)

    mixed = cut_mix(base, other, np.random.default_rng(seed))

    where = taken_from_other(mixed, base, other)
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if rows.size:
        assert where[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert where.sum() == rows.size * columns.size


def test_rectangles_have_every_size_and_place() -> None:
    base, other = sample_of(1), sample_of(2)
    wheres = [
        taken_from_other(cut_mix(base, other, np.random.default_rng(s)), base, other) for s in range(300)
    ]

    shares = np.array([where.mean() for where in wheres])

    # Of a square of side r with a uniform centre, (r - r^2 / 4)^2 lies in the unit square on average;
    # its mean over a uniform area r^2 is 1/2 - 1/5 + 1/48.
    assert shares.mean() == pytest.approx(0.3208, abs=0.04)
    assert (np.mean(wheres, axis=0) > 0.1).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_whole_regions_of_damage_are_pasted_exactly(seed: int) -> None:
    base, other = sample_of(3), sample_of(4)
    assert other.instances is not None

    mixed = copy_paste(base, other, np.random.default_rng(seed))

    where = taken_from_other(mixed, base, other)
    pasted = set(np.unique(other.instances[where]).tolist())
    assert pasted and 0 not in pasted
    assert np.array_equal(where, np.isin(other.instances, list(pasted)))
    assert not (mixed.labels[where] == IGNORED).any()


def test_every_region_is_pasted_about_half_of_the_time() -> None:
    base, other = sample_of(3), sample_of(4, (1, 2))
    times = np.zeros((SIDE, SIDE))

    for seed in range(300):
        times += taken_from_other(copy_paste(base, other, np.random.default_rng(seed)), base, other)

    assert times.min() / 300 > 0.4 and times.max() / 300 < 0.65


def test_without_instances_a_region_is_what_hangs_together_in_one_class() -> None:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[2:6, 2:6], labels[6:9, 2:6], labels[20:30, 20:30] = 1, 2, 1
    other, base = Sample(sample_of(5).image, labels), replace(sample_of(6), instances=None)
    seen: set[tuple[bool, ...]] = set()

    for seed in range(60):
        mixed = copy_paste(base, other, np.random.default_rng(seed))

        where = taken_from_other(mixed, base, other)
        parts = (where[2:6, 2:6], where[6:9, 2:6], where[20:30, 20:30])
        assert all(part.all() or not part.any() for part in parts)
        assert where.sum() == sum(part.sum() for part in parts)
        assert mixed.instances is None
        seen.add(tuple(bool(part.any()) for part in parts))
    assert seen == {(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)} - {
        (False,) * 3
    }


def test_an_image_without_damage_gives_nothing() -> None:
    base, clean = sample_of(1), sample_of(2, (0, IGNORED))

    assert copy_paste(base, clean, np.random.default_rng(0)) is base


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_regions_are_numbered_anew_and_stay_apart(seed: int) -> None:
    base, other = sample_of(7, (1, 2)), sample_of(8, (1, 2))
    assert base.instances is not None and other.instances is not None

    for mix in (cut_mix, copy_paste):
        mixed = mix(base, other, np.random.default_rng(seed))

        where = taken_from_other(mixed, base, other)
        assert mixed.instances is not None
        before = np.where(where, other.instances + 100, base.instances)
        pairs = {(int(a), int(b)) for a, b in zip(before.ravel(), mixed.instances.ravel(), strict=True)}
        assert len(pairs) == len(np.unique(before)) == mixed.instances.max()
        assert sorted(number for _, number in pairs) == list(range(1, len(pairs) + 1))


def test_the_share_of_images_that_are_mixed_is_the_configured_one() -> None:
    cache = cache_of(sample_of(1), sample_of(2))
    for key in ("cutmix", "copy_paste"):
        recipe = recipe_of(replace(CONFIG, **{key: 0.3}), 1, ())

        changed = [
            not np.array_equal(
                draw_sample(cache, 0, recipe, np.random.default_rng(seed)).image, cache.images[0]
            )
            for seed in range(600)
        ]

        # A partner may be the image itself, but for half of the draws it is the other.
        assert np.mean(changed) == pytest.approx(0.15, abs=0.04)


def test_only_images_with_damage_are_pasted_from() -> None:
    clean, damaged = sample_of(1, (0, IGNORED)), sample_of(2, (0, 1))
    cache = cache_of(clean, clean, clean, damaged)
    recipe = recipe_of(replace(CONFIG, copy_paste=1.0), 1, ())

    drawn = [draw_sample(cache, 0, recipe, np.random.default_rng(seed)) for seed in range(20)]

    assert cache.damaged.tolist() == [3]
    assert all((sample.labels == 1).any() for sample in drawn)
    of_clean = cache_of(clean, clean)
    assert np.array_equal(draw_sample(of_clean, 0, recipe, np.random.default_rng(0)).image, clean.image)


def test_mixing_leaves_the_images_own_augmentation_as_it_is() -> None:
    """The image is drawn first: where nothing is pasted it is what it is without mixing."""
    cache = cache_of(sample_of(1), sample_of(2))
    mixing = recipe_of(replace(CONFIG, augmentation="strong", cutmix=0.5, copy_paste=0.5), 1, ())
    plain = replace(mixing, cutmix=0.0, copy_paste=0.0)
    same = 0

    for seed in range(40):
        mixed, alone = (draw_sample(cache, 0, r, np.random.default_rng(seed)) for r in (mixing, plain))

        is_kept = (mixed.image == alone.image).all(axis=-1)
        same += bool(is_kept.all())
        assert np.array_equal(mixed.labels[is_kept], alone.labels[is_kept])
        assert np.array_equal(
            alone.image,
            augment(cache.sample(0), AUGMENTATIONS["strong"], np.random.default_rng(seed)).image,
        )
    assert 2 < same < 30


def test_a_drawn_sample_has_the_side_of_its_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODELS, "steps", NETS["two_layers"])
    cache = cache_of(sample_of(1), sample_of(2))
    growing = replace(CONFIG, model="steps", progressive=True, size=256, crop=128, epochs=3, cutmix=0.5)
    sides = [recipe_of(growing, epoch, ()) for epoch in (1, 2, 3)]
    small = replace(sides[0], side=32, crop=16)

    assert [(recipe.side, recipe.crop) for recipe in sides] == [(128, 64), (192, 96), (256, 128)]
    assert draw_sample(cache, 0, small, np.random.default_rng(0)).image.shape == (16, 16, 3)


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(UnknownChoice, match=r"There is no augmentation “wild”\. There are: none, flips"):
        recipe_of(replace(CONFIG, augmentation="wild"), 1, ())
