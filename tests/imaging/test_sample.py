"""The drawn panels of the sample project."""

import numpy as np
import pytest

from core.imaging.masks import measure, rasterise
from core.imaging.sample import CATEGORIES, draw_panel


def test_a_panel_depends_on_its_index_and_seed_only() -> None:
    first, again = draw_panel(3, 7), draw_panel(3, 7)

    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert first.regions == again.regions
    assert (first.rgb != draw_panel(4, 7).rgb).any()
    assert (first.rgb != draw_panel(3, 8).rgb).any()


def test_a_series_has_all_categories_and_some_clean_panels() -> None:
    panels = [draw_panel(index, 1, (320, 240)) for index in range(30)]

    counts = [len(panel.regions) for panel in panels]
    names = [name for panel in panels for name, _ in panel.regions]
    assert counts.count(0) == 3
    assert max(counts) <= 4
    assert all(names.count(category) >= 8 for category in CATEGORIES)


@pytest.mark.parametrize("size_wh", [(640, 480), (320, 240), (400, 700), (128, 128)])
def test_regions_are_large_enough_to_see_and_to_learn(size_wh: tuple[int, int]) -> None:
    for index in range(6):
        panel = draw_panel(index, 2, size_wh)
        size_hw = panel.rgb.shape[:2]

        assert size_hw == size_wh[::-1]
        for _, ops in panel.regions:
            share = measure(ops, size_hw).area / (size_hw[0] * size_hw[1])
            assert 0.002 < share < 0.15


def test_regions_look_different_from_the_paint_around_them() -> None:
    for index in range(6):
        panel = draw_panel(index, 5)
        grey = panel.rgb.astype(float).mean(axis=2)
        for name, ops in panel.regions:
            mask = rasterise(ops, grey.shape)
            x, y, width, height = measure(ops, grey.shape).bbox_xywh
            box = np.s_[y : y + height, x : x + width]

            inside, around = grey[box][mask[box]], grey[box][~mask[box]]

            assert abs(inside.mean() - around.mean()) + abs(inside.std() - around.std()) > 4, (index, name)
