"""What the values of masks mean, as a person writes it and as a page sends it."""

import pytest

from core.domain.errors import FormatError
from core.domain.mask_classes import Meaning, meanings_from_json, meanings_to_json, parse_meanings


def test_names_tell_the_roles_of_numbers_or_colours() -> None:
    numbers = parse_meanings("0=background, 1 = scratch,255=ignore")
    colors = parse_meanings("#000000=Background,#FF0000=dent")

    assert numbers == {
        "0": Meaning("background", "background"),
        "1": Meaning("scratch"),
        "255": Meaning("ignore", "ignore"),
    }
    assert {key: meaning.role for key, meaning in colors.items()} == {
        "#000000": "background",
        "#ff0000": "class",
    }
    assert meanings_from_json(meanings_to_json(numbers)) == numbers


@pytest.mark.parametrize("text", ["0=background,#ff0000=dent", "#ff0000=dent,0=background"])
def test_numbers_and_colours_are_not_mixed(text: str) -> None:
    parts = dict(part.split("=") for part in text.split(","))

    with pytest.raises(FormatError, match="either numbers or colours"):
        parse_meanings(text)
    with pytest.raises(FormatError, match="either numbers or colours"):
        meanings_from_json({key: {"name": name} for key, name in parts.items()})


@pytest.mark.parametrize("text", ["", " , ", "1", "1=", "=dent", "x=dent", "1234567890=dent", "#ff00=dent"])
def test_what_says_no_meaning_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="255=ignore"):
        parse_meanings(text)
