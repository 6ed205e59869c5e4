"""The route of suggestions: only by its signed link, and every refusal as a sentence."""

from collections.abc import Generator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.api.routes import routes_under
from core.services import suggestions
from core.storage import images, runs
from core.storage.store import Store
from tests.builders import project_with
from tests.inference.exported import BLUE, RED, painted
from tests.services.championed import add_painted, crown

PHOTO = painted((640, 480), (RED, (8, 16, 28, 48)), (BLUE, (44, 8, 60, 20)))


@pytest.fixture
def client(store: Store, monkeypatch: pytest.MonkeyPatch) -> Generator[TestClient]:
    """A client of the routes on this test's home."""
    monkeypatch.setenv("MASKWRIGHT_HOME", str(store.home))
    with TestClient(Starlette(routes=routes_under(""))) as opened:
        yield opened


def test_suggestions_come_by_a_signed_link_alone(store: Store, client: TestClient) -> None:
    project = project_with(store, "dent", "scratch")
    crown(store, project)
    first, second = (add_painted(store, project, f"{i}.png", PHOTO[:, i:]) for i in range(2))
    link = suggestions.link(store, first.id)

    answer = client.post(link)

    assert answer.status_code == 200
    found = answer.json()
    assert [each["source"] for each in found["annotations"]] == ["suggested"] * 2
    assert found["said"] == []
    assert client.post(f"{link}&again=1").status_code == 200
    assert client.post(link.replace(first.id, second.id)).status_code == 403
    assert client.post(link.split("?")[0]).status_code == 403
    assert client.get(link).status_code == 405


def test_who_has_to_wait_is_told_so(store: Store, client: TestClient) -> None:
    project = project_with(store, "dent", "scratch")
    run = crown(store, project)
    store.blobs.put(f"runs/{run.id}/x.pt", b"weights")
    key = runs.onnx_key(store, run.id, 1)
    assert key is not None
    store.blobs.delete(key)

    answer = client.post(suggestions.link(store, add_painted(store, project, "door.png", PHOTO).id))

    assert answer.status_code == 202
    assert answer.json()["message"].startswith("The champion is being prepared")


def test_refusals_are_sentences(store: Store, client: TestClient) -> None:
    project = project_with(store, "dent", "scratch")
    image = add_painted(store, project, "door.png", PHOTO)
    without = client.post(suggestions.link(store, image.id))
    run = crown(store, project)
    key = runs.onnx_key(store, run.id, 1)
    assert key is not None
    store.blobs.put(key, b"no model")
    damaged = client.post(suggestions.link(store, image.id))
    images.delete(store, [image.id])
    gone = client.post(suggestions.link(store, image.id))

    assert (without.status_code, without.json()["message"]) == (404, suggestions.NO_CHAMPION)
    assert damaged.status_code == 422 and "damaged" in damaged.json()["message"]
    assert gone.status_code == 404 and "does not exist any more" in gone.json()["message"]
