"""Named choices of architecture and how to fit it: what `--recipe` selects and the file's architecture number refers to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from inrzip.architectures.base import Config
from inrzip.architectures.hnerv import HnervConfig
from inrzip.architectures.nerv import NervConfig
from inrzip.architectures.siren import SirenConfig

from .errors import InrzipError
from .signal import Kind

ARCHITECTURES: Mapping[int, type[Config]] = {c.number: c for c in (SirenConfig, NervConfig, HnervConfig)}
"""Every architecture by the number that files hold."""

EVERY_KIND = (Kind.IMAGE, Kind.VIDEO, Kind.AUDIO, Kind.SHAPE, Kind.VOLUME)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """An architecture and the numbers that fit it well.

    - `peak`: Adam's largest learning rate in the first fit; the quantisation-aware one starts at `TUNE_PEAK` of it.
    - `batch_size`: points, or frames, of one step.
    - `bits_per_parameter`: what a parameter costs once coded; together with a size in bytes it gives the number of parameters.
    """

    name: str
    architecture: type[Config]
    kinds: tuple[Kind, ...]
    summary: str
    peak: float
    batch_size: int
    bits_per_parameter: float


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("siren", SirenConfig, EVERY_KIND, "coordinate network of sines (SIREN, COIN)", 2e-3, 16384, 6.0),
        Recipe("hnerv", HnervConfig, (Kind.VIDEO,), "frames from small learned embeddings (HNeRV)", 2e-3, 2, 6.0),
        Recipe("nerv", NervConfig, (Kind.VIDEO,), "frames from their time (NeRV)", 3e-3, 2, 6.0),
    )
}

DEFAULT_RECIPES: Mapping[Kind, str] = {
    Kind.IMAGE: "siren",
    Kind.VIDEO: "hnerv",
    Kind.AUDIO: "siren",
    Kind.SHAPE: "siren",
    Kind.VOLUME: "siren",
}


def choose_recipe(name: str | None, kind: Kind) -> Recipe:
    """The recipe of that name, or the default for `kind`. Raises InrzipError if there is none, or it does not fit the kind."""
    chosen = DEFAULT_RECIPES[kind] if name is None else name
    if chosen not in RECIPES:
        raise InrzipError(f"recipe {chosen!r} does not exist; there are {', '.join(RECIPES)}")
    recipe = RECIPES[chosen]
    if kind not in recipe.kinds:
        fitting = ", ".join(r.name for r in RECIPES.values() if kind in r.kinds)
        raise InrzipError(f"recipe {chosen!r} is not for signals of kind {kind.name.lower()}; use one of {fitting}")
    return recipe


def parse_settings(settings: Mapping[str, str]) -> dict[str, int]:
    """`--set key=value` as numbers for `Config.solve`. Raises InrzipError for a value that is no whole number."""
    try:
        return {key: int(value) for key, value in settings.items()}
    except ValueError as error:
        raise InrzipError(f"--set takes whole numbers: {error}") from None
