"""How far the labelling of a project is, and who did how much."""

from datetime import datetime
from zoneinfo import ZoneInfo

import streamlit as st

from core.services import projects
from core.services.home import Store
from pages.components.shell import part
from pages.components.words import counted


@part
def draw_progress(store: Store, project_id: str) -> None:
    """Draw the button that opens the figures; they are counted only once it is open."""
    place = st.popover("Progress", icon=":material/donut_large:", on_change="rerun", key="label_progress")
    if place.open:
        with place:
            _draw_states(projects.overview(store, project_id))
            _draw_people(store, project_id)


def _draw_states(overview: projects.Overview) -> None:
    share = overview.labelled / max(1, overview.images)
    st.progress(share, f"**{overview.labelled:,} of {overview.images:,} photos are labelled**")
    counts = {
        "Done": overview.labelled - overview.approved,
        "Approved": overview.approved,
        "Rejected": overview.rejected,
        "In progress": overview.in_progress,
        "Unlabelled": overview.unlabelled,
    }
    st.markdown(" · ".join(f"{title} **{count:,}**" for title, count in counts.items() if count))
    waiting = f" {overview.suggestions:,} suggestions wait." if overview.suggestions else ""
    st.caption(
        f"{counted(overview.objects, 'object')}; "
        f"{counted(overview.no_damage, 'labelled photo shows', 'labelled photos show')} no damage.{waiting}"
    )


def _draw_people(store: Store, project_id: str) -> None:
    people = projects.work_done(store, project_id, _midnight())
    if not people:
        return
    st.dataframe(
        [
            {
                "Person": person.author or "Without a name",
                "Done": _and_today(person.finished, person.finished_since),
                "Reviewed": _and_today(person.reviewed, person.reviewed_since),
            }
            for person in people
        ],
        hide_index=True,
    )
    st.caption("Photos that a person saved as done, and as approved or rejected. Imports have no name.")


def _and_today(count: int, today: int) -> str:
    return f"{count:,}, {today:,} today" if today else f"{count:,}"


def _midnight() -> datetime:
    """Give the beginning of the visitor's day."""
    zone = st.context.timezone
    now = datetime.now(ZoneInfo(zone)) if zone else datetime.now().astimezone()
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
