"""The command line as a user types it: a process of its own on a home of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.storage.store import Store
from tests.builders import empty_store

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 900  # a machine may be busy; a hang is still found


@dataclass(frozen=True)
class CommandLine:
    """`python -m core` on one home."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """All variables, with this home and none of the caller's own settings."""
        others = {key: value for key, value in os.environ.items() if not key.startswith("MASKWRIGHT_")}
        return {**others, "MASKWRIGHT_HOME": str(self.home)}

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command and give its exit code and output, whatever they are."""
        command = [sys.executable, "-m", "core", *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
        )

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a command and leave it running; its output is not kept."""
        return subprocess.Popen(
            [sys.executable, "-m", "core", *map(str, arguments)],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def json(self, *arguments: str | Path) -> Any:
        """Run a command with --json; all of standard output is the one value that it gives."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def store(self) -> Store:
        """Open the same home in this process."""
        return empty_store(self.home)
