"""A run that the real worker trained, as short as a run can be: its checkpoint predicts like any other."""

import json

from core.domain.runs import Run
from core.services import training
from core.services.home import open_home
from core.storage.store import Store
from tests.bench.processes import command_line

PROJECT = "Sample: car panels"


def train_sample(*settings: str, epochs: int) -> tuple[Store, Run]:
    """Make the sample project on the present home and train the fast preset on it, to the end."""
    command_line("sample", "--project", PROJECT)
    words = [word for setting in settings for word in ("--set", setting)]
    said = command_line("train", "--project", PROJECT, "--epochs", str(epochs), *words, "--wait", "--json")
    store = open_home()
    return store, training.get_run(store, json.loads(said)["run"])


def train_shortly() -> tuple[Store, Run]:
    """Train one epoch on a handful of photos."""
    return train_sample("max_train_images=8", "max_valid_images=2", epochs=1)
