"""The table and the JSON that the benchmarks leave in docs/benchmarks."""

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure

Results = dict[str, Any]

INTRODUCTION = """\
# Benchmarks

Written by `make bench`; `python -m tests.bench NAME` measures one part anew and replaces its rows only.
A figure is the median of its repeats, with the smallest and the largest beside it. Where there is a limit or
a baseline, both are measured in turns by the same process, so that the ratio means something on a busy
machine too. Nothing here is a pass or a fail.
"""


def keep(folder: Path, name: str, figures: list[Figure], *, is_quick: bool) -> None:
    """Replace one benchmark's rows in results.json and write the table anew."""
    path = folder / "results.json"
    results: Results = json.loads(path.read_text()) if path.exists() else {}
    results[name] = {
        "machine": machine_line(),
        "date": datetime.now(UTC).date().isoformat(),
        "is_quick": is_quick,
        "figures": [asdict(figure) for figure in figures],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(sorted(results.items())), indent=2, ensure_ascii=False) + "\n")
    (folder / "README.md").write_text(table(results))


def machine_line() -> str:
    """Say what was measured on: processor, cores, memory, versions."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    names = ("torch", "streamlit", "onnxruntime")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    python = platform.python_version()
    return f"{_cpu_model()}, {cores} cores, {memory:.0f} GiB, no GPU used; Python {python}, {versions}"


def table(results: Results) -> str:
    """Write all results as a Markdown page."""
    lines = [INTRODUCTION]
    for line, names in _by_machine(results).items():
        lines.append(f"{', '.join(f'`{name}`' for name in names)}: {line}.  ")
    lines += ["", "| part | what | figure | range | ratio, goal | how |", "|---|---|---|---|---|---|"]
    for name, result in results.items():
        for value in result["figures"]:
            lines.append(_row(name, Figure(**value), is_quick=result["is_quick"]))
    return "\n".join(lines) + "\n"


def one_line(figure: Figure) -> str:
    """Say one figure on one line, for the terminal."""
    line = f"{figure.what}: {_number(figure.value)} {figure.unit} ({_range(figure)})"
    return f"{line}; {_ratio(figure)}" if _ratio(figure) else line


def _by_machine(results: Results) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, result in results.items():
        found.setdefault(f"{result['date']}, {result['machine']}", []).append(name)
    return found


def _row(name: str, figure: Figure, *, is_quick: bool) -> str:
    value = f"**{_number(figure.value)} {figure.unit}**"
    how = f"{figure.how} (quick run)" if is_quick else figure.how
    return f"| `{name}` | {figure.what} | {value} | {_range(figure)} | {_ratio(figure)} | {how} |"


def _range(figure: Figure) -> str:
    if figure.repeats == 1:
        return "one run"
    return f"{_number(figure.low)} to {_number(figure.high)}, {figure.repeats} runs"


def _ratio(figure: Figure) -> str:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f} of {figure.against}"
    return ", ".join(part for part in (ratio, figure.goal and f"goal {figure.goal}") if part)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor() or "unknown processor"
