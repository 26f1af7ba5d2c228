"""Everything that has to hold before a change is taken: `python3 -m tests [--slow] [--here]`.

Makes the virtual environment .venv if there is none, installs the project with what its tests need, and runs the
linter, the type checker and the tests in it. Needs Python 3.11 or newer and pip's package index, and nothing else.
Tests of the viewer run in Chromium, installed first where this is a Debian that allows it; else they are skipped.
Exits with status 1 if anything fails. `--here` uses the running Python's own environment in place of .venv; `--slow`
also runs the tests that take minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEAST_PYTHON = (3, 11)
# In strict mode the package is laid out in build/ as links that type checkers can follow (docs of setuptools,
# "Development Mode"); the usual mode finds root folders by an import hook, which they do not run.
INSTALL = ["-m", "pip", "install", "--quiet", "-e", ".[test,view]", "--config-settings", "editable_mode=strict"]
CHECKS = [
    ["-m", "ruff", "check", "."],
    ["-m", "ruff", "format", "--check", "--quiet", "."],
    ["-m", "mypy"],
]

BROWSER_SECONDS = 120
"""For fetching Chromium, at most."""

# A test file has a process of its own while it runs: most of a test is compiling, which one processor does.
IN_PARALLEL = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadfile"]


def environment_python(folder: Path) -> str:
    """The interpreter of the virtual environment in `folder`, made first if it is missing."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    return str(python)


def run(python: str, arguments: list[str]) -> bool:
    """Runs one step, and says what it was and how long it took."""
    begun = time.monotonic()
    print("$ python", *arguments, flush=True)
    done = subprocess.run([python, *arguments], cwd=ROOT, check=False)
    print(f"  {'ok' if done.returncode == 0 else 'FAILED'}, {time.monotonic() - begun:.0f} s", flush=True)
    return done.returncode == 0


def install_browser() -> None:
    """Installs Debian's Chromium if there is none and this is root; without it tests in a browser are skipped."""
    if shutil.which("chromium") or not (shutil.which("apt-get") and os.geteuid() == 0):
        return
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=30"]
    install = ["install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
    print("$ apt-get", *install, flush=True)
    for step in (["update"], install):
        try:
            done = subprocess.run([*apt, *step], capture_output=True, timeout=BROWSER_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            break
        if done.returncode:
            break
    print("  ok" if shutil.which("chromium") else "  not installed: tests in a browser are skipped", flush=True)


def main() -> int:
    if sys.version_info < LEAST_PYTHON:
        sys.exit("python 3.11 or newer is needed; this is " + sys.version.split()[0])
    parser = argparse.ArgumentParser(prog="python3 -m tests")
    parser.add_argument("--slow", action="store_true", help="also the tests that take minutes")
    parser.add_argument("--here", action="store_true", help="use this Python's environment, not .venv")
    options = parser.parse_args()
    python = sys.executable if options.here else environment_python(ROOT / ".venv")
    if not run(python, INSTALL):
        return 1
    install_browser()
    tests = [
        "-m",
        "pytest",
        "-q",
        "--durations=10",
        *IN_PARALLEL,
        *(["-m", "slow or not slow"] if options.slow else []),
    ]
    results = [run(python, step) for step in [*CHECKS, tests]]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
