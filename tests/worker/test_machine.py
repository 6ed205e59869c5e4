"""The GPUs a worker finds, by a stand-in for NVIDIA's tool, and what the machine uses."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from core.domain.errors import FormatError
from core.domain.runs import Gpu
from core.worker.machine import find_gpus, usage

H200 = "GPU-5b1fd7a2-9c7e-11ee-8c90-0242ac120002"
L4 = "GPU-7d0ab3c4-9c7e-11ee-8c90-0242ac120003"
TWO = f"""0, {H200}, NVIDIA H200, 143771, 3021, 25
1, {L4}, NVIDIA L4, [N/A], [N/A], [Not Supported]
"""
LISTED = (
    Gpu(H200, "NVIDIA H200", 143771 << 20, 3021 << 20, 0.25),
    Gpu(L4, "NVIDIA L4"),
)

Tool = Callable[[str], None]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing said about GPUs, and no nvidia-smi of the machine's own."""
    for name in ("MASKWRIGHT_GPUS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    """Puts a script on the path that is called nvidia-smi."""

    def put(script: str) -> None:
        path = tmp_path / "bin" / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return put


def says(text: str) -> str:
    return f"/bin/cat <<'END'\n{text}END"


def ids() -> list[str]:
    return [gpu.id for gpu in find_gpus()]


def test_a_machine_without_the_tool_has_none() -> None:
    assert find_gpus() == ()


def test_each_gpu_is_listed_with_its_figures_and_none_for_what_nobody_measures(tool: Tool) -> None:
    tool(says(TWO))

    assert find_gpus() == LISTED


def test_the_tool_is_asked_for_what_is_read(tool: Tool, tmp_path: Path) -> None:
    tool(f'echo "$@" > {tmp_path}/asked')

    find_gpus()

    assert (tmp_path / "asked").read_text().split() == [
        "--query-gpu=index,uuid,name,memory.total,memory.used,utilization.gpu",
        "--format=csv,noheader,nounits",
    ]


@pytest.mark.parametrize(
    "script",
    [
        "echo 'NVIDIA-SMI has failed because it could not communicate with the driver.'; exit 9",
        "echo 'No devices were found'",
        "printf '\\377\\376 broken'",
        "kill -9 $$",
        "",
    ],
)
def test_a_tool_that_fails_is_no_gpu_and_no_error(tool: Tool, script: str) -> None:
    tool(script)

    assert find_gpus() == ()


def test_what_the_tool_says_beside_its_list_is_passed_over(tool: Tool) -> None:
    tool(says(f"Warning: infoROM is corrupted at gpu 0000:01:00.0\n\n{TWO}"))

    assert find_gpus() == LISTED


def test_a_tool_that_does_not_answer_is_not_waited_for(tool: Tool, tmp_path: Path) -> None:
    tool(f"echo $$ > {tmp_path}/pid; exec /bin/sleep 600")

    assert find_gpus(answer_seconds=2) == ()

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_file_that_cannot_be_run_is_no_gpu(tool: Tool, tmp_path: Path) -> None:
    tool("")
    (tmp_path / "bin" / "nvidia-smi").write_bytes(b"\x7fELF no program")

    assert find_gpus() == ()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0,1", [H200, L4]),
        ("1,0", [L4, H200]),
        ("1", [L4]),
        (f"{L4}", [L4]),
        ("GPU-5b1fd7a2", [H200]),
        (" 1 , 0 ", [L4, H200]),
        ("1,1", [L4]),
        ("0,7,1", [H200]),
        ("-1", []),
        ("", []),
        ("NoDevFiles", []),
        ("MIG-5b1fd7a2-9c7e-11ee-8c90-0242ac120002", []),
    ],
)
def test_only_those_that_cuda_may_see_are_used_in_its_order_up_to_the_first_unknown(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    tool(says(TWO))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert ids() == expected


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("2", ["0", "1"]),
        (" 1 ", ["0"]),
        ("0", []),
        ("GPU-a,GPU-b", ["GPU-a", "GPU-b"]),
        ("GPU-a, GPU-b,", ["GPU-a", "GPU-b"]),
        ("GPU-a,GPU-a", ["GPU-a"]),
        ("1,", ["1"]),
        ("3,1", ["3", "1"]),
        ("MIG-GPU-5b1fd7a2/1/0", ["MIG-GPU-5b1fd7a2/1/0"]),
    ],
)
def test_gpus_can_be_declared_where_no_tool_tells(
    monkeypatch: pytest.MonkeyPatch, declared: str, expected: list[str]
) -> None:
    monkeypatch.setenv("MASKWRIGHT_GPUS", declared)

    assert ids() == expected


@pytest.mark.parametrize("declared", ["two", "GPU-a;GPU-b", "-1", "0x1", "GPU-a,all", "²"])
def test_a_declaration_that_nobody_understands_is_refused(
    monkeypatch: pytest.MonkeyPatch, declared: str
) -> None:
    monkeypatch.setenv("MASKWRIGHT_GPUS", declared)

    with pytest.raises(FormatError, match="MASKWRIGHT_GPUS must be a number of GPUs, or their ids"):
        find_gpus()


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("1", LISTED[:1]),
        ("5", LISTED),
        ("0", ()),
        ("1,", LISTED[1:]),
        (L4, LISTED[1:]),
        ("MIG-a", (Gpu("MIG-a", "GPU MIG-a"),)),
    ],
)
def test_declared_gpus_are_measured_where_the_tool_knows_them(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, declared: str, expected: tuple[Gpu, ...]
) -> None:
    tool(says(TWO))
    monkeypatch.setenv("MASKWRIGHT_GPUS", declared)

    assert find_gpus() == expected


@pytest.mark.parametrize(
    ("visible", "expected"), [("3,5,6", ["3", "5"]), ("GPU-x", ["GPU-x"]), ("", []), ("-1", [])]
)
def test_a_declared_number_counts_among_those_that_cuda_may_see(
    monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    monkeypatch.setenv("MASKWRIGHT_GPUS", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert ids() == expected


def test_the_use_of_this_machine_is_measured(tmp_path: Path) -> None:
    figures = usage(tmp_path)

    assert set(figures) == {"cpus", "load", "free_disk_bytes", "memory_bytes", "used_bytes"}
    assert figures["cpus"] == len(os.sched_getaffinity(0))
    assert figures["load"] >= 0
    assert figures["free_disk_bytes"] > 0
    assert 0 < figures["used_bytes"] < figures["memory_bytes"]


@pytest.mark.parametrize("meminfo", ["MemTotal:  2048 kB\nMemFree:  1024 kB\n", None])
def test_what_cannot_be_measured_is_left_out(tmp_path: Path, meminfo: str | None) -> None:
    if meminfo:
        (tmp_path / "meminfo").write_text(meminfo)

    figures = usage(tmp_path / "gone", proc=tmp_path)

    assert set(figures) == {"cpus", "load"}
