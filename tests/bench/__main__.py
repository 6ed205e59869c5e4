"""Measure: `python -m tests.bench [--quick] [NAME...]` writes docs/benchmarks; without a name, everything.

Each benchmark runs in a process of its own, so that none sees another's threads, caches or imports.
"""

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from core.training.environment import PROCESS_ENV
from tests.bench.benchmarks import BENCHMARKS, measured
from tests.bench.report import keep, one_line

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run what was asked for, one after the other, and keep each one's rows as soon as they are there."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="few repeats on little data")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="the folder to write")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"there is no {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    os.environ.update(PROCESS_ENV)  # as the worker's processes have it, before torch is imported
    fresh = multiprocessing.get_context("spawn")
    for name in given.names or BENCHMARKS:
        print(f"{name} ...", flush=True)
        with ProcessPoolExecutor(1, mp_context=fresh) as alone:
            figures = alone.submit(measured, name, is_quick=given.quick).result()
        keep(given.out, name, figures, is_quick=given.quick)
        for figure in figures:
            print(f"  {one_line(figure)}", flush=True)


if __name__ == "__main__":
    main()
