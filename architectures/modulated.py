"""Signals of patches that modulate a learned network (COIN++, VC-INR), as a file holds them.

The network is in `modulated_network.py`, the prior in `inrzip.priors.modulation_prior`, and files come from
`inrzip.modulation_goals`.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Self

from jaxtyping import PRNGKeyArray

from .base import Config, Grid, Representation

MAX_STEP = 127


@dataclasses.dataclass(frozen=True)
class ModulatedConfig(Config):
    """`prior`: the first 28 bits of the SHA-256 of the prior's file; `step`: of latents, in eighths of octaves."""

    prior: int
    step: int

    gated: ClassVar[bool]

    def build(self, grid: Grid, key: PRNGKeyArray) -> Representation:
        raise TypeError("modulations of a learned network are made by inrzip.modulation_goals")

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        raise TypeError("the size of the learned network is that of its prior")

    @classmethod
    def settable(cls) -> tuple[str, ...]:
        return ()

    def check(self, grid: Grid) -> None:
        if self.prior >> 28 or self.step > MAX_STEP:
            raise ValueError(f"a prior named {self.prior}, step {self.step}")

    def n_parameters(self, grid: Grid) -> int:
        return 0  # those that a file has are the prior's


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
