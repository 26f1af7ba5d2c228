"""What latents of a patch say of others: wider or narrower curves where those that are decoded already are unusual.

Latents are coded in stages. Of the latents before its stage, each has a few neighbours, whose magnitudes are compared
with what their curves expect: the ratio, in half octaves, tells how many tables wider or narrower its own curve is to
be. As in context models of learned image codecs (Minnen et al., NeurIPS 2018), but with a linear map in place of a
network, and all in whole numbers, so that every machine finds the same curve.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from .integer_tables import N_TABLES, STEPS_PER_OCTAVE, spread_256

MAX_NEIGHBOURS = 32
MAX_STAGES = 64
LAST_TABLE = 60
REACH = 8
"""Ratios are told apart up to so many half octaves, above 1 and below."""
USUAL = 77
"""Added to each magnitude, and to what it is expected to be, in 256ths: a ratio of small numbers says little."""
RATIO_BITS = 16
_HALVES = (77935, 110217)
"""2^16 times 2^(1/4) and 2^(3/4)."""


@dataclasses.dataclass(frozen=True)
class Contexts:
    """- `stages`: the number of each latent's, from 0.
    - `neighbours`: for each latent, latents of earlier stages; `weights`, 0 to 255: what they count.
    - `shifts`: of the table, for each ratio from 2^-4 to 2^4, half octaves apart.
    """

    stages: Int[ndarray, " latents"]
    neighbours: Int[ndarray, "latents m"]
    weights: Int[ndarray, "latents m"]
    shifts: Int[ndarray, " ratios"]

    def check(self, n_latents: int) -> None:
        """Raises ValueError for what no trainer makes."""
        m = self.neighbours.shape[-1]
        if not (
            self.stages.shape == (n_latents,)
            and self.neighbours.shape == self.weights.shape == (n_latents, m)
            and 1 <= m <= MAX_NEIGHBOURS
            and self.shifts.shape == (2 * REACH + 1,)
            and 0 <= self.stages.min() <= self.stages.max() < MAX_STAGES
            and 0 <= self.neighbours.min() <= self.neighbours.max() < n_latents
            and 0 <= self.weights.min() <= self.weights.max() <= 255
            and not self.weights[self.stages[self.neighbours] >= self.stages[:, None]].any()
        ):
            raise ValueError("its contexts do not fit together")

    def columns(self) -> list[Int[ndarray, " some"]]:
        """The latents of each stage, in order."""
        return [np.flatnonzero(self.stages == stage) for stage in range(int(self.stages.max()) + 1)]


@functools.cache
def _expected() -> Int[ndarray, " tables"]:
    """256 times the mean magnitude under each table; wider tables than there are leave low bits out."""
    widest = range(N_TABLES, LAST_TABLE + 1)
    beyond = [
        spread_256(N_TABLES - STEPS_PER_OCTAVE + t % STEPS_PER_OCTAVE) << (t - N_TABLES) // STEPS_PER_OCTAVE + 1
        for t in widest
    ]
    return np.array([*map(spread_256, range(N_TABLES)), *beyond], np.int64)


def expected_256(tables: Int[ndarray, "..."]) -> Int[ndarray, "..."]:
    """256 times the mean magnitude under each table."""
    return np.asarray(_expected()[tables])


def _limits() -> Int[ndarray, " 2reach"]:
    """2^16 times the ratios at which the shift changes."""
    found = []
    for k in range(1 - REACH, REACH + 1):
        octave, odd = divmod(2 * k - 1, 4)
        base = _HALVES[odd // 2]
        found.append(base << octave if octave >= 0 else base >> -octave)
    return np.array(found, np.int64)


LIMITS = _limits()


def ratios(
    contexts: Contexts, curves: Int[ndarray, "patches latents"], integers: Int[ndarray, "patches latents"],
    columns: Int[ndarray, " some"],
) -> Int[ndarray, "patches some"]:  # fmt: skip
    """For latents of one stage, in half octaves from `REACH` below on, how large their neighbours are. `curves` are
    those without contexts: twice a table plus a family, -1 for latents that are 0.
    """
    around, weights = contexts.neighbours[columns], contexts.weights[columns].astype(np.int64)
    used = weights.any(0)
    around, weights = around[:, used], weights[:, used]
    floor = USUAL * weights.sum(1)
    found, usual = np.tile(floor, (len(curves), 1)), np.tile(floor, (len(curves), 1))
    for near, weight in zip(around.T, weights.T, strict=True):
        found += 256 * weight * np.abs(integers[:, near].astype(np.int64))
        usual += weight * np.where(curves[:, near] < 0, 0, expected_256(np.maximum(curves[:, near], 0) // 2))
    ratio = (found << RATIO_BITS) // np.maximum(usual, 1)
    ratio = np.where(floor > 0, ratio, 1 << RATIO_BITS)
    return np.asarray(np.searchsorted(LIMITS, ratio, side="right"))


def shifted(
    contexts: Contexts, curves: Int[ndarray, "patches latents"], integers: Int[ndarray, "patches latents"],
    columns: Int[ndarray, " some"],
) -> Int[ndarray, "patches some"]:  # fmt: skip
    """The curves of latents of one stage. Of `integers`, those of earlier stages are looked at."""
    own, by = curves[:, columns], contexts.shifts[ratios(contexts, curves, integers, columns)]
    tables = np.clip(own // 2 + by, 0, LAST_TABLE)
    return np.asarray(np.where(own < 0, -1, 2 * tables + own % 2))
