"""What this machine has and uses. Linux; GPUs by NVIDIA's own tool, so that no torch is needed."""

import contextlib
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import Any

from core.domain.errors import FormatError
from core.domain.runs import Gpu
from core.storage.processes import PROC
from core.storage.settings import Settings

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0  # nvidia-smi takes up to three where it has to wake the driver
_FIELDS = "index,uuid,name,memory.total,memory.used,utilization.gpu"
_ID = re.compile(r"[0-9]+|(GPU|MIG)-[\w/-]+")  # what CUDA_VISIBLE_DEVICES takes
_MIB = 1 << 20


def find_gpus(*, answer_seconds: float = ANSWER_SECONDS) -> tuple[Gpu, ...]:
    """List the GPUs that this worker may use, with their use now where it can be measured.

    MASKWRIGHT_GPUS declares them: how many, or their ids, comma separated; "0" is none, and "1," the one
    with the number 1. Undeclared, they are those that the machine has and CUDA_VISIBLE_DEVICES leaves:
    those it names, up to the first that there is not. Numbers count in the order of nvidia-smi, which is
    CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID; slices of a GPU (MIG) are known only by their declared ids.

    Raises:
        FormatError: MASKWRIGHT_GPUS is neither a number nor ids.
    """
    found = dict(_read(line) for line in _nvidia_smi(answer_seconds))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = list(found) if visible is None else list(takewhile(_ID.fullmatch, _split(visible)))
    declared = Settings().gpus.strip()
    if not declared:
        return _up_to_the_first_unknown(named, found)
    if not re.fullmatch("[0-9]+", declared):
        return tuple(_known(name, found) or Gpu(name, f"GPU {name}") for name in _declared_ids(declared))
    if not found and visible is None:
        named = [str(number) for number in range(int(declared))]
    if len(named) < int(declared):
        logger.warning("MASKWRIGHT_GPUS is %s, but only %d can be seen", declared, len(named))
    return tuple(_known(name, found) or Gpu(name, f"GPU {name}") for name in named[: int(declared)])


def usage(home: Path, proc: Path = PROC) -> dict[str, Any]:
    """Measure processors, memory and the disk that holds ``home``; bytes, and the one-minute load.

    What cannot be measured here and now is left out.
    """
    figures: dict[str, Any] = {"cpus": len(os.sched_getaffinity(0))}
    with contextlib.suppress(OSError):
        figures["load"] = round(os.getloadavg()[0], 2)
    with contextlib.suppress(OSError):
        figures["free_disk_bytes"] = shutil.disk_usage(home).free
    with contextlib.suppress(OSError):
        figures |= _memory((proc / "meminfo").read_text())
    return figures


def _memory(meminfo: str) -> dict[str, int]:
    found = dict(re.findall(r"^(MemTotal|MemAvailable): +([0-9]+) kB$", meminfo, re.MULTILINE))
    if len(found) < 2:
        return {}
    total, free = (int(found[name]) * 1024 for name in ("MemTotal", "MemAvailable"))
    return {"memory_bytes": total, "used_bytes": total - free}


def _declared_ids(declared: str) -> list[str]:
    ids = _split(declared)
    for id_ in ids:
        if not _ID.fullmatch(id_):
            raise FormatError(
                "MASKWRIGHT_GPUS must be a number of GPUs, or their ids as nvidia-smi -L shows them, "
                f"comma separated; not “{id_}”."
            )
    return ids


def _split(names: str) -> list[str]:
    """Split at the commas; each name once."""
    return list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def _known(name: str, found: dict[str, Gpu]) -> Gpu | None:
    """Find a GPU by its number, its id, or the beginning of its id."""
    if name in found:
        return found[name]
    is_id = name.startswith("GPU-")
    return next((gpu for gpu in found.values() if is_id and gpu.id.startswith(name)), None)


def _up_to_the_first_unknown(names: Iterable[str], found: dict[str, Gpu]) -> tuple[Gpu, ...]:
    gpus: list[Gpu] = []
    for name in names:
        gpu = _known(name, found)
        if gpu is None:
            break
        gpus.append(gpu)
    return tuple(gpus)


def _nvidia_smi(answer_seconds: float) -> list[list[str]]:
    """Ask for one line per GPU; none where there is no such tool or no answer that can be read."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        output = _output(command, answer_seconds)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("nvidia-smi gave no answer: %s", error)
        return []
    lines = [[part.strip() for part in line.split(",")] for line in output.splitlines() if line.strip()]
    for line in lines:
        if len(line) != _FIELDS.count(",") + 1:
            logger.warning("nvidia-smi said: %s", ", ".join(line))
    return [line for line in lines if len(line) == _FIELDS.count(",") + 1]


def _output(command: list[str], seconds: float) -> str:
    """Give what a command prints.

    Unlike ``subprocess.run`` it does not wait for one that it killed: a broken driver holds it for ever.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
            raise
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return output


def _read(fields: list[str]) -> tuple[str, Gpu]:
    """Read one line of nvidia-smi: the number, and the GPU. A figure it cannot give is "[N/A]"."""
    index, uuid, name, total, used, busy = fields
    total_mib, used_mib, percent = (
        float(value) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) else None for value in (total, used, busy)
    )
    return index, Gpu(
        uuid,
        name,
        None if total_mib is None else int(total_mib * _MIB),
        None if used_mib is None else int(used_mib * _MIB),
        None if percent is None else percent / 100,
    )
