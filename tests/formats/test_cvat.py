"""CVAT's XML for images is read and written; hostile XML is refused before it is parsed."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from core.domain.errors import FormatError
from core.domain.labels import PolygonOp
from core.formats import cvat
from core.formats.source import SourceDataset
from core.imaging.masks import rasterise
from tests.formats.builders import photo, put
from tests.formats.drawn import SIZE_HW, areas, check_replacing, damage, files_in, labelled, masks_of

POINTS = "5.00,5.00;15.00,5.00;15.00,15.00;5.00,15.00"
POLYGON = f'<polygon label="dent" source="manual" occluded="0" points="{POINTS}" z_order="0"></polygon>'


def document(*images: str, labels: tuple[str, ...] = ("dent", "rust")) -> str:
    """A file as CVAT 2 exports it."""
    listed = "".join(f"<label><name>{n}</name><color>#fa3253</color><type>any</type></label>" for n in labels)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><job><id>1</id>'
        f"<labels>{listed}</labels></job></meta>\n{''.join(images)}</annotations>\n"
    )


def image(*shapes: str, name: str = "a.jpg", size: str = 'width="40" height="30"', more: str = "") -> str:
    return f'<image id="0" name="{name}" {size} {more}>{"".join(shapes)}</image>'


def one_photo(folder: Path, *shapes: str) -> Path:
    put(folder / "images/a.jpg", photo())
    put(folder / "annotations.xml", document(image(*shapes)))
    return folder


def mask_xml(rle: str, left: int, top: int, width: int, height: int, label: str = "dent") -> str:
    place = f'left="{left}" top="{top}" width="{width}" height="{height}"'
    return f'<mask label="{label}" source="semi-auto" occluded="0" rle="{rle}" {place} z_order="0"></mask>'


def test_polygons_stay_polygons_and_the_rest_becomes_masks_in_painting_order(tmp_path: Path) -> None:
    cvat.write_dataset(damage(with_splits=True), tmp_path)

    root = ET.parse(tmp_path / "train/annotations.xml").getroot()
    (entry,) = root.findall("image")
    assert entry.attrib == {"id": "0", "name": "1.jpg", "width": "40", "height": "30"}
    assert [(s.tag, s.get("label"), s.get("z_order")) for s in entry] == [
        ("mask", "dent", "0"),
        ("mask", "Kratzer & Riß", "1"),
        ("polygon", "dent", "2"),
    ]
    hole = entry[0]
    assert [hole.get(key) for key in ("left", "top", "width", "height")] == ["5", "5", "10", "10"]
    # Three full rows, then four with a hole of four pixels, then three full rows; background comes first.
    assert hole.get("rle") == "0, 33, 4, 6, 4, 6, 4, 6, 4, 33"
    undamaged = ET.parse(tmp_path / "valid/annotations.xml").getroot().findall("image/tag")
    assert [tag.get("label") for tag in undamaged] == ["no damage"]
    assert "train/images/1.jpg" in files_in(tmp_path)


def test_published_shapes_become_regions(folder: Path) -> None:
    one_photo(
        folder,
        POLYGON,
        '<box label="rust" source="manual" occluded="0" xtl="5.00" ytl="5.00" xbr="15.00" ybr="9.00"></box>',
        '<box label="rust" xtl="5" ytl="5" xbr="15" ybr="9" rotation="90.0" z_order="0"/>',
        '<ellipse label="dent" cx="20.00" cy="15.00" rx="12.00" ry="6.00" z_order="0"/>',
    )

    (read,) = cvat.read(folder).images

    assert cvat.detect(folder)
    assert areas(read)[:3] == [("dent", 100), ("rust", 40), ("rust", 40)]
    assert np.argwhere(masks_of(read)[2][1]).min(axis=0).tolist() == [2, 8]
    rows, columns = np.mgrid[:30, :40] + 0.5
    distance = ((columns - 20) / 12) ** 2 + ((rows - 15) / 6) ** 2
    ellipse = masks_of(read)[3][1]
    assert ellipse[distance < 0.9].all()
    assert not ellipse[distance > 1.1].any()


def test_the_documentation_s_mask_is_a_disc(folder: Path) -> None:
    rle = "3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3"
    one_photo(folder, mask_xml(rle, 7, 8, 13, 15))

    (read,) = cvat.read(folder).images

    mask = masks_of(read)[0][1][8:23, 7:20]
    runs = [int(value) for value in rle.split(",")]
    assert mask.sum() == sum(runs[1::2]) == masks_of(read)[0][1].sum()
    assert mask[0].tolist() == [False] * 3 + [True] * 5 + [False] * 5
    assert mask[8].all()
    assert [int(row.sum()) for row in mask[:3]] == [5, 7, 9]


def test_masks_are_rows_within_their_box_and_what_leaves_the_photo_is_clipped(folder: Path) -> None:
    one_photo(folder, mask_xml("1, 2, 2, 1", 2, 3, 3, 2), mask_xml("0,100", 35, 25, 10, 10))

    (read,) = cvat.read(folder).images

    first, second = (mask for _, mask in masks_of(read))
    assert np.argwhere(first).tolist() == [[3, 3], [3, 4], [4, 4]]
    assert second[25:, 35:].all()
    assert second.sum() == 25


def test_z_order_is_the_painting_order(folder: Path) -> None:
    low, high = (POLYGON.replace("dent", name) for name in ("rust", "dent"))
    one_photo(folder, high.replace('z_order="0"', 'z_order="5"'), low, low.replace("rust", "hail"))

    (read,) = cvat.read(folder).images

    assert [annotation.category for annotation in read.annotations] == ["rust", "hail", "dent"]


def test_labels_are_categories_but_not_those_of_points_and_tags(folder: Path) -> None:
    put(folder / "a.jpg", photo())
    text = document(image(POLYGON)).replace(
        "</labels>", "<label><name>wheel</name><type>points</type></label></labels>"
    )
    put(folder / "a.xml", text)

    assert [category.name for category in cvat.read(folder).categories] == ["dent", "rust"]


def test_a_photo_without_shapes_is_unlabelled_unless_it_is_tagged(folder: Path) -> None:
    for number, name in enumerate("abc"):
        put(folder / f"{name}.jpg", photo(number))
    images = [
        image(POLYGON, '<tag label="good_frame" source="manual"></tag>'),
        image(name="b.jpg"),
        image('<tag label="No damage" source="manual"/>', name="c.jpg"),
    ]
    put(folder / "a.xml", document(*images))

    dataset = cvat.read(folder)

    assert [read.is_labelled for read in dataset.images] == [True, False, True]
    assert dataset.notes == (
        "1 photos in a.xml came without labels; tag those without damage “no damage”.",
        "1 photos in a.xml have tags, which were not taken.",
    )


def test_the_subset_is_the_split_and_names_may_have_folders(folder: Path) -> None:
    put(folder / "images/Validation/car 1/a.jpg", photo())
    put(folder / "a.xml", document(image(POLYGON, name="car 1/a.jpg", more='subset="Validation"')))

    (read,) = cvat.read(folder).images

    assert (read.name, read.split) == ("images/Validation/car 1/a.jpg", "valid")


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ('<polygon label="dent" points="1,1;2,2" z_order="0"/>', "2 points"),
        ('<polygon label="dent" points="1,1;2,2;3" z_order="0"/>', "not a pair"),
        ('<polygon label="dent" points="1,1;2,2;nan,3"/>', "not a number"),
        ('<polygon label="dent" points="1,1;2,2;1e999,3"/>', "not a number"),
        ('<polygon label="dent" points=""/>', "not a number"),
        ('<polygon label="dent"/>', "not a number"),
        ('<polygon points="1,1;9,1;9,9"/>', "needs a name"),
        ('<box label="dent" xtl="1" ytl="1" xbr="x" ybr="2"/>', "not a number"),
        ('<box label="dent" xtl="1" ytl="1" ybr="2"/>', "not a number"),
        ('<ellipse label="dent" cx="1" cy="1" rx="0" ry="2"/>', "radii"),
        ('<polyline label="dent" points="1,1;9,1;9,9"/>', "no area"),
        ('<points label="dent" points="1,1"/>', "no area"),
        ('<skeleton label="dent"/>', "no area"),
        (mask_xml("1, 9", 0, 0, 3, 3), "does not add up to 3 x 3"),
        (mask_xml("-1, 9", 0, 0, 3, 3), "does not add up"),
        (mask_xml("99999999999999999999", 0, 0, 3, 3), "no list of whole numbers"),
        (mask_xml("9223372036854775807, 9223372036854775807", 0, 0, 3, 3), "does not add up"),
        (mask_xml("1, x", 0, 0, 3, 3), "no list of whole numbers"),
        (mask_xml("", 0, 0, 3, 3), "no list of whole numbers"),
        (mask_xml("0, 1", 0, 0, 900_000, 900_000), "cannot be"),
        (mask_xml("0, 1", 0, 0, 0, 5), "cannot be"),
    ],
)
def test_a_bad_shape_is_refused_alone(folder: Path, bad: str, fault: str) -> None:
    one_photo(folder, POLYGON, bad)

    dataset = cvat.read(folder)

    assert areas(dataset.images[0]) == [("dent", 100)]
    assert [r.file for r in dataset.refused] == ["images/a.jpg"]
    assert dataset.refused[0].reason.startswith("Shape 2: ")
    assert fault in dataset.refused[0].reason


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (image(POLYGON, name="gone.jpg"), "not there"),
        (image(POLYGON, name="../../etc/passwd"), "not there"),
        (image(POLYGON), "has it already"),
        (image(POLYGON, name="b.jpg", size='width="x" height="30"'), "not a number"),
        (image(POLYGON, name="b.jpg", size='width="0" height="30"'), "no width and height"),
        (image(POLYGON, name="b.jpg", size='width="99999" height="99999"'), "larger than any photo"),
    ],
)
def test_a_bad_image_is_refused_alone(folder: Path, entry: str, fault: str) -> None:
    put(folder / "a.jpg", photo())
    put(folder / "b.jpg", photo(1))
    put(folder / "a.xml", document(image(POLYGON), entry))

    dataset = cvat.read(folder)

    assert [read.name for read in dataset.images] == ["a.jpg"]
    assert len(dataset.refused) == 1
    assert fault in dataset.refused[0].reason


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
BOMB = (
    f'<!DOCTYPE annotations [<!ENTITY l0 "ha">{LAUGHS}]><annotations><version>&l11;</version></annotations>'
)
THIEF = (
    '<!DOCTYPE annotations [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    "<annotations><version>&x;</version></annotations>"
)


@pytest.mark.parametrize("content", [BOMB.encode(), BOMB.encode("utf-16"), THIEF.encode()])
def test_xml_that_declares_entities_is_refused(folder: Path, content: bytes) -> None:
    put(folder / "a.jpg", photo())
    put(folder / "bomb.xml", content)

    with pytest.raises(FormatError, match=r"bomb.xml: .* \(DOCTYPE\)"):
        cvat.read(folder)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"<annotations><version>1.1</version>", "no valid XML"),
        (b"", "no valid XML"),
        (b"\xff\xfe\xff", "no valid XML"),
        (b'<?xml version="1.0" encoding="klingon"?><annotations/>', "no valid XML"),
        (b"<annotation><folder>VOC2012</folder></annotation>", "begins with <annotation>"),
        (b"<annotations><version>1.1</version></annotations>", "it has no <image>"),
        (b"<annotations><version>1.1</version><track/></annotations>", "for videos"),
    ],
)
def test_another_file_is_named_with_its_fault(folder: Path, content: bytes, fault: str) -> None:
    put(folder / "a.xml", content)

    with pytest.raises(FormatError, match=r"^a.xml: .*" + fault):
        cvat.read(folder)


def test_pascal_voc_s_xml_is_no_cvat_and_nothing_is_said(folder: Path) -> None:
    put(folder / "a.jpg", photo())
    put(folder / "a.xml", "<annotation><object><name>dent</name></object></annotation>")

    assert not cvat.detect(folder)
    (folder / "a.xml").unlink()
    with pytest.raises(FormatError, match="There is no XML"):
        cvat.read(folder)


def test_a_polygon_that_rounding_would_change_becomes_a_mask(tmp_path: Path) -> None:
    # The rasteriser's grid is a fifth of a pixel; the left side lies just before one of its steps.
    drawn, rounded = (PolygonOp(((x, 5), (15, 5), (15, 15), (x, 15))) for x in (5.49999, 5.5))
    mask = rasterise([drawn], SIZE_HW)
    assert not np.array_equal(mask, rasterise([rounded], SIZE_HW))
    source = SourceDataset(damage().categories, (labelled("a.jpg", 1, ("dent", (drawn,))),))

    cvat.write_dataset(source, tmp_path)

    assert len(ET.parse(tmp_path / "annotations.xml").getroot().findall("image/mask")) == 1
    assert np.array_equal(masks_of(cvat.read(tmp_path).images[0])[0][1], mask)


def test_an_export_replaces_an_earlier_one_but_no_labels_from_elsewhere(tmp_path: Path) -> None:
    check_replacing(cvat.write_dataset, tmp_path, "annotations.xml", document(image(POLYGON)))
