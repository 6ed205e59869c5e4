"""Importing on the Images page: one click where the files are clear, a question where they are not."""

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import sqlalchemy as sa
from PIL import Image as Picture
from streamlit.testing.v1 import AppTest

from core.domain.images import ImageFilter, Project
from core.domain.mask_classes import parse_meanings
from core.services import importing, projects
from core.storage import annotations, jobs, lifecycle, processes, reservations, tables
from core.storage.lifecycle import JOBS, Room
from core.storage.store import Store
from core.worker import imports
from tests.builders import SIZE_WH, add_image, photo_bytes, project_with, square
from tests.formats.builders import SQUARE, annotation, coco, image_record, mask_png
from tests.pages.said import press, texts

OpenPage = Callable[[str], AppTest]


def png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Picture.fromarray(values).save(file, "PNG")
    return file.getvalue()


def index_mask() -> bytes:
    values = np.zeros((SIZE_WH[1], SIZE_WH[0]), np.uint8)
    values[5:15, 5:15] = 2
    values[30:50, 30:70] = 7
    values[:3] = 255
    return png(values)


def zip_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def unclear() -> bytes:
    return zip_of({"images/a.jpg": photo_bytes(1), "masks/a.png": index_mask()})


def carry_out(store: Store) -> None:
    """Do the import that waits, as a worker does."""
    claim = lifecycle.claim(store, JOBS, "here", Room(1))
    assert claim is not None
    lifecycle.start(store, JOBS, claim, processes.this_process())
    result = imports.handle(store, jobs.get(store, claim.work_id), lambda share, text: None)
    lifecycle.succeed(store, JOBS, claim, {"result": result})
    reservations.release(store, claim)


def opened_with(store: Store, open_page: OpenPage, project: Project, packed: bytes) -> AppTest:
    """Open the Images page after the import of a zip, as its dialog leaves it."""
    job = projects.import_uploads(store, project.id, [("x.zip", io.BytesIO(packed))], format="auto")
    carry_out(store)
    page = open_page("images")
    page.session_state[f"import_job_{project.id}"] = job.id
    page.run()
    assert not page.exception, page.exception
    return page


def uploads_left(store: Store) -> int:
    return len(list((store.home / "uploads").iterdir()))


def test_clear_files_are_taken_without_a_question(store: Store, open_page: OpenPage) -> None:
    project = project_with(store)
    lists = b"value,name\n0,background\n2,dent\n7,rust\n255,void\n"
    packed = zip_of({"images/a.jpg": photo_bytes(1), "masks/a.png": index_mask(), "masks/classes.csv": lists})

    page = opened_with(store, open_page, project, packed)

    assert page.success[0].value == "Imported 1 photo with 3 annotations: dent 1, rust 1, void 1."
    assert "Recognised: Class masks beside photos" in texts(page)
    assert [c.name for c in projects.get(store, project.id).categories] == ["dent", "rust", "void"]
    assert uploads_left(store) == 0


def test_what_was_there_already_and_what_was_refused_is_said_in_text(
    store: Store, open_page: OpenPage
) -> None:
    project = project_with(store)
    records = [image_record(1, "a.jpg", SIZE_WH), image_record(2, "b.jpg", SIZE_WH)]
    document = coco(records, [annotation(1, 1, [SQUARE])])
    packed = zip_of({"a.jpg": photo_bytes(1), "b.jpg": b"no photo", "coco.json": document.encode()})
    opened_with(store, open_page, project, packed)

    page = opened_with(store, open_page, project, packed)

    said = "Imported 0 photos with 0 annotations. 1 photo was there already."
    assert page.success[0].value == said
    assert "The labels of 1 photo that was there already stayed as they were." in texts(page)
    assert page.warning[0].value == "1 file or label was refused."
    assert any(m.value.startswith("- **b.jpg**: ") for m in page.markdown)
    assert not page.dataframe, "a phone would cut its lines"


def test_masks_without_names_are_asked_about_and_the_answer_is_what_is_imported(
    store: Store, open_page: OpenPage
) -> None:
    project = project_with(store, "dent")
    page = opened_with(store, open_page, project, unclear())
    job = jobs.list_of(store, project.id, kind="import")[0]
    key = f"{job.id}_index_masks"
    assert projects.count_images(store, project.id, ImageFilter()) == 0
    assert "1 photo, 1 mask whose numbers are classes" in texts(page)
    assert "**7**  \n:gray[13.0% of pixels, 1 mask]" in texts(page)

    page.text_input(key=f"name_{key}_2").input("Scratch")
    page.color_picker(key=f"color_{key}_2").set_value("#123456")
    page.text_input(key=f"name_{key}_7").input("dent")
    page.selectbox(key=f"role_{key}_255").set_value("background")
    page.run()
    page.button(key="import_answered").click().run()
    assert not page.exception, page.exception
    carry_out(store)

    categories = {c.name: c for c in projects.get(store, project.id).categories}
    (image,) = projects.list_images(store, project.id, ImageFilter())
    drawn = annotations.current(store, image.id).annotations
    assert sorted(categories) == ["Scratch", "dent"]
    assert categories["Scratch"].color == "#123456"
    assert [a.category_id for a in drawn] == [categories["Scratch"].category_id, 1]
    assert uploads_left(store) == 0


def test_a_name_that_is_missing_is_said_and_nothing_is_queued(store: Store, open_page: OpenPage) -> None:
    project = project_with(store)
    page = opened_with(store, open_page, project, unclear())
    job = jobs.list_of(store, project.id, kind="import")[0]

    page.text_input(key=f"name_{job.id}_index_masks_2").input("")
    page.button(key="import_answered").click().run()

    assert "A class needs a name of 1 to 80 characters." in texts(page)
    assert jobs.list_of(store, project.id, kind="import") == [job]


def test_a_name_that_is_still_missing_hides_no_other_value(store: Store, open_page: OpenPage) -> None:
    project = project_with(store)
    page = opened_with(store, open_page, project, unclear())
    key = f"{jobs.list_of(store, project.id, kind='import')[0].id}_index_masks"

    page.text_input(key=f"name_{key}_2").input("").run()

    assert page.text_input(key=f"name_{key}_7").value == "class 7"
    assert page.button(key="import_answered") is not None
    assert "A class needs a name" not in texts(page)


def test_a_question_is_answered_once(store: Store, open_page: OpenPage) -> None:
    project = project_with(store)
    page = opened_with(store, open_page, project, unclear())
    asked = jobs.list_of(store, project.id, kind="import")[0]
    meanings = parse_meanings("0=background,2=dent,7=rust,255=ignore")
    answer = importing.answer(store, asked.id, format="index_masks", meanings=meanings)

    page.button(key="import_answered").click().run()  # in another window
    importing.discard(store, asked.id)

    assert "was answered already" in texts(page)
    assert jobs.list_of(store, project.id, kind="import") == [answer, asked]
    assert uploads_left(store) == 1
    carry_out(store)
    assert [c.name for c in projects.get(store, project.id).categories] == ["dent", "rust", "ignore"]


def test_a_question_whose_answer_was_cancelled_can_be_answered_again(
    store: Store, open_page: OpenPage
) -> None:
    project = project_with(store)
    opened_with(store, open_page, project, unclear())
    asked = jobs.list_of(store, project.id, kind="import")[0]
    meanings = parse_meanings("0=background,2=dent,7=rust,255=ignore")
    first = importing.answer(store, asked.id, format="index_masks", meanings=meanings)
    lifecycle.request_cancel(store, JOBS, first.id)

    again = importing.answer(store, asked.id, format="index_masks", meanings=meanings)

    assert again.id != first.id
    carry_out(store)
    assert projects.count_images(store, project.id, ImageFilter()) == 1


def test_files_whose_question_nobody_answers_go_after_two_days_and_no_sooner(
    store: Store, open_page: OpenPage
) -> None:
    project = project_with(store)
    opened_with(store, open_page, project, unclear())
    asked = jobs.list_of(store, project.id, kind="import")[0]
    table, long_ago = tables.job, datetime.now(UTC) - timedelta(days=3)

    with store.write() as connection:
        connection.execute(sa.update(table).values(created_at=long_ago))
    again = importing.answer(store, asked.id, format="index_masks")  # says nothing, so that is asked again
    carry_out(store)
    assert importing.question(jobs.get(store, again.id))
    importing.discard_forgotten(store, project.id)
    assert uploads_left(store) == 1

    with store.write() as connection:
        connection.execute(sa.update(table).values(created_at=long_ago))
    importing.discard_forgotten(store, project.id)
    assert uploads_left(store) == 0


def test_files_of_two_formats_are_taken_as_the_one_that_is_chosen(store: Store, open_page: OpenPage) -> None:
    project = project_with(store)
    document = coco([image_record(1, "images/a.jpg", SIZE_WH)], [annotation(1, 1, [SQUARE])])
    masks = {"masks/a_rust.png": mask_png([(3, 4)], SIZE_WH)}
    page = opened_with(
        store,
        open_page,
        project,
        zip_of({"images/a.jpg": photo_bytes(1), "coco.json": document.encode()} | masks),
    )
    choice = page.radio(key="import_format")
    assert choice.options == [
        "COCO json (Roboflow and others)",
        "Mask pictures beside photos (Label Studio and others)",
    ]

    choice.set_value(1)
    page.button(key="import_answered").click().run()
    carry_out(store)

    assert [c.name for c in projects.get(store, project.id).categories] == ["rust"]


def test_a_question_can_be_put_down_and_the_files_thrown_away(store: Store, open_page: OpenPage) -> None:
    project = project_with(store)
    page = opened_with(store, open_page, project, unclear())
    assert uploads_left(store) == 1

    press(page, "Discard the files")

    assert "The import waits" not in texts(page)
    assert uploads_left(store) == 0


def test_the_export_menu_has_every_format_that_can_be_written(store: Store, open_page: OpenPage) -> None:
    project = project_with(store, "dent")
    add_image(store, project, 1, square(1))

    page = open_page("images")

    menu = page.radio(key="export_format")
    assert {"Pascal VOC (JPEGImages and SegmentationClass)", "COCO json (Roboflow and others)"} < set(
        menu.options
    )
    assert all(keeps for _, keeps in projects.writable_formats().values())
    menu.set_value("voc").run()
    assert not page.exception
    with projects.export_zip(store, project.id, "voc") as file, zipfile.ZipFile(file) as archive:
        assert "SegmentationClass/photo_1.png" in archive.namelist()
