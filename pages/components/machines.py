"""How a worker's machine is shown: what it offers, what it uses, what it carries out."""

from collections.abc import Collection, Mapping

import streamlit as st

from core.domain.runs import Gpu, WorkerInfo
from core.domain.version import VERSION
from core.services.workers import Worker
from pages.components.words import day_and_clock, duration, plain, size, used_of

LANES = {("run", "job"): "Trainings and jobs", ("run",): "Trainings only", ("job",): "Jobs only"}


def device_text(info: WorkerInfo, held: Collection[str]) -> list[str]:
    """Say in short pieces how busy a machine is: the GPUs that are held, else processor and memory."""
    gpus = [gpu for gpu in info.gpus if gpu.id in held]
    if gpus:
        return [text for gpu in gpus if (text := gpu_use(gpu))]
    usage = info.usage
    pieces: list[str] = []
    if "load" in usage and "cpus" in usage:
        pieces.append(f"load {usage['load']:.1f} on {usage['cpus']} cores")
    if "used_bytes" in usage and "memory_bytes" in usage:
        pieces.append(f"memory {used_of(usage['used_bytes'], usage['memory_bytes'])}")
    return pieces


def gpu_use(gpu: Gpu) -> str:
    """Say how a GPU is used: "61 of 80 GB · 97 % busy"; "" where nobody measures it."""
    parts: list[str] = []
    if gpu.used_bytes is not None and gpu.memory_bytes:
        parts.append(used_of(gpu.used_bytes, gpu.memory_bytes))
    if gpu.busy_share is not None:
        parts.append(f"{gpu.busy_share:.0%} busy")
    return " · ".join(parts)


def draw_head(worker: Worker) -> None:
    """Draw a machine's name, its state, what it serves, and what has to be done about it."""
    info = worker.info
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(info.host)}**", width="content")
        if not worker.is_here:
            st.badge("Away", color="gray", icon=":material/cloud_off:")
        elif not worker.is_current:
            st.badge("Other version", color="orange", icon=":material/update:")
        elif info.note:
            st.badge("Waiting", color="orange", icon=":material/pause:")
        else:
            st.badge("Here", color="green", icon=":material/check:")
    lanes = LANES.get(tuple(sorted(info.lanes, reverse=True)), ", ".join(info.lanes))
    if worker.is_here:
        st.caption(f"{lanes} · version {info.version} · up since {day_and_clock(info.started_at)}")
    else:
        ago = duration(worker.seconds_since)
        st.caption(
            f"{lanes} · version {info.version} · last seen {day_and_clock(info.heartbeat_at)}, {ago} ago"
        )
    if worker.is_here and not worker.is_current:
        st.caption(f":orange[:material/update: Restart it with version {VERSION}.]")
    elif worker.is_here and info.note:
        st.caption(f":orange[:material/pause: {plain(info.note)}]")


def draw_use(info: WorkerInfo, holders: Mapping[str, str]) -> None:
    """Draw how busy a machine is.

    Args:
        holders: what holds each GPU that is held, in words, by the GPU's id.
    """
    for gpu in info.gpus:
        _draw_gpu(gpu, holders.get(gpu.id))
    usage = info.usage
    if not info.gpus and "load" in usage and "cpus" in usage:
        share = min(1.0, usage["load"] / max(1, usage["cpus"]))
        st.progress(share, f"Processor: load {usage['load']:.1f} on {usage['cpus']} cores")
    if "used_bytes" in usage and "memory_bytes" in usage:
        text = f"Memory: {used_of(usage['used_bytes'], usage['memory_bytes'])}"
        st.progress(min(1.0, usage["used_bytes"] / usage["memory_bytes"]), text)
    if "free_disk_bytes" in usage:
        st.caption(f":material/hard_drive: {size(usage['free_disk_bytes'])} free on the disk")


def _draw_gpu(gpu: Gpu, holder: str | None) -> None:
    use = gpu_use(gpu)
    text = " · ".join(filter(None, [f"**{plain(gpu.name)}**", use, plain(holder) if holder else "free"]))
    if gpu.used_bytes is not None and gpu.memory_bytes:
        st.progress(min(1.0, gpu.used_bytes / gpu.memory_bytes), text)
    else:
        st.progress(1.0 if holder else 0.0, text)
