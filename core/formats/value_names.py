"""What the values of well-known mask sets mean, and the files in which mask sets say so themselves."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from core.domain.errors import FormatError
from core.domain.mask_classes import ROLES, FoundValue, Meaning, Role, role_of
from core.formats.source import shown

CLASS_FILES = ("label_colors.txt", "labelmap.txt", "class_dict.csv", "_classes.csv", "classes.csv")
MAX_LIST_BYTES = 1_000_000
VOID = "void"

# Source: Everingham et al., The PASCAL Visual Object Classes Challenge 2012 Development Kit, 1.3.
VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
# Source: CARLA 0.8 documentation, "Semantic segmentation", as in Udacity's and Lyft's challenge.
CARLA_CLASSES = (
    *("none", "buildings", "fences", "other", "pedestrians", "poles", "road lines", "roads", "sidewalks"),
    *("vegetation", "vehicles", "walls", "traffic signs"),
)
# Source: cityscapesScripts, helpers/labels.py; the first four are left out of its own evaluation.
CITYSCAPES_CLASSES = (
    *("unlabelled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground"),
    *("road", "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge"),
    *("tunnel", "pole", "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky"),
    *("person", "rider", "car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
)
CITYSCAPES_IGNORED = 4


@dataclass(frozen=True)
class ValueNames:
    """Meanings by number and by colour, as a file or a layout tells them."""

    by_number: Mapping[int, Meaning] = field(default_factory=dict[int, Meaning])
    by_color: Mapping[str, Meaning] = field(default_factory=dict[str, Meaning])

    def meaning(self, key: str, palette: Sequence[str]) -> Meaning | None:
        """Give what a value means: by its number, or by its colour in a palette."""
        if key.startswith("#"):
            return self.by_color.get(key)
        number = int(key)
        if number in self.by_number:
            return self.by_number[number]
        return self.by_color.get(palette[number]) if number < len(palette) else None


def voc_names() -> ValueNames:
    """Give Pascal VOC's twenty classes; 255 rims the objects and counts nowhere."""
    return _numbered(VOC_CLASSES, first=1, more={0: _meaning("background"), 255: _meaning(VOID)})


def carla_names() -> ValueNames:
    """Give the classes of the Lyft and Udacity road set."""
    return _numbered(CARLA_CLASSES)


def cityscapes_names() -> ValueNames:
    """Give Cityscapes' label ids; what it calls void counts nowhere."""
    void = dict.fromkeys((*range(CITYSCAPES_IGNORED), 255), Meaning(VOID, "ignore"))
    return _numbered(CITYSCAPES_CLASSES, more=void)


def names_in(folder: Path, files: Iterable[PurePosixPath]) -> ValueNames:
    """Read the class lists that lie among a source's files; the one nearest to the top counts."""
    lists = [path for path in files if path.name.casefold() in CLASS_FILES]
    for path in sorted(lists, key=lambda path: (len(path.parts), path)):
        names = _read_list(folder / path)
        if names.by_number or names.by_color:
            return names
    return ValueNames()


def guessed(key: str) -> Meaning:
    """Give what a value without a name is taken for until a person says so."""
    if key in ("0", "#000000"):
        return Meaning("background", "background")
    if key == "255":
        return Meaning(VOID, "ignore")
    return Meaning(f"class {key}", "class", key if key.startswith("#") else "")


def require_known(values: Sequence[FoundValue]) -> dict[str, Meaning]:
    """Give the meanings of values all of which are known.

    Raises:
        FormatError: one is not; the sentence says how to name them.
    """
    if all(value.is_known for value in values):
        return {value.key: value.meaning for value in values}
    raise FormatError(unnamed_sentence(values))


def unnamed_sentence(values: Sequence[FoundValue]) -> str:
    """Say which values masks hold, and how to name them on the command line."""
    told = ", ".join(f"{value.key} ({value.share:.1%})" for value in values[:20])
    example = ",".join(f"{v.key}={v.meaning.name.replace('class ', 'NAME')}" for v in values[:4])
    return (
        f"The masks hold these values without names: {told} of the pixels. "
        f"Say what they are, like --classes {example}, with ignore for what counts nowhere."
    )


def write_list(meanings: Mapping[str, Meaning]) -> bytes:
    """Give a ``classes.csv``, which ``names_in`` reads back."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("value", "name", "role", "color"))
    writer.writerows((key, meaning.name, meaning.role, meaning.color) for key, meaning in meanings.items())
    return text.getvalue().encode()


def _numbered(
    names: Sequence[str], *, first: int = 0, more: Mapping[int, Meaning] | None = None
) -> ValueNames:
    listed = {number: _meaning(name) for number, name in enumerate(names, start=first)}
    return ValueNames({**listed, **(more or {})})


def _meaning(name: str, color: str = "") -> Meaning:
    return Meaning(shown(name.strip())[:80], role_of(name), color)


def _read_list(path: Path) -> ValueNames:
    """Read a class list; one that cannot be read names nothing, so that a person is asked."""
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            return ValueNames()
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        return _from_csv(text) if path.suffix.lower() == ".csv" else _from_text(text)
    except (OSError, FormatError, csv.Error):
        return ValueNames()


def _from_text(text: str) -> ValueNames:
    """Read lines ``R G B name`` (CamVid) or ``name:r,g,b:parts:actions`` (CVAT's labelmap.txt)."""
    by_color: dict[str, Meaning] = {}
    for line in text.splitlines():
        camvid = re.fullmatch(r"\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\S.*)", line)
        cvat = re.fullmatch(r"([^#:][^:]*):\s*(\d{1,3}),\s*(\d{1,3}),\s*(\d{1,3})\s*:.*", line)
        if camvid:
            _put(by_color, camvid.groups()[:3], camvid[4])
        elif cvat:
            _put(by_color, cvat.groups()[1:4], cvat[1])
    return ValueNames(by_color=by_color)


def _from_csv(text: str) -> ValueNames:
    """Read a table with names by value, or by red, green and blue; ours has roles and colours as well."""
    by_number: dict[int, Meaning] = {}
    by_color: dict[str, Meaning] = {}
    for raw in csv.DictReader(io.StringIO(text)):
        row = {str(k).strip().casefold(): str(v).strip() for k, v in raw.items() if k is not None}
        name = row.get("name") or row.get("class") or ""
        value = row.get("value") or row.get("pixel value") or ""
        if not name:
            continue
        if value.startswith("#"):
            by_color[value.casefold()] = _listed(name, row)
        elif value.isdecimal() and len(value) < 10:
            by_number[int(value)] = _listed(name, row)
        elif all(channel in row for channel in ("r", "g", "b")):
            _put(by_color, (row["r"], row["g"], row["b"]), name)
    return ValueNames(by_number, by_color)


def _listed(name: str, row: Mapping[str, str]) -> Meaning:
    told: dict[str, Role] = {role: role for role in ROLES}
    role = told.get(row.get("role", ""), role_of(name))
    return Meaning(shown(name)[:80], role, row.get("color", ""))


def _put(by_color: dict[str, Meaning], channels: Sequence[str | None], name: str) -> None:
    numbers = [int(channel) for channel in channels if channel and channel.isdecimal()]
    if len(numbers) == 3 and max(numbers) < 256:
        color = "#{:02x}{:02x}{:02x}".format(*numbers)
        by_color[color] = _meaning(name, "" if role_of(name) != "class" else color)
