"""Distortion, measured on decoded samples. Each figure is computed in one place only: here."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from .signal import Kind, Spec

SAMPLES_PER_ANGSTROM = 1000
"""Of a protein (`inrzip.media.proteins`)."""
LOSSLESS_DB = 999.0
"""What stands for an infinite PSNR."""


class ErrorSum:
    """Gathers squared errors piece by piece, so that a long signal need not be in memory."""

    def __init__(self, spec: Spec):
        self._spec = spec
        self._squares = 0.0
        self._count = 0
        self._largest = 0.0
        self._frame_db: list[float] = []

    def add(self, original: Shaped[ndarray, "part ..."], decoded: Shaped[ndarray, "part ..."]) -> None:
        """Adds consecutive samples along the first axis, in the signal's own sample type."""
        for a, b in zip(_pieces(original), _pieces(decoded), strict=True):
            error = a.astype(np.float64) - b.astype(np.float64)
            squares = float(np.sum(error * error))
            self._squares += squares
            self._count += error.size
            self._largest = max(self._largest, float(np.max(np.abs(error), initial=0.0)))
            if self._spec.kind == Kind.VIDEO:
                self._frame_db.append(psnr(squares / max(error.size, 1), self._spec.peak))

    def quality(self) -> dict[str, float]:
        """`psnr_db`: of the mean squared error over all samples. `psnr_mean_frame_db` (video): mean of the frames'
        PSNR. `max_error` (volumes): in sample units. `rmsd_angstrom` (proteins): root mean square distance of the
        atoms, where they are.
        """
        result = {"psnr_db": psnr(self._squares / max(self._count, 1), self._spec.peak)}
        if self._spec.kind == Kind.VIDEO:
            result["psnr_mean_frame_db"] = float(np.mean(self._frame_db))
        if self._spec.kind == Kind.VOLUME:
            result["max_error"] = self._largest
        if self._spec.kind == Kind.PROTEIN:
            squares = self._spec.channels * self._squares / max(self._count, 1)
            result["rmsd_angstrom"] = math.sqrt(squares) / SAMPLES_PER_ANGSTROM
        return result


def _pieces(samples: Shaped[ndarray, "part ..."]) -> list[Shaped[ndarray, "..."]]:
    """One frame at a time for arrays of many axes; long flat ones in a few parts."""
    return list(samples) if samples.ndim > 2 else np.array_split(samples, max(1, len(samples) >> 20))


def psnr(mean_squared_error: float, peak: float) -> float:
    """10 log10(peak^2 / MSE) in dB; `LOSSLESS_DB` for no error at all."""
    return min(10 * math.log10(peak**2 / mean_squared_error), LOSSLESS_DB) if mean_squared_error > 0 else LOSSLESS_DB
