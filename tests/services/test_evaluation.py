"""What pages show of a run stays true when the project changes after it."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from core.domain.errors import NotFound
from core.domain.labels import Category, ImageState, Source
from core.domain.presets import PRESETS
from core.imaging.reading import decode_grey
from core.services import evaluation, pictures, projects, training
from core.storage import images, runs
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.pages.trained import finish_run


def truth_of(store: Store, run_id: str, image_id: str) -> np.ndarray:
    version = training.data_version(store, runs.get(store, run_id)).id
    parameters = {"rev": "1", "version": version}
    return decode_grey(pictures.truth_png(store, image_id, parameters))


def link_target(store: Store, link: str) -> np.ndarray:
    address = urlsplit(link)
    image_id = address.path.removeprefix("truth/")
    return decode_grey(pictures.truth_png(store, image_id, dict(parse_qsl(address.query))))


def test_a_class_renamed_after_a_run_keeps_its_truth(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=2)
    image_id = evaluation.image_scores(store, run, 2)[0].image_id
    before = truth_of(store, run.id, image_id)

    for category_id, name in ((1, "other"), (2, "dent"), (1, "scratch")):  # swapped in the end
        color = project.categories[category_id - 1].color
        projects.change_category(store, project.id, Category(category_id, name, color))

    assert before.any()
    assert (truth_of(store, run.id, image_id) == before).all()


def test_pixels_that_count_nowhere_stay_apart_from_background_in_the_truth_on_show(store: Store) -> None:
    project = project_with(store, "dent", "dirt")
    for seed in (1, 2):
        add_image(store, project, seed, square(1), split="train")
    image = add_image(store, project, 3, square(1, 10), square(2, 50), split="valid")
    run = training.start_run(store, project.id, replace(PRESETS["tiny"].config, ignore_class="dirt"))

    links = (
        evaluation.truth_link(store, run, image),
        pictures.truth_link(store, image, 1, pictures.ANY_DAMAGE, ignored=[2]),
        pictures.truth_link(store, image, 1, pictures.ANY_DAMAGE),
    )
    shown = [np.bincount(link_target(store, link).ravel(), minlength=256) for link in links]

    assert [(pixels[1], pixels[255]) for pixels in shown] == [(400, 400), (400, 400), (800, 0)]


def test_only_photos_whose_labels_count_are_offered_for_a_look(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=1)
    guess = replace(square(1), source=Source.SUGGESTED)
    add_image(store, project, 7, guess, state=ImageState.UNLABELLED)
    add_image(store, project, 8, square(1), state=ImageState.IN_PROGRESS)
    add_image(store, project, 9, square(1))

    offered = {image.id for image in evaluation.labelled_images(store, run, project.id)}

    everything = images.list_page(store, project.id, images.ImageFilter())
    pictured = {score.image_id for score in evaluation.image_scores(store, run, 1)}
    assert offered == {image.id for image in everything if image.state is ImageState.DONE} - pictured
    assert len(everything) - len(offered) - len(pictured) == 2


def test_a_validation_photo_deleted_after_a_run_leaves_the_list_and_nothing_else(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=2)
    scores = evaluation.image_scores(store, run, 1)

    images.delete(store, [scores[0].image_id])

    assert [s.image_id for s in evaluation.image_scores(store, run, 1)] == [scores[1].image_id]
    assert len(runs.records(store, run.id, 1)) == 2, "the run's own figures stay"


def test_in_another_project_classes_are_matched_by_name(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=1)
    other = project_with(store, "Scratch", "glass", name="Other")
    version = training.data_version(store, run)

    assert pictures.class_index(other, version) == {1: 2}
    assert pictures.class_index(other, None) == {1: 1, 2: 1}


def test_the_best_epoch_is_the_earliest_of_equals(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=3)
    done = evaluation.epochs(store, run.id)

    best = evaluation.best_epoch(done)

    assert best is not None and best.epoch == 3
    assert evaluation.best_epoch(done[:1] + done[:1]) is done[0]
    assert evaluation.best_epoch([]) is None


def test_images_are_listed_worst_first(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=2)

    ious = [score.iou for score in evaluation.image_scores(store, run, 1)]

    assert None not in ious
    assert ious == sorted(ious, key=lambda iou: iou or 0.0)


def test_an_epoch_is_named_best_last_or_by_number(store: Store) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=2)

    assert [evaluation.resolve_epoch(store, run, name).epoch for name in ("best", "last", "1")] == [2, 2, 1]
    for wrong in ("3", "0", "first"):
        try:
            evaluation.resolve_epoch(store, run, wrong)
        except NotFound as error:
            assert f"has no epoch {wrong}. It has 1 to 2." in str(error)
        else:
            raise AssertionError(wrong)


def test_the_champion_is_the_last_one_chosen(store: Store, tmp_path: Path) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=2)

    evaluation.promote(store, run, 1)
    evaluation.promote(store, run, 2, note="sharper edges")

    chosen = evaluation.champion(store, project.id)
    assert chosen is not None and (chosen.epoch, chosen.note) == (2, "sharper edges")
    assert evaluation.checkpoint_to_show(store, project.id)[1] == 2


def test_labels_made_after_a_run_can_be_looked_at(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=1)
    later = add_image(store, project, 77, square(1))

    assert later.id in [image.id for image in evaluation.labelled_images(store, run, project.id)]
