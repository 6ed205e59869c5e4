"""The lines that imports must not cross, as far as running code shows them (lint-imports does the rest)."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_python(code: str, home: Path) -> str:
    """Run a program in a fresh process at the root and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env={**os.environ, "MASKWRIGHT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_web_process_never_loads_torch(tmp_path: Path) -> None:
    code = """
import importlib, pathlib, sys
import app
from streamlit.testing.v1 import AppTest
for path in sorted(pathlib.Path("core/services").glob("*.py")):
    importlib.import_module(f"core.services.{path.stem}")
test = AppTest.from_file("app.py", default_timeout=60).run()
for path in sorted(pathlib.Path("pages").glob("*.py")):
    if path.stem not in ("__init__", "home"):
        test.switch_page(str(path)).run()
        assert not test.exception, test.exception
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "torchvision", "timm", "lightning"}))
"""

    assert run_python(code, tmp_path) == "[]"


def test_core_loads_no_streamlit(tmp_path: Path) -> None:
    code = """
import importlib, pathlib, sys
for path in sorted(pathlib.Path("core").rglob("*.py")):
    name = ".".join(path.with_suffix("").parts)
    if "migrations" not in name and not name.endswith("__main__"):
        importlib.import_module(name.removesuffix(".__init__"))
print("streamlit" in sys.modules)
"""

    assert run_python(code, tmp_path) == "False"


def test_the_supervisor_stays_small(tmp_path: Path) -> None:
    code = "import sys, core.worker.supervisor; print('torch' in sys.modules)"

    assert run_python(code, tmp_path) == "False"


def test_init_files_hold_the_rooms_purpose_and_nothing_else() -> None:
    for path in (ROOT / "core").glob("*/__init__.py"):
        text = path.read_text().strip()
        assert text.startswith('"""') and text.endswith('"""') and text.count('"""') == 2, path
