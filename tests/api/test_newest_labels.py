"""The route that tells a photo's newest labels, for the canvas of the photo after it."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.api.routes import routes_under
from core.services import labelling
from core.storage import images
from core.storage.store import Store
from tests.builders import SIZE_WH, add_image, project_with, square


def test_the_newest_labels_are_told_to_who_has_the_link(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_HOME", str(store.home))
    drawn = square(1)
    image = add_image(store, project_with(store, "dent"), 1, drawn)
    link = labelling.labels_link(store, image.id)

    with TestClient(Starlette(routes=routes_under(""))) as client:
        answer = client.get(link)
        unsigned = client.get(link.split("?")[0])
        of_another = client.get(link.replace(image.id, "other"))
        images.delete(store, [image.id])
        gone = client.get(link)

    assert answer.status_code == 200
    assert (answer.json()["rev"], answer.json()["size"]) == (1, list(SIZE_WH))
    assert [each["id"] for each in answer.json()["annotations"]] == [drawn.id]
    assert answer.headers["cache-control"] == "no-store"  # the photo before may be labelled on meanwhile
    assert (unsigned.status_code, of_another.status_code, gone.status_code) == (403, 403, 404)
