"""Frame times: is a video's frame rate constant, and what is it exactly?"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from fractions import Fraction

TICKS_PER_SECOND = 90_000
DEFAULT_RATE = Fraction(25)
_MAX_RATE = 1000
_MAX_TERM = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Timing:
    """`rate`: frames a second (the mean, if it varies); `ticks`: frame times in 1/90000 s from 0, only if it varies."""

    rate: Fraction
    ticks: tuple[int, ...] | None


def find_timing(stamps: Sequence[int | None], time_base: Fraction | None, claimed: Sequence[Fraction | None]) -> Timing:
    """The timing of frames shown at `stamps` (in units of `time_base`), given the rates that the file claims.

    A claimed rate holds if every frame lies within one time-stamp unit of where it puts it: containers round.
    """
    rates = [rate for rate in claimed if rate is not None and 0 < rate <= _MAX_RATE and rate.denominator <= _MAX_TERM]
    fallback = rates[0] if rates else DEFAULT_RATE
    known = [stamp for stamp in stamps if stamp is not None]
    if time_base is None or len(known) < len(stamps) or len(known) < 2:
        return Timing(fallback, None)
    offsets = [stamp - known[0] for stamp in known]
    if any(later <= earlier for earlier, later in itertools.pairwise(offsets)):
        return Timing(fallback, None)
    mean = Fraction(len(offsets) - 1) / (offsets[-1] * time_base)
    for rate in [*rates, mean.limit_denominator(1001)]:
        if rate > 0 and _is_constant(offsets, time_base, rate):
            return Timing(rate, None)
    ticks = tuple(round(offset * time_base * TICKS_PER_SECOND) for offset in offsets)
    return Timing(mean.limit_denominator(_MAX_TERM // _MAX_RATE), ticks)


def _is_constant(offsets: Sequence[int], time_base: Fraction, rate: Fraction) -> bool:
    unit = 1 / (rate * time_base)  # time stamps from frame to frame, if constant
    top, bottom = unit.numerator, unit.denominator
    return all(abs(offset * bottom - k * top) <= bottom for k, offset in enumerate(offsets))
