"""A page with the grid of photos, a filter and an action, on the home that MASKWRIGHT_HOME names.

Run: ``streamlit run tests/browser/harness_gallery.py``.
"""

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from core.api.routes import routes_under  # noqa: E402
from core.domain.images import ImageFilter  # noqa: E402
from core.services import projects  # noqa: E402
from core.services.home import open_home  # noqa: E402
from pages.components.gallery import clear_selection, gallery  # noqa: E402

GALLERY = "gallery"


def show() -> None:
    """Draw the photos of the newest project whose names match, and say which are selected."""
    store = open_home()
    project = projects.list_all(store)[-1]
    only = ImageFilter(name_contains=st.text_input("Name") or None)
    if not st.toggle("Show", value=True):
        return
    event = gallery(store, project, projects.list_images(store, project.id, only), key=GALLERY)
    names = {image.id: image.name for image in projects.list_images(store, project.id, ImageFilter())}
    st.text(
        f"selected: {[names[image_id] for image_id in event.selected]} opened: {event.opened is not None}"
    )
    if event.selected and st.button("Move to train"):
        projects.set_split(store, event.selected, "train")
        clear_selection(GALLERY)
        st.rerun()


if __name__ == "__main__":
    show()
else:
    app = st.App(Path(__file__), routes=routes_under(""))
