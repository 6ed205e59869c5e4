"""The process is prepared before it computes, and its spawner needs no torch to know how."""

import subprocess
import sys

import pytest
import torch

from core.training.environment import PROCESS_ENV, prepare_process


def test_the_number_of_threads_is_set() -> None:
    before = torch.get_num_threads()
    try:
        prepare_process(1)
        assert torch.get_num_threads() == 1
        prepare_process(0)
        assert torch.get_num_threads() >= 1
    finally:
        torch.set_num_threads(before)


def test_processes_of_one_training_share_the_cores() -> None:
    before = torch.get_num_threads()
    try:
        prepare_process(0)
        alone = torch.get_num_threads()
        prepare_process(0, processes=2)
        assert torch.get_num_threads() == max(1, alone // 2)
        prepare_process(3, processes=2)
        assert torch.get_num_threads() == 3, "a number that was asked for is each one's own"
    finally:
        torch.set_num_threads(before)


def test_only_a_deterministic_process_refuses_what_cannot_be_repeated() -> None:
    prepare_process(1, is_deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()

    prepare_process(1)
    assert not torch.are_deterministic_algorithms_enabled()


def test_waiting_threads_sleep() -> None:
    assert PROCESS_ENV["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize(
    "module",
    [
        "core.training.environment",
        "core.training.losses",
        "core.training.dataset",
        "core.models.registry",
        "core.models.upsampling",
        "core.inference.predict",
    ],
)
def test_what_the_web_process_may_import_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
