"""Runs that are killed, interrupted or find a strange checkpoint: no fit is lost, and nothing is left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import inrzip
from inrzip import compression
from inrzip.checkpoint import Checkpoint, Progressing
from tests.common import ROOT, leftovers, picture, write_film, write_png

WAIT_SECONDS = 120

# Runs the command with frequent saves, and with fits that last long enough to be interrupted.
RUNNER = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it
sys.path.insert(0, {str(ROOT)!r})
from inrzip import checkpoint, cli, fitting, job, plan
checkpoint.SECONDS_BETWEEN_SAVES = 0.02
fitting.SECONDS_BETWEEN_REPORTS = 0.02
plan.STEPS_AT_EFFORT_1 = int(sys.argv[1])
if sys.argv[2] == "stubborn":  # after a wish to stop, goes on as if that took long
    job.LEAST_STEPS = 10**9
sys.exit(cli.main(sys.argv[3:]))
"""


def run(steps: int, *arguments: str, manner: str = "usual") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUNNER, str(steps), manner, "compress", "-e", "1", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report_of(process: subprocess.Popen[str]) -> dict:
    out, err = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, err
    report: dict = json.loads(out)
    return report


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


def check_resume(source: Path, steps: int, *arguments: str) -> None:
    folder = source.parent
    part = folder / "a.inrz.part"
    killed = run(steps, str(source), "-o", str(folder / "a.inrz"), *arguments)
    wait_for(part.exists, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=WAIT_SECONDS)
    assert part.exists() and not (folder / "a.inrz").exists()
    unbroken = run(steps, str(source), "-o", str(folder / "b.inrz"), "--json", *arguments)
    resumed = report_of(run(steps, str(source), "-o", str(folder / "a.inrz"), "--json", *arguments))
    whole = report_of(unbroken)
    assert resumed["resumed"] is True and whole["resumed"] is False
    assert resumed["n_parameters"] == whole["n_parameters"]
    assert (folder / "a.inrz").read_bytes() == (folder / "b.inrz").read_bytes()
    assert resumed["quality"] == whole["quality"]
    temporaries = [name for name in leftovers(folder, [source.name, "a.inrz", "b.inrz"]) if "-tmp-" not in name]
    assert temporaries == []


def test_a_killed_run_goes_on(tmp_path):
    check_resume(write_png(tmp_path / "a.png", picture(12, 14, 1)), 6_000, "--recipe", "siren", "--set", "depth=1")


@pytest.mark.slow
def test_a_killed_video_goes_on(tmp_path):
    check_resume(write_film(tmp_path / "a.mp4", 4, sound=False), 400, "--target-size", "2kB")


def test_interrupted_twice_leaves_nothing(tmp_path):
    source = write_png(tmp_path / "a.png", picture(12, 14, 1))
    process = run(10**8, str(source), "--recipe", "siren", "--set", "depth=1", manner="stubborn")
    wait_for((tmp_path / "a.inrz.part").exists, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "inrzip:" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130
    assert leftovers(tmp_path, ["a.png"]) == []


def test_interrupted_once_gives_a_file(tmp_path):
    source = write_png(tmp_path / "a.png", picture(12, 14, 1))
    process = run(10**8, str(source), "--recipe", "siren", "--set", "depth=1", "--json")
    wait_for((tmp_path / "a.inrz.part").exists, process)
    process.send_signal(signal.SIGINT)
    report = report_of(process)
    assert report["stopped_early"] is True
    assert leftovers(tmp_path, ["a.png"]) == ["a.inrz"]
    assert inrzip.verify(tmp_path / "a.inrz")["intact"]


# ---- the checkpoint alone ----


def leaves() -> list[np.ndarray]:
    return [np.arange(6, dtype=np.float32).reshape(2, 3), np.float32(0.5), np.zeros((0, 4), np.float32), np.int32(7)]


def saved(path: Path) -> Checkpoint:
    checkpoint = Checkpoint(path, "job")
    checkpoint.finish_segment(0, b"payload \0\xff")
    checkpoint.finish_fit("segment1/12", leaves())
    checkpoint.current = Progressing("segment1/tune", leaves()[:2])
    checkpoint.save()
    return checkpoint


def test_everything_is_kept(tmp_path):
    saved(tmp_path / "a.inrz")
    loaded = Checkpoint(tmp_path / "a.inrz", "job")
    assert loaded.resumed and loaded.payloads == {0: b"payload \0\xff"} and list(loaded.fits) == ["segment1/12"]
    for mine, theirs in zip(loaded.fits["segment1/12"], leaves(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
    assert loaded.current is not None and loaded.current.name == "segment1/tune" and len(loaded.current.leaves) == 2
    loaded.remove()
    assert list(tmp_path.iterdir()) == []
    loaded.remove()  # gone already: no error


def test_time_adds_up(tmp_path):
    first = saved(tmp_path / "a.inrz")
    first.seconds_before = 100.0
    first.save()
    assert 100 <= Checkpoint(tmp_path / "a.inrz", "job").seconds < 110


def test_another_job_is_not_used(tmp_path):
    saved(tmp_path / "a.inrz")
    other = Checkpoint(tmp_path / "a.inrz", "another")
    assert not other.resumed and not other.payloads and not other.fits and other.current is None


def test_damaged_checkpoints_are_ignored(tmp_path):
    saved(tmp_path / "a.inrz")
    path = tmp_path / "a.inrz.part"
    sound = path.read_bytes()
    damaged = [b"", b"PK", b"nonsense" * 99, sound[: len(sound) // 2], sound[:-1], sound[100:], bytes(len(sound))]
    for position in range(0, len(sound), 37):
        flipped = bytearray(sound)
        flipped[position] ^= 0xFF
        damaged.append(bytes(flipped))
    for data in damaged:
        path.write_bytes(data)
        checkpoint = Checkpoint(tmp_path / "a.inrz", "job")
        if checkpoint.resumed:  # where nothing of what is used was hit
            np.testing.assert_array_equal(checkpoint.fits["segment1/12"][0], leaves()[0])
            assert checkpoint.payloads == {0: b"payload \0\xff"}
        else:
            assert not checkpoint.fits and not checkpoint.payloads and checkpoint.current is None


@pytest.mark.parametrize("meta", [b"", b"[]", b"null", b"{}", b'{"fingerprint": "job"}', b"\xff\xfe", b"[" * 10**5])
def test_strange_descriptions_are_ignored(tmp_path, meta):
    np.savez(tmp_path / "x.npz", meta=np.frombuffer(meta, np.uint8))
    (tmp_path / "x.npz").rename(tmp_path / "a.inrz.part")
    assert not Checkpoint(tmp_path / "a.inrz", "job").resumed


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    np.savez(tmp_path / "x.npz", meta=np.array([Bomb()], dtype=object))
    (tmp_path / "x.npz").rename(tmp_path / "a.inrz.part")
    assert not Checkpoint(tmp_path / "a.inrz", "job").resumed
    assert not (tmp_path / "exploded").exists()
    with zipfile.ZipFile(tmp_path / "a.inrz.part") as file:
        assert file.namelist() == ["meta.npy"]


@pytest.mark.usefixtures("quick")
def test_a_run_replaces_a_checkpoint_of_another_job(tmp_path):
    source = write_png(tmp_path / "a.png", picture(12, 14, 1))
    saved(tmp_path / "a.inrz")
    report = inrzip.compress(source, recipe="siren", effort=1, settings={"depth": "1"})
    assert not report.resumed
    assert leftovers(tmp_path, ["a.png"]) == ["a.inrz"]


def test_other_options_or_another_input_are_another_job(tmp_path, monkeypatch):
    from inrzip.compression import _fingerprint

    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"one")
    b.write_bytes(b"two")
    assert _fingerprint(a, (1, "x")) == _fingerprint(a, (1, "x"))
    assert len({_fingerprint(a, 1), _fingerprint(b, 1), _fingerprint(a, 2)}) == 3
    now = _fingerprint(a, 1)
    monkeypatch.setattr(compression, "VERSION", compression.VERSION + 1)
    assert _fingerprint(a, 1) != now  # segments of one format do not go under the header of another
