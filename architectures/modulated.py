"""Signals of patches that modulate a learned network (COIN++, VC-INR), as a file holds them.

The network is in `modulated_network.py`, the prior in `inrzip.priors.modulation_prior`, and files come from
`inrzip.modulation_goals`.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from .base import Grid
from .learned import LearnedConfig

MAX_STEP = 127


@dataclasses.dataclass(frozen=True)
class ModulatedConfig(LearnedConfig):
    """`step`: of latents, in eighths of octaves."""

    step: int

    gated: ClassVar[bool]

    def check(self, grid: Grid) -> None:
        super().check(grid)
        if self.step > MAX_STEP:
            raise ValueError(f"latents of step {self.step}")


@dataclasses.dataclass(frozen=True)
class CoinppConfig(ModulatedConfig):
    """Shifts of a SIREN's units (COIN++)."""

    number: ClassVar[int] = 28
    gated: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class VcinrConfig(ModulatedConfig):
    """Gates on a network's weights (VC-INR)."""

    number: ClassVar[int] = 29
    gated: ClassVar[bool] = True
