"""The benchmarks there are. A name is a command line argument and a key in results.json."""

import importlib

from tests.bench.figures import Figure

BENCHMARKS = {
    "start": "tests.bench.start",
    "import": "tests.bench.photo_import",
    "pages": "tests.bench.page_time",
    "curves": "tests.bench.curves",
    "polygon": "tests.bench.polygon",
    "canvas": "tests.bench.canvas_frames",
    "assist": "tests.bench.assist",
    "epoch-step": "tests.bench.epoch_step",
    "train": "tests.bench.train_share",
    "evaluate": "tests.bench.evaluate_share",
    "dispatch": "tests.bench.dispatch",
    "predict": "tests.bench.predict_time",
    "memory": "tests.bench.memory",
    "intervals": "tests.bench.intervals",
    "analysis": "tests.bench.analysis",
    "image-table": "tests.bench.image_table",
}


def measured(name: str, *, is_quick: bool) -> list[Figure]:
    """Run one benchmark; only its own module is imported."""
    return importlib.import_module(BENCHMARKS[name]).measure(is_quick=is_quick)
