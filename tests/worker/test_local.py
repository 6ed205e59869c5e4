"""The launcher of one machine with real processes: who gets which GPU, and what is stopped when."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.domain.images import Project
from core.domain.runs import Gpu, Process, Run, WorkState
from core.storage import jobs, lifecycle, processes, reservations, runs, tables
from core.storage.lifecycle import JOBS, RUNS, Claim, Room
from core.storage.store import Store
from core.worker.launching import Patience
from core.worker.local import LocalLauncher
from core.worker.processes import spawn
from core.worker.supervisor import LANES, Supervisor
from tests.worker.builders import photo_bytes, wait_until

HERE = processes.this_host()
QUICK = Patience(poll=0.05, cancel=0.3, terminate=0.3)
ENDLESS = Patience(cancel=1000, terminate=1000)
DEAF = ["sh", "-c", "trap '' TERM; echo up; exec sleep 600"]
COUNTING = ["sh", "-c", "trap 'echo term' TERM; echo up; while :; do sleep 0.05; done"]


@dataclass
class Host:
    """This machine's launchers, and processes that pretend to be work."""

    store: Store
    launchers: list[LocalLauncher] = field(default_factory=list)
    spawned: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def launcher(self, lane: str, gpu_ids: tuple[str, ...] = (), patience: Patience = QUICK) -> LocalLauncher:
        """Open the launcher of a lane, on a machine with these GPUs."""
        self.launchers.append(LocalLauncher(self.store, LANES[lane], patience, gpu_ids=gpu_ids))
        return self.launchers[-1]

    def process(self, command: list[str] = DEAF) -> Process:
        """Start something in a session of its own, and wait until it is up."""
        log = self.store.home / "logs" / f"pretended-{len(self.spawned)}.log"
        child = spawn(command, log)
        self.spawned.append(child)
        wait_until(lambda: "up" in log.read_text())
        process = processes.find(child.pid)
        assert process is not None
        return process

    def said(self, word: str) -> int:
        """Count how often the first pretended process said something."""
        return (self.store.home / "logs" / "pretended-0.log").read_text().split().count(word)

    def start(self, leader: Process, *ranks: Process) -> Claim:
        """Queue a job, and let a pretended process run it."""
        jobs.create(self.store, "import", {"leader": leader.pid})
        claim = lifecycle.claim(self.store, JOBS, HERE, Room(100))
        assert claim is not None
        lifecycle.start(self.store, JOBS, claim, leader)
        reservations.record_ranks(self.store, claim, ranks)
        return claim

    def end(self) -> None:
        """Kill whatever is left."""
        children = [child for launcher in self.launchers for child in launcher.children.values()]
        for child in [*children, *self.spawned]:
            child.kill()
            child.wait()


@pytest.fixture
def host(store: Store) -> Generator[Host]:
    host = Host(store)
    yield host
    host.end()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "0.jpg").write_bytes(photo_bytes(0))
    return folder


def halt(process: Process) -> dict[str, str]:
    """Stop a process so that it costs nothing and does not end; give its variables."""
    os.kill(process.pid, signal.SIGSTOP)
    environ = Path(f"/proc/{process.pid}/environ")
    wait_until(environ.read_text)  # the kernel fills it in a moment after Popen returns
    return dict(line.split("=", 1) for line in environ.read_text().split("\0") if line)


def under_way(store: Store, table: sa.Table = RUNS) -> dict[str, Process]:
    """Map what is under way to its process."""
    return {work.claim.work_id: work.process for work in lifecycle.active(store, table) if work.process}


def visible(process: Process) -> str:
    return halt(process)["CUDA_VISIBLE_DEVICES"]


def states(store: Store, *of: Run) -> list[str]:
    return [runs.get(store, run.id).state.value for run in of]


def test_two_runs_train_at_once_each_on_a_gpu_of_its_own_and_a_third_waits_but_no_job(
    store: Store, host: Host, project: Project, photos: Path, queue_run: Callable[..., Run]
) -> None:
    first, second, third = (queue_run(epochs=100) for _ in range(3))
    gpus = ("0", "1")
    supervisor = Supervisor(store, [host.launcher("run", gpus), host.launcher("job", gpus)], QUICK)

    supervisor.round()
    devices = {run_id: visible(process) for run_id, process in under_way(store).items()}
    job = jobs.create(store, "import", {"path": str(photos), "project_id": project.id})
    supervisor.round()
    (helper,) = under_way(store, JOBS).values()
    job_sees = visible(helper)
    os.kill(helper.pid, signal.SIGCONT)
    wait_until(lambda: supervisor.round() or jobs.get(store, job.id).state.is_final)
    meanwhile = states(store, first, second, third)
    lifecycle.request_cancel(store, RUNS, first.id)
    wait_until(lambda: supervisor.round() or third.id in under_way(store))

    assert devices == {first.id: "0", second.id: "1"}
    assert job_sees == ""
    assert jobs.get(store, job.id).state is WorkState.SUCCEEDED
    assert meanwhile == ["dispatched", "dispatched", "queued"]
    assert visible(under_way(store)[third.id]) == "0"
    assert states(store, first, third) == ["cancelled", "dispatched"]


def test_a_job_borrows_a_gpu_that_no_run_holds(
    store: Store, host: Host, photos: Path, queue_run: Callable[..., Run]
) -> None:
    queue_run(epochs=100)
    jobs.create(store, "import", {"path": str(photos)})
    gpus = ("GPU-a", "GPU-b")
    supervisor = Supervisor(store, [host.launcher("run", gpus), host.launcher("job", gpus)], QUICK)

    supervisor.round()

    (run,), (job,) = under_way(store).values(), under_way(store, JOBS).values()
    assert (visible(run), visible(job)) == ("GPU-a", "GPU-b")


@pytest.mark.parametrize(("declared", "expected"), [("0", ""), ("", "7")])
def test_gpus_declared_as_none_are_hidden_and_undeclared_ones_are_left_as_they_are(
    store: Store, host: Host, monkeypatch: pytest.MonkeyPatch, declared: str, expected: str
) -> None:
    monkeypatch.setenv("MASKWRIGHT_GPUS", declared)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    jobs.create(store, "import", {})

    Supervisor(store, [host.launcher("job")], QUICK).round()

    (process,) = under_way(store, JOBS).values()
    assert visible(process) == expected


def test_a_machine_without_gpus_trains_one_run_at_a_time(
    store: Store, host: Host, queue_run: Callable[..., Run]
) -> None:
    first, second = queue_run(epochs=100), queue_run(epochs=100, devices=2, batch_size=4)
    supervisor = Supervisor(store, [host.launcher("run")], QUICK)

    supervisor.round()

    assert list(under_way(store)) == [first.id]
    halt(under_way(store)[first.id])
    assert states(store, second) == ["queued"]


def test_a_run_that_is_larger_than_this_machine_is_left_to_others(
    store: Store, host: Host, queue_run: Callable[..., Run]
) -> None:
    wide, small = queue_run(epochs=100, devices=3, batch_size=6), queue_run(epochs=100)
    launcher = host.launcher("run", ("0", "1"))

    Supervisor(store, [launcher], QUICK).round()

    halt(under_way(store)[small.id])
    assert states(store, wide, small) == ["queued", "dispatched"]
    assert launcher.offer().largest == 2


def test_a_process_that_cannot_be_started_goes_back_and_holds_nothing(store: Store, host: Host) -> None:
    (store.home / "logs").write_text("a file where the folder should be")
    job = jobs.create(store, "import", {})

    Supervisor(store, [host.launcher("job")], QUICK).round()

    put_back = jobs.get(store, job.id)
    assert (put_back.state, put_back.attempt) == (WorkState.QUEUED, 1)
    assert put_back.error.startswith("it could not be started (")
    assert reservations.left_behind(store, JOBS, HERE) == []


def test_a_killed_child_goes_back_to_the_queue_and_holds_nothing(store: Store, host: Host) -> None:
    job = jobs.create(store, "import", {})
    launcher = host.launcher("job")
    Supervisor(store, [launcher], QUICK).round()
    (process,) = under_way(store, JOBS).values()

    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not processes.is_alive(process))
    launcher.watch()

    interrupted = jobs.get(store, job.id)
    assert interrupted.state in (WorkState.QUEUED, WorkState.INTERRUPTED)  # before or after it reported
    assert interrupted.error == "its process was killed; perhaps the memory ran out"
    assert reservations.left_behind(store, JOBS, HERE) == []
    assert launcher.children == {}


def test_an_overdue_cancel_ends_the_leader_and_every_rank(store: Store, host: Host) -> None:
    leader, *ranks = (host.process() for _ in range(3))
    other = host.process()
    claim = host.start(leader, *ranks)
    host.start(other)
    launcher = host.launcher("job")
    lifecycle.request_cancel(store, JOBS, claim.work_id)

    wait_until(lambda: launcher.watch() or not any(map(processes.is_alive, (leader, *ranks))))

    assert processes.is_alive(other)


def test_an_overdue_cancel_asks_once_before_it_kills(store: Store, host: Host) -> None:
    leader = host.process(COUNTING)
    claim = host.start(leader)
    patience = Patience(cancel=0, terminate=0.5)
    launcher = host.launcher("job", patience=patience)
    lifecycle.request_cancel(store, JOBS, claim.work_id)

    wait_until(lambda: launcher.watch() or not processes.is_alive(leader))

    assert host.said("term") == 1


def test_a_cancel_that_is_not_overdue_leaves_the_work_its_time(store: Store, host: Host) -> None:
    leader = host.process(COUNTING)
    claim = host.start(leader)
    launcher = host.launcher("job", patience=ENDLESS)
    lifecycle.request_cancel(store, JOBS, claim.work_id)

    for _ in range(3):
        launcher.watch()

    assert processes.is_alive(leader)
    assert host.said("term") == 0


def test_work_of_another_host_is_none_of_ours_to_stop(store: Store, host: Host) -> None:
    leader = host.process()
    claim = host.start(leader)
    with store.write() as connection:
        connection.execute(sa.update(JOBS).values(host="another-host"))
        connection.execute(sa.update(tables.reservation).values(host="another-host"))
    launcher = host.launcher("job", patience=Patience(cancel=0, terminate=0))
    lifecycle.request_cancel(store, JOBS, claim.work_id)

    for _ in range(3):
        launcher.watch()

    assert processes.is_alive(leader)


def test_processes_whose_row_was_taken_away_are_killed_at_once_and_then_hold_nothing(
    store: Store, host: Host
) -> None:
    leader, rank = host.process(), host.process()
    claim = host.start(leader, rank)
    launcher = host.launcher("job", patience=ENDLESS)
    lifecycle.interrupt(store, JOBS, claim, "no sign of life")

    wait_until(lambda: launcher.watch() or not reservations.left_behind(store, JOBS, HERE))

    assert not processes.is_alive(leader)
    assert not processes.is_alive(rank)


def test_what_a_newer_attempt_left_behind_is_killed_though_that_one_has_ended_well(
    store: Store, host: Host
) -> None:
    leader = host.process()
    old = host.start(leader)
    lifecycle.interrupt(store, JOBS, old, "no sign of life")
    lifecycle.requeue_interrupted(store, JOBS)
    new = lifecycle.claim(store, JOBS, "another-host", Room(1))
    assert new is not None
    lifecycle.start(store, JOBS, new, Process(1, 1, "another boot"))
    lifecycle.succeed(store, JOBS, new)

    wait_until(lambda: host.launcher("job", patience=ENDLESS).watch() or not processes.is_alive(leader))

    assert jobs.get(store, old.work_id).state is WorkState.SUCCEEDED


def test_a_process_that_wrote_its_verdict_may_leave_by_itself_and_holds_what_it_has_until_then(
    store: Store, host: Host
) -> None:
    leader = host.process()
    claim = host.start(leader)
    launcher = host.launcher("job", patience=ENDLESS)
    lifecycle.succeed(store, JOBS, claim)

    for _ in range(3):
        launcher.watch()

    assert processes.is_alive(leader)
    assert [left.claim for left in reservations.left_behind(store, JOBS, HERE)] == [claim]


def test_a_process_that_wrote_its_verdict_and_does_not_leave_is_killed(store: Store, host: Host) -> None:
    leader = host.process()
    claim = host.start(leader)
    launcher = host.launcher("job")
    lifecycle.succeed(store, JOBS, claim)

    launcher.watch()
    at_first = processes.is_alive(leader)
    wait_until(lambda: launcher.watch() or not reservations.left_behind(store, JOBS, HERE))

    assert at_first
    assert not processes.is_alive(leader)


def test_a_rank_that_outlives_its_leader_holds_the_reservation_until_it_is_gone(
    store: Store, host: Host
) -> None:
    rank = host.process()
    claim = host.start(Process(1, 1, "another boot"), rank)
    lifecycle.succeed(store, JOBS, claim)
    launcher = host.launcher("job", patience=ENDLESS)

    launcher.watch()
    before = [left.claim for left in reservations.left_behind(store, JOBS, HERE)]
    os.killpg(rank.pid, signal.SIGKILL)
    wait_until(lambda: not processes.is_alive(rank))
    launcher.watch()

    assert (before, reservations.left_behind(store, JOBS, HERE)) == ([claim], [])


def test_the_time_that_a_cancel_took_is_not_taken_from_the_time_to_leave(store: Store, host: Host) -> None:
    leader = host.process(COUNTING)
    claim = host.start(leader)
    launcher = host.launcher("job", patience=Patience(cancel=1000, terminate=0.5))
    lifecycle.request_cancel(store, JOBS, claim.work_id)
    launcher.watch()
    time.sleep(0.6)

    lifecycle.stopped(store, JOBS, claim)
    launcher.watch()

    assert processes.is_alive(leader)


def test_a_launcher_offers_its_gpus_as_they_are_now_and_those_nobody_measures_by_name(
    store: Store, host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-a, NVIDIA L4, 23034, 512, 40'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("MASKWRIGHT_GPUS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)

    offer = host.launcher("run", ("GPU-a", "GPU-b")).offer()

    measured = Gpu("GPU-a", "NVIDIA L4", 23034 << 20, 512 << 20, 0.4)
    assert offer.gpus == (measured, Gpu("GPU-b", "GPU GPU-b"))
    assert (offer.slots, offer.largest) == (2, 2)
    assert host.launcher("job", ("GPU-a",)).offer().gpus == ()
    assert LocalLauncher(store, LANES["run"]).gpu_ids == ("GPU-a",)
