"""What a trained network says about itself; checkpoints and exports carry it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.domain.errors import FormatError
from core.domain.labels import Category
from core.models.preprocessing import Preprocessing, preprocessing_from_json, preprocessing_to_json

CARD_KEY = "maskwright"  # the entry of an ONNX file's metadata that holds the card as JSON


@dataclass(frozen=True)
class ModelCard:
    """All that is needed to use a network's logits.

    Channel 0 is background, channel i is ``categories[i - 1]``. ``run`` is free for the program
    that trained it (run id, epoch, metrics, versions): plain JSON values.
    """

    categories: tuple[Category, ...]
    preprocessing: Preprocessing
    run: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def num_classes(self) -> int:
        """Channels of the logits, background included."""
        return len(self.categories) + 1


def card_to_json(card: ModelCard) -> dict[str, Any]:
    """Give the JSON form: ``{categories: [{category_id, name, color}], preprocessing, run}``."""
    return {
        "categories": [
            {"category_id": c.category_id, "name": c.name, "color": c.color} for c in card.categories
        ],
        "preprocessing": preprocessing_to_json(card.preprocessing),
        "run": dict(card.run),
    }


def card_from_json(value: Mapping[str, Any]) -> ModelCard:
    """Read the JSON form.

    Raises:
        FormatError: a key is missing, of a wrong type, or out of its range.
    """
    try:
        categories = tuple(
            Category(int(c["category_id"]), str(c["name"]), str(c["color"])) for c in value["categories"]
        )
        return ModelCard(categories, preprocessing_from_json(value["preprocessing"]), dict(value["run"]))
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"The model's description cannot be read: {error!r}.") from error
