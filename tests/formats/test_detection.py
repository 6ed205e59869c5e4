"""What a source is taken for, what is said about it, and what has to be asked."""

from pathlib import Path

import numpy as np
import pytest

from core.domain.errors import FormatError, UnknownChoice
from core.domain.images import ImageFilter
from core.domain.mask_classes import parse_meanings
from core.formats import masks
from core.formats.export import writes
from core.formats.ingest import ImportReport, import_path
from core.formats.looking import Question, Wanted, take
from core.formats.registry import FORMATS, seen_in
from core.imaging.masks import encode_rle, rasterise
from core.storage import annotations, images, projects
from core.storage.store import Store
from tests.formats.builders import (
    SQUARE,
    annotation,
    coco,
    image_record,
    mask_png,
    one_image_coco,
    photo,
    put,
)
from tests.formats.test_index_masks import TWO, put_pair
from tests.formats.test_npz import MASKS, PHOTOS, packed


def sentences(folder: Path) -> list[str]:
    return [seen.sentence for seen in seen_in(folder)]


def test_a_sentence_says_what_was_seen(folder: Path) -> None:
    one_image_coco(folder, SQUARE)

    assert sentences(folder) == ["COCO json (Roboflow and others): 1 file, 1 photo, 1 class."]


def test_every_format_says_what_it_saw(folder: Path) -> None:
    put_pair(folder / "1", mask_png(TWO))
    put(folder / "2/a.npz", packed(images=PHOTOS, masks=MASKS))
    put(folder / "3/images/a.jpg", photo())
    put(folder / "3/masks/a_dent.png", mask_png([(1, 1)]))
    put(folder / "4/a.jpg", photo())
    put(folder / "4/notes.docx", "x")

    said = ["".join(sentences(folder / str(number))).rpartition("): ")[2] for number in range(1, 4)]

    assert said == [
        "1 photo, 1 mask whose numbers are classes.",
        "1 file, 2 photos with masks.",
        "1 photo, 1 mask picture.",
    ]
    assert sentences(folder / "4") == [
        "Photos without labels: 1 photo; no format of labels was recognised in the other files (.docx)."
    ]


def test_photos_alone_are_no_second_reading_of_labelled_ones(folder: Path) -> None:
    one_image_coco(folder, SQUARE)

    assert FORMATS["photos"].detect(folder)
    assert [seen.format for seen in seen_in(folder)] == ["coco"]


def test_two_formats_in_one_source_are_both_named_and_neither_is_taken(
    store: Store, project_id: str, folder: Path
) -> None:
    put(folder / "images/a.jpg", photo())
    put(folder / "masks/a_dent.png", mask_png([(1, 1)]))
    put(folder / "coco.json", coco([image_record(1, "images/a.jpg")], [annotation(1, 1, [SQUARE])]))

    asked = take(store, project_id, folder, Wanted())

    assert isinstance(asked, Question)
    assert [possible.seen.format for possible in asked.possible] == ["coco", "masks"]
    assert "may be read in 2 ways; name the format. coco: COCO json" in asked.sentence()
    with pytest.raises(FormatError, match="may be read in 2 ways"):
        import_path(store, project_id, folder)
    report = take(store, project_id, folder, Wanted("masks"))
    assert isinstance(report, ImportReport) and report.categories == ("dent",)


def test_pictures_that_cannot_be_masks_do_not_stand_in_the_way_of_labels(
    store: Store, project_id: str, folder: Path
) -> None:
    put(folder / "images/a.jpg", photo(size_wh=(64, 64)))
    put(folder / "labels/a.jpg", photo(1, size_wh=(64, 64)))  # the labels drawn over the photo, say
    with pytest.raises(FormatError, match="look like photos"):
        seen_in(folder)
    put(folder / "coco.json", coco([image_record(1, "images/a.jpg", (64, 64))], [annotation(1, 1, [SQUARE])]))

    report = take(store, project_id, folder, Wanted())

    assert isinstance(report, ImportReport) and report.images["unsplit"] == 1


def test_two_photos_with_names_that_are_alike_are_no_photo_and_mask(folder: Path) -> None:
    put(folder / "door.jpg", photo(size_wh=(64, 64)))
    put(folder / "door_l.jpg", photo(1, size_wh=(64, 64)))

    assert [seen.format for seen in seen_in(folder)] == ["photos"]

    put(folder / "door_l.jpg", mask_png(TWO))
    assert [seen.format for seen in seen_in(folder)] == ["index_masks"]


def test_nothing_that_fits_says_what_there_is_instead(folder: Path) -> None:
    put(folder / "labels.xlsx", "x")
    put(folder / "more.xlsx", "x")

    with pytest.raises(FormatError, match=r"Looked for: COCO.*There are only these files: 2 \.xlsx\."):
        seen_in(folder)


def test_masks_without_names_are_asked_about_and_taken_with_the_answer(
    store: Store, project_id: str, folder: Path
) -> None:
    put_pair(folder, mask_png(TWO))

    asked = take(store, project_id, folder, Wanted())

    assert isinstance(asked, Question)
    assert projects.get(store, project_id).categories == ()
    (possible,) = asked.to_json()["possible"]
    assert [(v["key"], v["role"], round(v["share"], 2), v["images"]) for v in possible["values"]] == [
        ("0", "background", 0.91, 1),
        ("1", "class", 0.06, 1),
        ("2", "class", 0.03, 1),
    ]

    wanted = Wanted("index_masks", parse_meanings("0=background,1=dent,2=rust"))
    report = take(store, project_id, folder, wanted)

    assert isinstance(report, ImportReport)
    assert report.annotations["unsplit"] == 3
    assert [c.name for c in projects.get(store, project_id).categories] == ["dent", "rust"]


def test_named_masks_are_taken_at_once_and_in_their_colours(
    store: Store, project_id: str, folder: Path
) -> None:
    put_pair(folder, mask_png(TWO))
    rows = "0,background,background,\n1,dent,class,#56B4E9\n2,rust,class,#E69F00\n"
    put(folder / "classes.csv", "value,name,role,color\n" + rows)

    report = take(store, project_id, folder, Wanted())

    assert isinstance(report, ImportReport)
    assert report.notes[0].startswith("Recognised: Class masks beside photos")
    colors = {c.name: c.color for c in projects.get(store, project_id).categories}
    assert colors == {"dent": "#56B4E9", "rust": "#E69F00"}


def test_a_class_that_was_there_keeps_its_colour(store: Store, project_id: str, folder: Path) -> None:
    with store.write() as connection:
        before = projects.add_category(connection, project_id, "dent")
    put_pair(folder, mask_png(TWO))
    put(
        folder / "classes.csv",
        "value,name,role,color\n0,background,background,\n1,dent,class,#010203\n2,rust,class,\n",
    )

    take(store, project_id, folder, Wanted())

    assert projects.get(store, project_id).categories[0] == before


def test_a_format_that_does_not_exist_is_refused(store: Store, project_id: str, folder: Path) -> None:
    put(folder / "a.jpg", photo())

    with pytest.raises(UnknownChoice, match="There is no format “yolo9”"):
        take(store, project_id, folder, Wanted("yolo9"))


def test_meanings_beside_labels_that_have_names_are_refused(
    store: Store, project_id: str, folder: Path
) -> None:
    one_image_coco(folder, SQUARE)
    meanings = parse_meanings("0=background,1=crack")

    with pytest.raises(FormatError, match=r"COCO json .* tells its classes itself"):
        take(store, project_id, folder, Wanted("coco", meanings))
    with pytest.raises(FormatError, match="no masks for them"):
        take(store, project_id, folder, Wanted(meanings=meanings))


def test_public_sets_of_masks_are_recognised(shared_data: Path) -> None:
    assert sentences(shared_data / "crack_forest") == [
        "Mask pictures beside photos (Label Studio and others): 118 photos, 118 mask pictures."
    ]
    assert [seen.format for seen in seen_in(shared_data / "mars_rock_samples")] == ["masks"]
    assert [seen.format for seen in seen_in(shared_data / "seed_custom")] == ["masks"]


def test_meanings_that_are_given_make_classes_of_zeros_and_ones(
    store: Store, project_id: str, shared_data: Path
) -> None:
    wanted = Wanted(meanings=parse_meanings("0=background,1=crack"))

    report = take(store, project_id, shared_data / "crack_forest", wanted)

    assert isinstance(report, ImportReport)
    assert (report.images["unsplit"], report.refused, report.categories) == (118, (), ("crack",))


def test_rocks_are_named_by_their_colour(store: Store, project_id: str, shared_data: Path) -> None:
    values = FORMATS["index_masks"].numbered
    assert values is not None
    found = values.find(shared_data / "mars_rock_samples")
    keys = [value.key for value in found]
    assert keys == ["#000000", "#ffff00"]
    assert np.isclose(sum(value.share for value in found), 1)

    wanted = Wanted("index_masks", parse_meanings("#000000=background,#ffff00=rock"))
    report = take(store, project_id, shared_data / "mars_rock_samples", wanted)

    assert isinstance(report, ImportReport)
    assert (report.images["unsplit"], report.refused) == (4, ())


def test_label_studio_s_masks_survive_a_round_trip(
    store: Store, project_id: str, shared_data: Path, tmp_path: Path
) -> None:
    import_path(store, project_id, shared_data / "seed_custom")
    other = projects.create(store, "copy").id

    writes(masks.write_dataset)(store, project_id, tmp_path / "out")
    report = import_path(store, other, tmp_path / "out")

    assert report.refused == ()
    assert codes(store, other) == codes(store, project_id)
    assert sum(map(len, codes(store, other).values())) == 8


def codes(store: Store, project_id: str) -> dict[str, list[str]]:
    """Give the run-length codes of each photo's masks, by the photo's content."""
    return {
        image.sha256: [
            encode_rle(rasterise(a.ops, (image.size_wh[1], image.size_wh[0])))
            for a in annotations.current(store, image.id).annotations
        ]
        for image in images.list_page(store, project_id, ImageFilter())
    }
