"""The routes over real HTTP messages: signed links, saves, conflicts."""

from collections.abc import Generator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.api.routes import routes_under
from core.domain.labels import ImageState, annotation_to_json
from core.imaging.reading import decode_grey, decode_rgb
from core.services import labelling, links, pictures, projects
from core.storage import images
from core.storage.store import Store
from tests.builders import SIZE_WH, add_image, project_with, square


@pytest.fixture
def client(store: Store, monkeypatch: pytest.MonkeyPatch) -> Generator[TestClient]:
    """A client of the routes on this test's home."""
    monkeypatch.setenv("MASKWRIGHT_HOME", str(store.home))
    with TestClient(Starlette(routes=routes_under(""))) as opened:
        yield opened


def test_a_photo_needs_its_signed_link(store: Store, client: TestClient) -> None:
    image = add_image(store, project_with(store, "dent"), 1)
    link = projects.photo_link(store, image, "full")

    assert client.get(link).status_code == 200
    assert decode_rgb(client.get(link).content).shape == (SIZE_WH[1], SIZE_WH[0], 3)
    assert client.get(link.split("?")[0]).status_code == 403
    assert client.get(link.replace("full", "original")).status_code == 403
    assert client.get(link.split("&sig=")[0] + "&sig=é").status_code == 403
    assert client.get(link[:-1] + ("0" if link[-1] != "0" else "1")).status_code == 403


def test_under_a_base_path_the_same_links_hold(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_HOME", str(store.home))
    image = add_image(store, project_with(store, "dent"), 1)
    link = projects.photo_link(store, image, "view")

    with TestClient(Starlette(routes=routes_under("/tools/maskwright/"))) as client:
        assert client.get(f"tools/maskwright/{link}").status_code == 200
        assert client.get(link).status_code == 404


def test_an_expired_link_is_refused(
    store: Store, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = add_image(store, project_with(store, "dent"), 1)
    link = projects.photo_link(store, image, "view")
    later = links.time.time() + 3 * links.PERIOD_SECONDS

    monkeypatch.setattr(links.time, "time", lambda: later)

    answer = client.get(link)
    assert answer.status_code == 403
    assert "expired" in answer.json()["message"]


def test_the_same_photo_keeps_its_address_so_that_the_browser_caches_it(store: Store) -> None:
    image = add_image(store, project_with(store, "dent"), 1)

    assert projects.photo_link(store, image, "view") == projects.photo_link(store, image, "view")


def test_a_deleted_photo_is_a_sentence(store: Store, client: TestClient) -> None:
    image = add_image(store, project_with(store, "dent"), 1)
    link = projects.photo_link(store, image, "view")
    images.delete(store, [image.id])

    answer = client.get(link)

    assert answer.status_code == 404
    assert "does not exist any more" in answer.json()["message"]


def test_a_stored_file_cannot_be_reached_outside_its_link(store: Store, client: TestClient) -> None:
    store.blobs.put("runs/a/x.png", b"png")
    link = pictures.file_link(store, "runs/a/x.png")

    assert client.get(link).content == b"png"
    assert client.get(link.replace("runs/a/x.png", "../link.key")).status_code in (403, 404)
    assert client.get("file/runs/a/x.png").status_code == 403


def test_labels_are_drawn_as_class_indices(store: Store, client: TestClient) -> None:
    image = add_image(store, project_with(store, "dent"), 1, square(1, 10, 10, 20))
    link = pictures.truth_link(store, image, 1, pictures.ANY_DAMAGE)

    drawn = decode_grey(client.get(link).content)

    assert drawn.shape == (SIZE_WH[1], SIZE_WH[0])
    assert int((drawn == 1).sum()) == 400
    assert set(drawn.ravel().tolist()) == {0, 1}


def test_a_save_is_kept_and_answered_with_its_revision(store: Store, client: TestClient) -> None:
    image = add_image(store, project_with(store, "dent"), 1, state=ImageState.UNLABELLED)
    link = labelling.open_image(store, image.id, author="ada").save_link
    body = {"rev": 0, "state": "done", "annotations": [annotation_to_json(square(1))]}

    answer = client.put(link, json=body)
    conflict = client.put(link, json=body)

    assert answer.status_code == 200
    assert answer.json()["rev"] == 1
    assert conflict.status_code == 409
    assert (conflict.json()["rev"], conflict.json()["author"]) == (1, "ada")
    assert client.put(link, content=b"{").status_code == 422
    assert client.put(link, content=b"[" * 100_000).status_code == 422
    assert client.put(link, content=b" " * (33 * 1024 * 1024)).status_code == 413
    assert client.put(link.split("?")[0], json=body).status_code == 403
    assert images.get(store, image.id).rev == 1


def test_assets_are_served_for_ever_and_nothing_else_is(client: TestClient) -> None:
    answer = client.get("assets/abc/labeler.js")

    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    assert client.get("assets/abc/..%2Fapp.py").status_code == 404
    assert client.get("assets/abc/nothing.js").status_code == 404
    assert (Path(__file__).parents[2] / "assets" / "labeler.js").exists()
