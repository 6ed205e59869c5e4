"""An epoch's figures under the names that trackers group by: ``loss/train``, ``iou/val/dent``."""

from collections.abc import Mapping

from core.domain.runs import Epoch

PASSES = ("train", "val")


def figures(epoch: Epoch, category_names: Mapping[int, str]) -> dict[str, float]:
    """Name an epoch's figures: figure, then pass, then category; those that are not defined are left out.

    ``train_loss`` is ``loss/train``, ``val_iou/3`` is ``iou/val/<name of category 3>``, the duration of
    the training pass is ``seconds/train``.

    Args:
        category_names: by category_id, as they are to be shown.
    """
    named = {_name(key, category_names): value for key, value in epoch.metrics.items() if value is not None}
    return named | {f"seconds/{part}": seconds for part, seconds in epoch.durations.items()}


def _name(key: str, category_names: Mapping[int, str]) -> str:
    figure, _, category_id = key.partition("/")
    first, _, rest = figure.partition("_")
    name = f"{rest}/{first}" if first in PASSES and rest else figure
    if not category_id:
        return name
    return f"{name}/{category_names.get(int(category_id), category_id)}"
