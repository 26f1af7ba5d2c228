"""Networks made of other networks: a configuration as a field of another one.

F-INR, D'OH and their like work with any network of positions, Boosting-NeRV with several of frames. Their
configurations hold its configuration in a field `inner`: the number of its architecture, then its fields, a tuple as
its length and its entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from .backbones import BaconConfig, FinerConfig, GaussConfig, PolyConfig, ReluConfig, WireConfig
from .base import Config, Grid
from .pointwise import PointwiseConfig
from .siren import SirenConfig

BACKBONES: dict[int, type[PointwiseConfig]] = {
    config.number: config
    for config in (SirenConfig, ReluConfig, FinerConfig, GaussConfig, WireConfig, BaconConfig, PolyConfig)
}
"""What can be inside, by its number."""
DEFAULT_BACKBONE = SirenConfig.number


ConfigT = TypeVar("ConfigT", bound=Config)


def backbone(number: int, choices: Mapping[int, type[ConfigT]]) -> type[ConfigT]:
    """The class of a number. Raises ValueError for one that does not exist."""
    if number not in choices:
        raise ValueError(f"backbone {number} is none of {', '.join(map(str, choices))}")
    return choices[number]


def nested(config: Config) -> tuple[int, ...]:
    """A configuration as the entries of a tuple."""
    numbers = [config.number]
    for name, is_tuple in config.field_is_tuple().items():
        value = getattr(config, name)
        numbers += [len(value), *value] if is_tuple else [value]
    return tuple(numbers)


def unnested(numbers: Sequence[int], grid: Grid, choices: Mapping[int, type[ConfigT]]) -> ConfigT:
    """The inverse of `nested`, checked for `grid`. Raises ValueError."""
    if not numbers:
        raise ValueError("no network inside")
    architecture, rest = backbone(numbers[0], choices), list(numbers[1:])
    values: list[Any] = []
    for is_tuple in architecture.field_is_tuple().values():
        if not rest or (is_tuple and len(rest) < 1 + rest[0]):
            raise ValueError("the network inside is cut short")
        first = rest.pop(0)
        values.append(tuple(rest[:first]) if is_tuple else first)
        del rest[: first if is_tuple else 0]
    if rest:
        raise ValueError("too many numbers for the network inside")
    config = architecture(*values)
    config.check(grid)
    return config
