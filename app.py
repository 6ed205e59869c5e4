"""The one way in: `streamlit run app.py`. The server half starts the worker, the script half draws."""

from pathlib import Path

import streamlit as st

PAGES = {
    "": [
        ("pages/home.py", "Project", ":material/space_dashboard:"),
    ],
    "Data": [
        ("pages/images.py", "Images", ":material/photo_library:"),
        ("pages/label.py", "Label", ":material/draw:"),
    ],
    "Model": [
        ("pages/train.py", "Train", ":material/model_training:"),
        ("pages/runs.py", "Runs", ":material/table_rows:"),
        ("pages/curves.py", "Curves", ":material/show_chart:"),
        ("pages/review.py", "Review", ":material/compare:"),
        ("pages/testing.py", "Test", ":material/rule:"),
        ("pages/champion.py", "Champion", ":material/trophy:"),
        ("pages/benchmarks.py", "Benchmarks", ":material/leaderboard:"),
        ("pages/predict.py", "Predict", ":material/image_search:"),
        ("pages/workers.py", "Workers", ":material/dns:"),
    ],
}

if __name__ == "__main__":  # the script: once per rerun
    from pages.components.shell import choose_project, reachable

    st.set_page_config(
        page_title="Maskwright", page_icon="assets/icon.svg", layout="wide", initial_sidebar_state=244
    )
    st.html(Path("assets/app.css"))
    st.logo("assets/logo.svg", icon_image="assets/icon.svg", size="large")
    page = st.navigation(
        {
            section: [
                st.Page(file, title=title, icon=icon, default=file == "pages/home.py")
                for file, title, icon in pages
            ]
            for section, pages in PAGES.items()
        }
    )
    with reachable():
        choose_project()
        page.run()
else:  # the server: once per process
    from streamlit.runtime.pages_manager import PagesManager

    from core.api.lifespan import lifespan
    from core.api.routes import routes_under

    # A folder called pages/ makes Streamlit run a deep link's file by itself until the entry script has
    # called st.navigation once: the first visitor of a fresh server would see a page without its shell.
    PagesManager.uses_pages_directory = False
    routes = routes_under(st.get_option("server.baseUrlPath") or "")
    app = st.App(Path(__file__), lifespan=lifespan, routes=routes)
