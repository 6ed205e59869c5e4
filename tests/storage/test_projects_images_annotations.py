"""Projects, their categories and images, and the labels on them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.domain.errors import AppError, Conflict, FormatError, NotFound
from core.domain.images import ImageFilter, ImageOrder, Project
from core.domain.labels import (
    FINISHED,
    Annotation,
    BrushOp,
    Category,
    ImageState,
    PolygonOp,
    RleOp,
    Source,
    Split,
)
from core.domain.training import VersionItem
from core.imaging.reading import PreparedPhoto
from core.storage import annotations, images, projects, versions
from core.storage.store import Store, new_id

PHOTO = PreparedPhoto(
    size_wh=(40, 30), media_type="image/png", phash="0" * 16, full=None, view=b"view", thumbnail=b"thumbnail"
)
TRIANGLE = PolygonOp(((1.0, 1.0), (20.0, 1.0), (1.0, 20.0)))


@pytest.fixture
def project(store: Store) -> Project:
    created = projects.create(store, "Cars")
    with store.write() as connection:
        for name in ("dent", "scratch"):
            projects.add_category(connection, created.id, name)
    return projects.get(store, created.id)


def add_image(store: Store, project: Project, sha256: str, split: Split | None = None, name: str = "") -> str:
    with store.write() as connection:
        return images.add(connection, project.id, sha256, PHOTO, name=name or f"{sha256}.png", split=split)


def triangle(category_id: int = 1, annotation_id: str = "a", source: Source = Source.DRAWN) -> Annotation:
    return Annotation(annotation_id, category_id, (TRIANGLE,), source)


def test_a_project_is_found_by_its_id_and_its_name(store: Store, project: Project) -> None:
    assert projects.get(store, project.id) == project
    assert projects.by_name(store, " Cars ") == project
    assert projects.list_all(store) == [project]
    assert [c.name for c in project.categories] == ["dent", "scratch"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "Cars"])
def test_a_project_needs_a_name_of_its_own(store: Store, project: Project, name: str) -> None:
    with pytest.raises(AppError):
        projects.create(store, name)

    assert projects.list_all(store) == [project]


def test_an_unknown_name_is_answered_with_those_there_are(store: Store, project: Project) -> None:
    with pytest.raises(NotFound, match="There are: Cars"):
        projects.by_name(store, "Bikes")


def test_a_category_is_made_once_whatever_its_letter_case(store: Store, project: Project) -> None:
    with store.write() as connection:
        again = projects.add_category(connection, project.id, " DENT ")

    assert again == project.categories[0]
    assert projects.get(store, project.id) == project


def test_a_category_keeps_the_id_it_comes_with_where_that_is_free(store: Store, project: Project) -> None:
    with store.write() as connection:
        rust = projects.add_category(connection, project.id, "rust", wanted_id=7)
        glass = projects.add_category(connection, project.id, "glass", wanted_id=1)

    assert (rust.category_id, glass.category_id) == (7, 8)


def test_a_category_is_renamed_and_keeps_its_id(store: Store, project: Project) -> None:
    projects.change_category(store, project.id, Category(1, "bump", "#123456"))

    assert projects.get(store, project.id).category(1) == Category(1, "bump", "#123456")


def test_a_category_cannot_take_another_ones_name(store: Store, project: Project) -> None:
    with pytest.raises(AppError, match="already a class"):
        projects.change_category(store, project.id, Category(1, "Scratch", "#123456"))

    assert projects.get(store, project.id) == project


def test_an_image_is_read_back_as_it_was_added(store: Store, project: Project) -> None:
    image_id = add_image(store, project, "aa", "valid", "left door.png")

    image = images.get(store, image_id)
    assert (image.sha256, image.size_wh, image.split, image.name) == (
        "aa",
        (40, 30),
        "valid",
        "left door.png",
    )
    assert (image.state, image.rev, image.is_labelled) == (ImageState.UNLABELLED, 0, False)
    assert images.by_sha256(store, project.id, ["aa", "zz"]) == {"aa": image}


def test_images_are_filtered_paged_and_counted(store: Store, project: Project) -> None:
    ids = [add_image(store, project, f"{n:02d}", "train" if n < 3 else None) for n in range(5)]
    annotations.save(store, ids[1], [triangle(2)], base_rev=0, state=ImageState.DONE)

    def found(**wanted: object) -> list[str]:
        wanted_images = ImageFilter(**wanted)  # pyright: ignore[reportArgumentType]
        listed = [image.id for image in images.list_page(store, project.id, wanted_images)]
        assert images.count(store, project.id, wanted_images) == len(listed)
        return listed

    assert found() == ids
    assert found(split="train") == ids[:3]
    assert found(split="unsplit") == ids[3:]
    assert found(state=ImageState.DONE) == [ids[1]]
    assert found(category_id=2) == [ids[1]]
    assert found(category_id=1) == []
    assert found(name_contains="03.P") == [ids[3]]
    assert found(name_contains="%") == []
    page = images.list_page(store, project.id, ImageFilter(), offset=1, limit=2)
    assert [image.id for image in page] == ids[1:3]


def test_a_category_id_is_not_taken_for_a_longer_one(store: Store, project: Project) -> None:
    with store.write() as connection:
        projects.add_category(connection, project.id, "rust", wanted_id=12)
    image_id = add_image(store, project, "aa")
    annotations.save(store, image_id, [triangle(12)], base_rev=0, state=ImageState.DONE)

    assert images.count(store, project.id, ImageFilter(category_id=2)) == 0
    assert images.count(store, project.id, ImageFilter(category_id=12)) == 1


def test_images_are_found_by_who_saved_them_and_by_what_is_on_them(store: Store, project: Project) -> None:
    ids = [add_image(store, project, f"{n}") for n in range(4)]
    guess = triangle(2, "guess", Source.SUGGESTED)
    annotations.save(store, ids[0], [triangle()], base_rev=0, state=ImageState.APPROVED, author="Ana")
    annotations.save(store, ids[1], [], base_rev=0, state=ImageState.DONE, author="Ana")
    annotations.save(store, ids[1], [], base_rev=1, state=ImageState.DONE, author="Bob")
    annotations.save(store, ids[2], [guess], base_rev=0, state=ImageState.UNLABELLED)

    def found(images_wanted: ImageFilter) -> list[str]:
        return [image.id for image in images.list_page(store, project.id, images_wanted)]

    assert found(ImageFilter(state=FINISHED)) == ids[:2]
    assert found(ImageFilter(state=FINISHED, has_annotations=False)) == [ids[1]]
    assert found(ImageFilter(author="Ana")) == [ids[0]]
    assert found(ImageFilter(author="")) == ids[2:]
    assert found(ImageFilter(has_suggestions=True)) == [ids[2]]
    assert found(ImageFilter(has_suggestions=False)) == [ids[0], ids[1], ids[3]]
    assert found(ImageFilter(state=frozenset())) == []


def test_images_change_their_split_together(store: Store, project: Project) -> None:
    ids = [add_image(store, project, f"{n}") for n in range(3)]

    images.set_split(store, ids[:2], "test")

    assert [images.get(store, image_id).split for image_id in ids] == ["test", "test", None]


def test_a_deleted_image_is_gone_but_data_versions_still_read_it(store: Store, project: Project) -> None:
    images.keep_files(store, "aa", b"original", PHOTO)
    image_id = add_image(store, project, "aa")
    annotations.save(store, image_id, [triangle()], base_rev=0, state=ImageState.DONE)

    images.delete(store, [image_id])

    with pytest.raises(NotFound):
        images.get(store, image_id)
    with pytest.raises(NotFound):
        annotations.save(store, image_id, [], base_rev=1, state=ImageState.DONE)
    assert images.by_sha256(store, project.id, ["aa"]) == {}
    read = versions.read_item(store, VersionItem(image_id, "aa", 1, "train"))
    assert (read.data, len(read.annotations)) == (b"original", 1)


def test_what_a_photo_looks_like_is_known_after_it_is_deleted(store: Store, project: Project) -> None:
    kept, gone = (add_image(store, project, sha256) for sha256 in ("aa", "bb"))
    add_image(store, projects.create(store, "Other"), "cc")

    images.delete(store, [gone])

    assert images.phashes(store, project.id) == {kept: PHOTO.phash, gone: PHOTO.phash}


def test_a_deleted_photo_can_come_again_as_a_new_image(store: Store, project: Project) -> None:
    first = add_image(store, project, "aa")
    images.delete(store, [first])

    second = add_image(store, project, "aa")

    assert [image.id for image in images.list_page(store, project.id, ImageFilter())] == [second]


def test_the_files_of_a_photo_are_kept_once(store: Store) -> None:
    images.keep_files(store, "aa", b"original", PHOTO)
    images.keep_files(store, "aa", b"something else", PHOTO)

    assert store.blobs.get(images.photo_key("aa", "original")) == b"original"
    assert not store.blobs.exists(images.photo_key("aa", "full"))


def test_a_page_gets_the_smallest_picture_that_will_do(store: Store, project: Project) -> None:
    image_id = add_image(store, project, "aa")

    assert images.rendition(store, image_id, "view") == (images.photo_key("aa", "view"), "image/jpeg")
    assert images.rendition(store, image_id, "full") == (images.photo_key("aa", "original"), "image/png")
    with pytest.raises(NotFound):
        images.rendition(store, new_id(), "view")


def test_labels_are_read_back_stroke_by_stroke(store: Store, project: Project) -> None:
    image_id = add_image(store, project, "aa")
    drawn = [
        Annotation("a", 1, (TRIANGLE, PolygonOp(TRIANGLE.points_xy, is_subtract=True)), author="Ana"),
        Annotation("b", 2, (BrushOp(((1.5, 2.5),), 3.25), RleOp((30, 40), "0P12"))),
    ]

    annotations.save(store, image_id, drawn, base_rev=0, state=ImageState.DONE, author="Ana")

    kept = annotations.current(store, image_id)
    assert (kept.rev, kept.annotations, kept.author) == (1, tuple(drawn), "Ana")
    image = images.get(store, image_id)
    assert (image.rev, image.category_ids, image.annotation_count) == (1, (1, 2), 2)
    assert image.is_labelled


def test_a_suggestion_lies_among_the_labels_and_counts_nowhere(store: Store, project: Project) -> None:
    images.keep_files(store, "aa", b"the file", PHOTO)
    image_id = add_image(store, project, "aa")
    mine, guess = triangle(1, "a"), triangle(2, "b", Source.SUGGESTED)

    annotations.save(store, image_id, [mine, guess], base_rev=0, state=ImageState.DONE)

    image = images.get(store, image_id)
    assert (image.category_ids, image.annotation_count, image.suggestion_count) == ((1,), 1, 1)
    assert annotations.current(store, image_id).annotations == (mine, guess)
    with store.read() as connection:
        assert annotations.read(connection, image_id, 1).annotations == (mine,)
    assert versions.read_item(store, VersionItem(image_id, "aa", 1, "train")).annotations == (mine,)


def test_a_note_stays_until_another_is_saved(store: Store, project: Project) -> None:
    image_id = add_image(store, project, "aa")
    kept: list[str] = []
    for rev, note in enumerate(["left door?", None, "", None]):
        annotations.save(store, image_id, [], base_rev=rev, state=ImageState.REJECTED, note=note)
        kept.append(annotations.current(store, image_id).note)
        assert images.get(store, image_id).note == kept[-1]

    assert kept == ["left door?", "left door?", "", ""]
    with store.read() as connection:
        assert annotations.read(connection, image_id, 1).note == "left door?"


@pytest.mark.parametrize(
    ("author", "kept"),
    [
        ("  Ána Ñ. 李 ", "Ána Ñ. 李"),
        ("x" * 200, "x" * 80),
        ("a\0b", "ab"),
        ("a\ud800b", "ab"),
        ("'; --", "'; --"),
    ],
    ids=["not ASCII", "long", "NUL", "half a surrogate pair", "SQL"],
)
def test_an_author_is_kept_whatever_the_name_looks_like(
    store: Store, project: Project, author: str, kept: str
) -> None:
    image_id = add_image(store, project, "aa")

    annotations.save(store, image_id, [], base_rev=0, state=ImageState.DONE, author=author, note=author)

    assert annotations.current(store, image_id).author == kept
    assert images.get(store, image_id).author == kept
    assert [i.id for i in images.list_page(store, project.id, ImageFilter(author=kept))] == [image_id]


def test_an_image_without_labels_has_revision_0(store: Store, project: Project) -> None:
    kept = annotations.current(store, add_image(store, project, "aa"))

    assert (kept.rev, kept.annotations) == (0, ())


def test_old_revisions_stay(store: Store, project: Project) -> None:
    image_id = add_image(store, project, "aa")
    annotations.save(store, image_id, [triangle()], base_rev=0, state=ImageState.DONE)
    annotations.save(store, image_id, [], base_rev=1, state=ImageState.DONE)

    with store.read() as connection:
        assert annotations.read(connection, image_id, 1).annotations == (triangle(),)
        assert annotations.read(connection, image_id, 2).annotations == ()


def test_who_saves_second_is_told_and_changes_nothing(store: Store, project: Project) -> None:
    image_id = add_image(store, project, "aa")
    annotations.save(store, image_id, [triangle(1)], base_rev=0, state=ImageState.DONE)

    with pytest.raises(Conflict, match="Nothing was overwritten"):
        annotations.save(store, image_id, [triangle(2)], base_rev=0, state=ImageState.DONE)

    assert annotations.current(store, image_id).annotations == (triangle(1),)


@pytest.mark.parametrize(
    "drawn",
    [
        [triangle(9)],
        [Annotation("a", 1, (RleOp((30, 41), "0"),))],
        [triangle(annotation_id="a"), triangle(annotation_id="a")],
    ],
    ids=["unknown category", "mask of another size", "one id twice"],
)
def test_labels_that_do_not_fit_are_refused(store: Store, project: Project, drawn: list[Annotation]) -> None:
    image_id = add_image(store, project, "aa")

    with pytest.raises(FormatError):
        annotations.save(store, image_id, drawn, base_rev=0, state=ImageState.DONE)

    assert images.get(store, image_id).rev == 0


def test_the_same_labels_are_the_same_data_version(store: Store, project: Project) -> None:
    item = VersionItem(add_image(store, project, "aa"), "aa", 1, "train")

    first = versions.freeze(store, project.id, project.categories, [item])
    again = versions.freeze(store, project.id, project.categories, [item])
    other = versions.freeze(store, project.id, project.categories[:1], [item])

    assert first == again == versions.get(store, first.id)
    assert other.id != first.id


def test_a_data_version_reads_the_labels_as_they_were(store: Store, project: Project) -> None:
    images.keep_files(store, "aa", b"the file", PHOTO)
    image_id = add_image(store, project, "aa")
    annotations.save(store, image_id, [triangle()], base_rev=0, state=ImageState.DONE)
    annotations.save(store, image_id, [], base_rev=1, state=ImageState.DONE)

    photo = versions.read_item(store, VersionItem(image_id, "aa", 1, "train"))

    assert (photo.data, photo.size_wh, photo.annotations) == (b"the file", (40, 30), (triangle(),))


def test_revisions_are_listed_newest_first_with_their_states(store: Store, project: Project) -> None:
    image_id = add_image(store, project, "aa")
    for rev, state in enumerate([ImageState.IN_PROGRESS, ImageState.DONE, ImageState.APPROVED]):
        drawn = [triangle(annotation_id=f"{n}") for n in range(rev)]
        annotations.save(store, image_id, drawn, base_rev=rev, state=state, note=f"note {rev}")

    listed = annotations.revisions(store, image_id, limit=2)
    older = annotations.revisions(store, image_id, limit=2, before=2)

    assert [
        (labels.rev, len(labels.annotations), labels.note, state) for labels, state in (*listed, *older)
    ] == [
        (3, 2, "note 2", ImageState.APPROVED),
        (2, 1, "note 1", ImageState.DONE),
        (1, 0, "note 0", ImageState.IN_PROGRESS),
    ]
    images.delete(store, [image_id])
    with pytest.raises(NotFound):
        annotations.revisions(store, image_id, limit=2)


def test_what_shows_a_category_is_found_with_its_suggestions(store: Store, project: Project) -> None:
    ids = [add_image(store, project, f"{n}") for n in range(4)]
    guess = triangle(2, "guess", Source.SUGGESTED)
    for image_id, drawn in zip(ids, ([triangle(1)], [triangle(2)], [triangle(1), guess], []), strict=True):
        annotations.save(store, image_id, drawn, base_rev=0, state=ImageState.DONE)

    with store.read() as connection:
        found = {
            category: [s.image_id for s in annotations.showing(connection, project.id, category)]
            for category in (1, 2)
        }

    assert found == {1: [ids[0], ids[2]], 2: [ids[1], ids[2]]}


def test_ids_are_listed_in_an_order(store: Store, project: Project) -> None:
    names = ["b/IMG_10.jpg", "B/img_9.jpg", "b/img_100.jpg", "²/1.jpg", ""]
    ids = [add_image(store, project, f"{n}", name=name) for n, name in enumerate(names)]
    annotations.save(store, ids[1], [], base_rev=0, state=ImageState.DONE)
    annotations.save(store, ids[2], [], base_rev=0, state=ImageState.DONE)

    def listed(order: ImageOrder) -> list[int]:
        return [ids.index(i) for i in images.list_ids(store, project.id, ImageFilter(), order=order)]

    assert listed("imported") == [0, 1, 2, 3, 4]
    assert listed("name") == [4, 1, 0, 2, 3]  # the last one was added as "4.png"
    assert listed("changed") == [2, 1, 0, 3, 4]


def test_a_removed_category_is_out_of_sight_and_its_id_is_never_another_ones(
    store: Store, project: Project
) -> None:
    with store.write() as connection:
        projects.remove_category(connection, project.id, 2)
        rust = projects.add_category(connection, project.id, "rust")

    assert [c.name for c in projects.get(store, project.id).categories] == ["dent", "rust"]
    assert rust.category_id == 3
    assert projects.names_ever(store, project.id) == {1: "dent", 2: "scratch", 3: "rust"}
    with store.write() as connection:
        again = projects.add_category(connection, project.id, "Scratch")
    assert (again.category_id, again.name) == (2, "scratch")


def test_a_category_is_not_removed_while_a_save_with_it_is_under_way(store: Store, project: Project) -> None:
    image_id = add_image(store, project, "aa")
    found: list[list[str]] = []

    def remove() -> None:
        with store.write() as connection:
            projects.remove_category(connection, project.id, 1)
            found.append([s.image_id for s in annotations.showing(connection, project.id, 1)])

    with ThreadPoolExecutor(1) as pool:
        with store.write() as connection:
            annotations.save_in(connection, image_id, [triangle(1)], base_rev=0, state=ImageState.DONE)
            removal = pool.submit(remove)
            with pytest.raises(TimeoutError):
                removal.result(timeout=0.3)  # it waits for this transaction
        removal.result(timeout=30)

    assert found == [[image_id]]
    with pytest.raises(FormatError, match="does not have"):
        annotations.save(store, image_id, [triangle(1)], base_rev=1, state=ImageState.DONE)
