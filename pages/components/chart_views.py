"""Charts on a page: what the reader zooms and hides stays, and a click on a point opens its epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
from streamlit.components import v2

from pages.components import shell

EPOCH = "review_epoch"  # the Review page's choice of epochs in the session: {run id: epoch}
VIEWS = "chart_views"  # the session's key of what the reader zoomed and hid

Figure = dict[str, Any]

# Looks after every chart with a name (layout.meta): what is zoomed and hidden is told to the session.
_view_keeper = v2.component(
    "maskwright_chart_views",
    js="""
const known = new WeakSet(), views = {};
let told = "{}", observer;

function seen(plot) {
  const zoomed = ["xaxis", "yaxis"].filter((axis) => plot.layout[axis].autorange !== true);
  const hidden = plot.data.filter((trace) => trace.visible === "legendonly");
  return {
    hidden: hidden.map((trace) => trace.meta),
    ...Object.fromEntries(zoomed.map((axis) => [axis, plot._fullLayout[axis].range.slice()])),
  };
}

export default function ({ setStateValue }) {
  const look = () => {
    for (const plot of document.querySelectorAll(".js-plotly-plot")) {
      const name = plot.layout?.meta;
      if (!name || !plot.on || !plot._fullLayout || known.has(plot)) continue;
      known.add(plot);
      views[name] = seen(plot);
      const tell = () => {
        views[name] = seen(plot);
        const now = JSON.stringify(views);
        if (now !== told) setStateValue("views", JSON.parse(told = now));
      };
      for (const event of ["plotly_relayout", "plotly_restyle"]) plot.on(event, tell);
    }
  };
  observer?.disconnect();
  observer = new MutationObserver(look);
  observer.observe(document.body, { childList: true, subtree: true });
  look();
  return () => observer.disconnect();
}
""",
)


def draw(figure: Figure, key: str, *, run_id: str = "") -> tuple[str, int] | None:
    """Put a figure on the page; give the run and the epoch of a point that was clicked.

    Args:
        key: unique on the page.
        run_id: of a figure that shows one run only.
    """
    image = {"format": "png", "scale": 2, "filename": key}
    event = st.plotly_chart(
        _as_last_seen(figure, key),
        width="stretch",
        key=key,
        on_select="rerun",
        selection_mode="points",
        config={"displaylogo": False, "doubleClick": "autosize", "toImageButtonOptions": image},
    )
    return clicked(event["selection"]["points"], run_id)


@shell.part
def keep_views() -> None:
    """Remember what the reader zoomed and hid in the charts of the page; draw it once, after them.

    Streamlit puts a new chart in the place of one whose figures changed, whatever its key and Plotly's
    uirevision, so the next figure has to be born with the view of the one before.
    """
    _view_keeper(key=VIEWS, on_views_change=_nothing)


def _as_last_seen(figure: Figure, key: str) -> Figure:
    """Give a figure the zoom and the hidden lines of the one that stands in its place, and its name."""
    layout = dict(figure["layout"])
    name = layout["meta"] = f"{key} {layout['meta']}"
    view = ((st.session_state.get(VIEWS) or {}).get("views") or {}).get(name, {})
    for axis in ("xaxis", "yaxis"):
        if axis in view:
            layout[axis] = {**layout[axis], "range": view[axis]}
    hidden = set(view.get("hidden", ()))
    traces = [t | {"visible": "legendonly"} if t["meta"] in hidden else t for t in figure["data"]]
    return {"data": traces, "layout": layout}


def _nothing() -> None:
    """Streamlit keeps a state only when it has a callback."""


def clicked(points: Sequence[Mapping[str, Any]], run_id: str = "") -> tuple[str, int] | None:
    """Tell the run and the epoch of the first of the points that were clicked."""
    for point in points:
        told = point.get("customdata")
        if isinstance(told, list | tuple):  # the mark of a best epoch
            return str(told[0]), int(told[1])
        if told is not None:
            return run_id or str(point.get("legendgroup", "")), int(told)
    return None


def open_epoch(run_id: str, epoch: int) -> None:
    """Go to the Review page with an epoch of a run."""
    st.session_state.setdefault(EPOCH, {})[run_id] = epoch
    st.switch_page("pages/review.py", query_params={"run": run_id, "epoch": str(epoch)})
