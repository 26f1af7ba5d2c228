"""Where and from what a result comes: command, commit, versions, and the device in words that name no machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from .ours import ROOT, code_version

LIBRARIES = ("numpy", "jax", "scipy", "scikit-image", "pillow", "imagecodecs", "av", "soundfile", "DracoPy")


def facts(command: Sequence[str]) -> dict[str, str]:
    """What a reader needs to repeat a run. Folders are left out of the command: files keep their names."""
    words = ["python", "-m", "benchmarks", *(_without_folder(word) for word in command)]
    return {
        "command": shlex.join(words),
        "commit": commit(),
        "source": f"inrzip {code_version()[:12]}",
        "device": device(),
        "versions": ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
    }


def _without_folder(word: str) -> str:
    return Path(word).name if os.path.isabs(word) else word


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """The checkout's commit, with "+" if files differ from it; "unknown" outside of a checkout."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def device() -> str:
    """Processor kind, cores available, memory, and the accelerator if JAX has one."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().total / 2**30
    accelerators = [d.device_kind for d in jax.devices() if d.platform != "cpu"]
    words = f"{cores} cores, {platform.machine()}, {memory:.0f} GiB of memory, {platform.system()}"
    return f"{words}, {', '.join(accelerators) or 'no accelerator'}"
