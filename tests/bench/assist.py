"""How long the label canvas's assistance takes to answer on a 12-megapixel photo, decoding included."""

import time
from typing import Any

from core.formats.ingest import add_photo
from core.services import assist, projects
from core.services.home import open_home
from tests.bench.figures import Figure, median_figure
from tests.bench.photos import camera_photo
from tests.bench.processes import fresh_home

INSIDE = {"points": [[1900, 1450], [2100, 1550]], "inside": True, "radius": 8}
OUTSIDE = {"points": [[1300, 1000], [2700, 1000], [2700, 2000]], "inside": False, "radius": 8}
PROMPTS: dict[str, tuple[str, dict[str, Any]]] = {
    "smart box": ("a box of 1200 x 700 pixels", {"kind": "box", "points": [[1400, 1150], [2600, 1850]]}),
    "scribble": ("a line inside, one outside", {"kind": "scribble", "strokes": [INSIDE, OUTSIDE]}),
    "wand": ("one click", {"kind": "wand", "points": [[2000, 1500]], "tolerance": 12}),
}


def measure(*, is_quick: bool) -> list[Figure]:
    """Ask about a new photo each time, then about the same one again, which is decoded already."""
    repeats = 3 if is_quick else 9
    with fresh_home():
        store = open_home()
        project = projects.create(store, "Assistance")
        warmer, *photos = [
            add_photo(store, project.id, f"{n}.jpg", camera_photo(n)).id for n in range(max(repeats, 5) + 1)
        ]  # more than are kept decoded
        figures: list[Figure] = []
        for name, (what, prompt) in PROMPTS.items():
            assist.answer(store, warmer, prompt)  # loads what the first call loads
            first: list[float] = []
            again: list[float] = []
            for photo in photos:
                for spent in (first, again):
                    started = time.perf_counter()
                    assist.answer(store, photo, prompt)
                    spent.append(time.perf_counter() - started)
            for order, spent in (("first", first), ("next", again)):
                when = "first" if order == "first" else "before"
                how = f"{what}, answered with polygons; the photo decoded {when}"
                title = f"{name} on 12 megapixels, {order} answer"
                figures.append(median_figure(title, spent, "s", how, goal="under 1 s"))
    return figures
