"""What lets a killed run go on: a file beside the output with every finished fit, and where the current one stands.

Compression is a deterministic function of its input and its fits, and only the fits take long. So the checkpoint holds
nothing but fits, by name: a resumed run computes everything else again and finds the finished fits done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from pathlib import Path

import numpy as np

from .errors import InrzipError
from .files import atomic_output

SECONDS_BETWEEN_SAVES = 15.0
SUFFIX = ".part"

Arrays = list[np.ndarray]


@dataclasses.dataclass
class Progressing:
    """The fit under way: its name, and the leaves of its `FitState`."""

    name: str
    leaves: Arrays


class Checkpoint:
    """The fits of one job. `fingerprint` identifies input and options: a file left by another job is not used."""

    def __init__(self, output: Path | None, fingerprint: str):
        self._path = None if output is None else output.with_name(output.name + SUFFIX)
        self._fingerprint = fingerprint
        self._saved_at = time.monotonic()
        self.fits: dict[str, Arrays] = {}
        self.payloads: dict[int, bytes] = {}
        self.notes: dict[int, str] = {}
        self.current: Progressing | None = None
        self.seconds_before = 0.0
        self.resumed = False
        self._begun = time.monotonic()
        if self._path is not None and self._path.is_file():
            # NumPy and json answer a damaged or strange file with many kinds of errors; all mean that it is of no use.
            with contextlib.suppress(Exception):
                self._load(self._path)

    @property
    def seconds(self) -> float:
        """Time the job has taken, runs that were killed included (as far as they were saved)."""
        return self.seconds_before + time.monotonic() - self._begun

    def finish_fit(self, name: str, leaves: Arrays) -> None:
        """Keeps the result of a fit."""
        self.fits[name] = leaves
        self.current = None
        self.save()

    def finish_segment(self, index: int, payload: bytes, note: str | None = None) -> None:
        """Keeps a coded segment and what there is to say of it; the fits that led to it are no longer needed."""
        self.payloads[index] = payload
        if note is not None:
            self.notes[index] = note
        self.fits.clear()
        self.current = None
        self.save()

    def save_if_due(self, current: Progressing) -> None:
        """Saves the fit under way, at most every `SECONDS_BETWEEN_SAVES`."""
        self.current = current
        if time.monotonic() - self._saved_at >= SECONDS_BETWEEN_SAVES:
            self.save()

    @property
    def due(self) -> bool:
        """Whether `save_if_due` would save."""
        return self._path is not None and time.monotonic() - self._saved_at >= SECONDS_BETWEEN_SAVES

    def save(self) -> None:
        """Writes the file, atomically, if it can. Without an output path there is none."""
        if self._path is None:
            return
        arrays: dict[str, np.ndarray] = {}
        meta = {
            "fingerprint": self._fingerprint,
            "seconds": self.seconds,
            "payloads": list(self.payloads),
            "notes": list(self.notes.items()),
            "fits": [(name, len(leaves)) for name, leaves in self.fits.items()],
            "current": None,
        }
        for i, payload in self.payloads.items():
            arrays[f"payload{i}"] = np.frombuffer(payload, np.uint8)
        for i, leaves in enumerate(self.fits.values()):
            arrays |= {f"fit{i}_{j}": leaf for j, leaf in enumerate(leaves)}
        if self.current is not None:
            meta["current"] = (self.current.name, len(self.current.leaves))
            arrays |= {f"current_{j}": leaf for j, leaf in enumerate(self.current.leaves)}
        arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        # No room for a checkpoint is no reason to give up the job: the file it ends in is far smaller.
        with (
            contextlib.suppress(InrzipError),
            atomic_output(self._path, overwrite=True) as temporary,
            open(temporary, "wb") as file,
        ):
            np.savez(file, **arrays)  # type: ignore[arg-type]
        self._saved_at = time.monotonic()

    def _load(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as stored:
            meta = json.loads(stored["meta"].tobytes())
            if meta["fingerprint"] != self._fingerprint:
                return
            payloads = {int(i): stored[f"payload{i}"].tobytes() for i in meta["payloads"]}
            notes = {int(i): str(note) for i, note in meta["notes"]}
            fits = {name: [stored[f"fit{i}_{j}"] for j in range(n)] for i, (name, n) in enumerate(meta["fits"])}
            current = None
            if meta["current"] is not None:
                name, n = meta["current"]
                current = Progressing(name, [stored[f"current_{j}"] for j in range(n)])
        self.payloads, self.notes, self.fits, self.current = payloads, notes, fits, current
        self.seconds_before, self.resumed = float(meta["seconds"]), True

    def remove(self) -> None:
        """Deletes the file: the job is done, or its user gave it up."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
