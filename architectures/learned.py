"""What recipes of learned priors have alike: their networks are not fitted, but made of latents that a file names."""

from __future__ import annotations

import dataclasses
from typing import Self

from jaxtyping import PRNGKeyArray

from .base import Config, Grid, Representation

NAME_BITS = 28
"""Of a prior's name in a file, the first of its SHA-256: a varint of four bytes holds them."""


@dataclasses.dataclass(frozen=True)
class LearnedConfig(Config):
    """`prior`: the first 28 bits of the SHA-256 of the prior's file."""

    prior: int

    def build(self, grid: Grid, key: PRNGKeyArray) -> Representation:
        raise TypeError("latents of a learned network come from a fit of their own")

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        raise TypeError("the size of the learned network is that of its prior")

    @classmethod
    def settable(cls) -> tuple[str, ...]:
        return ()

    def check(self, grid: Grid) -> None:
        if self.prior >> NAME_BITS:
            raise ValueError(f"a prior named {self.prior}")

    def n_parameters(self, grid: Grid) -> int:
        return 0  # those that a file has are the prior's
