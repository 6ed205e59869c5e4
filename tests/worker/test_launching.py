"""The command and the environment of a work process."""

import sys
from pathlib import Path

import pytest

from core.domain.runs import WorkState
from core.storage.lifecycle import JOBS, RUNS, Claim, OwnedWork
from core.storage.settings import Settings
from core.storage.store import Store
from core.worker.launching import ROOT, Lane, child_environment, command


def work(devices: int) -> OwnedWork:
    return OwnedWork(
        Claim("01a1", 3), WorkState.DISPATCHED, False, "here", None, heartbeat_at=None, devices=devices
    )


@pytest.mark.parametrize("devices", [0, 1])
def test_work_on_one_device_is_one_process(devices: int) -> None:
    assert command("job", work(devices)) == [
        *(sys.executable, "-m", "core.worker", "job", "01a1", "--attempt", "3")
    ]


def test_a_run_on_two_devices_is_torchrun_with_two_processes_on_loopback() -> None:
    words = command("run", work(2), "/opt/python")

    assert words[:3] == ["/opt/python", "-m", "torch.distributed.run"]
    assert words[-6:] == ["-m", "core.worker", "run", "01a1", "--attempt", "3"]
    options = dict(zip(words[3:-6:2], words[4:-6:2], strict=True))
    assert options["--nproc-per-node"] == "2"
    assert options["--nnodes"] == "1"
    assert options["--max-restarts"] == "0"  # the queue starts it again, as a new attempt
    assert options["--rdzv-endpoint"] == "127.0.0.1:0"
    assert options["--local-addr"] == "127.0.0.1"


def test_a_lane_is_called_as_its_table() -> None:
    assert [Lane(table, 1).name for table in (RUNS, JOBS)] == ["run", "job"]


def test_a_work_process_opens_the_same_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = child_environment(store)
    for name in ("MASKWRIGHT_HOME", "MASKWRIGHT_DATABASE_URL", "MASKWRIGHT_BLOBS"):
        monkeypatch.setenv(name, environment[name])

    read = Settings()

    assert read.home == store.home
    assert read.resolved_database_url() == str(store.engine.url)
    assert read.resolved_blobs() == store.blobs.url


def test_a_work_process_finds_the_program_wherever_it_starts(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert child_environment(store)["PYTHONPATH"] == f"{ROOT}:{tmp_path}"


def test_what_torch_reads_at_import_is_set_but_what_we_were_told_stands(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    by_default = child_environment(store)["OMP_WAIT_POLICY"]
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")

    assert (by_default, child_environment(store)["OMP_WAIT_POLICY"]) == ("PASSIVE", "ACTIVE")


@pytest.mark.parametrize(
    ("gpu_ids", "visible"), [(("GPU-a", "GPU-b"), "GPU-a,GPU-b"), ((), ""), (None, "5,6")]
)
def test_a_work_process_sees_the_gpus_it_was_given(
    store: Store, monkeypatch: pytest.MonkeyPatch, gpu_ids: tuple[str, ...] | None, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)

    environment = child_environment(store, gpu_ids)

    assert environment["CUDA_VISIBLE_DEVICES"] == visible
    assert environment.get("CUDA_DEVICE_ORDER") == (None if gpu_ids is None else "PCI_BUS_ID")
