"""The command as a process: its streams, Ctrl-C, the terminal, exit statuses. A fake stands in for the compressor."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inrzip import console

ROOT = Path(__file__).resolve().parent.parent

# A program that runs the command with a compressor that writes `.`-files as the real one does and works as it is told.
FAKE = """
import os, sys, time
sys.path.insert(0, {root!r})
import inrzip
from inrzip import cli, files
from inrzip.progress import Progress
from pathlib import Path
from types import SimpleNamespace as Space

def compress(source, destination=None, *, progress, stop, overwrite, **how):
    assert "jax" not in sys.modules
    with files.atomic_output(Path(destination), overwrite) as path:
        path.write_bytes(b"packed " + Path(source).read_bytes())
        if progress:
            progress(Progress("fitting", 0.25, 125.0, "31.2 dB [x]"))
            time.sleep(0.3)
        if how["recipe"] in ("slow", "stubborn"):
            Path("started").touch()
            while how["recipe"] == "stubborn" or not stop():
                time.sleep(0.01)
        machine = (len(os.sched_getaffinity(0)), os.environ.get("JAX_PLATFORMS"))
    return Space(path=Path(destination), bytes=100, source_bytes=200, bpp=None, quality={{}}, seconds=1.0, recipe="r",
                 lossless=False, n_parameters=1, note="the target was missed", resumed=False, stopped_early=stop(),
                 to_json=lambda: {{"machine": machine}})

def decompress(source, destination=None, **how):
    path = destination or Path(source).with_suffix(".raw")
    path.write_bytes(Path(source).read_bytes().removeprefix(b"packed "))
    return Space(path=path, bytes=100, seconds=1.0, shape=(2, 2), note="", to_json=dict)

inrzip.compress, inrzip.decompress = compress, decompress
sys.exit(cli.main())
"""


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    path = tmp_path / "program"
    path.write_text(FAKE.format(root=str(ROOT)))
    (tmp_path / "in.png").write_bytes(b"pixels")
    return [sys.executable, str(path)]


def test_streams(program: list[str], tmp_path: Path) -> None:
    def run(arguments: str, given: bytes = b"pixels") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*program, *arguments.split()], input=given, capture_output=True, cwd=tmp_path)

    packed = run("compress -")
    assert (packed.returncode, packed.stdout) == (0, b"packed pixels")
    lines = packed.stderr.decode().splitlines()
    assert lines[0].startswith("(standard output)  100 B  (2x smaller)")
    assert lines[1:] == ["inrzip: (standard output): the target was missed"]
    unpacked = run("decompress - --quiet", packed.stdout)
    assert (unpacked.returncode, unpacked.stdout, unpacked.stderr) == (0, b"pixels", b"")
    assert run("compress in.png -o out.inrz --quiet").stdout == b""
    assert run("decompress out.inrz -o - --quiet").stdout == b"pixels"
    again = run("compress in.png -o out.inrz")
    assert (again.returncode, again.stdout) == (1, b"") and again.stderr.count(b"\n") == 1
    empty = run("compress -", b"")
    assert (empty.returncode, empty.stderr) == (1, b"inrzip: (standard input): is empty; pipe a file into it\n")
    assert {path.name for path in tmp_path.iterdir()} == {"program", "in.png", "out.inrz"}


def test_machine_is_chosen_before_jax_loads(program: list[str], tmp_path: Path) -> None:
    chosen = subprocess.run(
        [*program, "compress", "in.png", "--json", "--threads", "1", "--device", "cpu"],
        cwd=tmp_path,
        capture_output=True,
    )
    assert json.loads(chosen.stdout) == {"machine": [1, "cpu"]} and chosen.stderr == b""


def _until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


def _start(program: list[str], folder: Path, arguments: str) -> subprocess.Popen[str]:
    """The program in a state where it works and would go on until stopped."""
    process = subprocess.Popen(
        [*program, *arguments.split()],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The tests may themselves run with Ctrl-C ignored, as a shell's background jobs do, and hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    _until((folder / "started").exists, "the program")
    return process


def test_first_interrupt_keeps_the_best_so_far(program: list[str], tmp_path: Path) -> None:
    (tmp_path / "next.png").write_bytes(b"")
    process = _start(program, tmp_path, "compress in.png next.png --recipe slow")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "in.inrz  100 B" in out and "(stopped early)" in out
    assert err.splitlines()[0] == f"inrzip: {console.STOPPING}"
    assert err.splitlines()[-1] == "inrzip: interrupted; 1 of 2 files were not compressed"
    assert (tmp_path / "in.inrz").read_bytes() == b"packed pixels" and not (tmp_path / "next.inrz").exists()


@pytest.mark.parametrize(
    ("signals", "status", "last"),
    [((signal.SIGINT, signal.SIGINT), 130, "interrupted"), ((signal.SIGTERM,), 143, "terminated")],
)
def test_abort_leaves_nothing(
    signals: tuple[signal.Signals, ...], status: int, last: str, program: list[str], tmp_path: Path
) -> None:
    process = _start(program, tmp_path, "compress in.png --recipe stubborn")
    assert process.stderr is not None
    for number in signals[:-1]:
        process.send_signal(number)
        assert process.stderr.readline() == f"inrzip: {console.STOPPING}\n"
    process.send_signal(signals[-1])
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (status, "", f"inrzip: {last}\n")
    assert {path.name for path in tmp_path.iterdir()} == {"program", "in.png", "started"}


def _on_terminal(command: list[str], folder: Path, stdout: int | None = None) -> tuple[int, str]:
    """Exit status and stderr of a command whose stderr, and unless `stdout` is given stdout, is a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout or theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 20)[0]:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux says so where others give an empty read
            break
        if not part:
            break
        seen += part
    os.close(ours)
    return process.wait(timeout=20), seen.decode()


def test_progress_shows_on_a_terminal_alone(program: list[str], tmp_path: Path) -> None:
    command = [*program, "compress", "in.png", "-f"]
    status, seen = _on_terminal(command, tmp_path, subprocess.DEVNULL)
    assert status == 0
    for word in ("fitting", "25%", "31.2 dB [x]", "2 m 05 s left"):
        assert word in seen
    for quiet in ("--quiet", "--json"):
        assert _on_terminal([*command, quiet], tmp_path, subprocess.DEVNULL) == (0, "")
    piped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert piped.stdout == "in.inrz  100 B  (2x smaller)  in 1.00 s\n"
    assert piped.stderr == "inrzip: in.inrz: the target was missed\n"


def test_bytes_are_not_written_to_a_terminal(program: list[str], tmp_path: Path) -> None:
    status, seen = _on_terminal([*program, "compress", "in.png", "-o", "-"], tmp_path)
    assert status == 1 and "is a terminal" in seen and "packed" not in seen


def _run(*arguments: str, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_help_is_light_and_version_is_told() -> None:
    helped = _run("-X", "importtime", "-m", "inrzip", "compress", "--help")
    assert helped.returncode == 0 and "--target-size" in helped.stdout and "examples:" in helped.stdout
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in helped.stderr.splitlines()}
    assert not loaded & {"jax", "numpy", "rich", "scipy", "av", "trimesh", "skimage", "tensorstore", "equinox"}
    assert "decompress" in _run("-m", "inrzip", "--help").stdout
    assert _run("-m", "inrzip", "--version").stdout.startswith("inrzip 0.")
    bare = _run("-m", "inrzip")
    assert (bare.returncode, bare.stdout) == (2, "") and "usage" in bare.stderr


def test_reader_gone_and_full_disk() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    gone = _run("-m", "inrzip", "--help", stdout=writing)
    os.close(writing)
    assert (gone.returncode, gone.stderr) == (141, "")
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            failed = _run("-m", "inrzip", "--help", stdout=full)
        assert failed.returncode == 1 and failed.stderr.startswith("inrzip: (standard output): ")
