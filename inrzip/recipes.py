"""Named choices of architecture and how to fit it, as `--recipe` selects them; and architectures by their number."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from inrzip.architectures.backbones import (
    BaconConfig,
    FinerConfig,
    GaussConfig,
    PolyConfig,
    ReluConfig,
    WireConfig,
)
from inrzip.architectures.base import Config
from inrzip.architectures.bits import BitsConfig
from inrzip.architectures.boost import BoostConfig
from inrzip.architectures.combiner import CombinerConfig
from inrzip.architectures.context import ContextConfig
from inrzip.architectures.enerv import EnervConfig
from inrzip.architectures.finr import FinrConfig
from inrzip.architectures.grid import GridConfig
from inrzip.architectures.hash_grid import HashConfig
from inrzip.architectures.hinerv import HinervConfig, NormalhinervConfig
from inrzip.architectures.hnerv import HnervConfig
from inrzip.architectures.modulated import CoinppConfig, VcinrConfig
from inrzip.architectures.motion import MotionConfig
from inrzip.architectures.mvc import MvcConfig
from inrzip.architectures.nerv import NervConfig
from inrzip.architectures.nervpp import NervppConfig
from inrzip.architectures.neurbf import NeurbfConfig
from inrzip.architectures.nirvana import NirvanaConfig
from inrzip.architectures.pfnr import PfnrConfig
from inrzip.architectures.random_networks import DohConfig, PrancConfig
from inrzip.architectures.siren import SirenConfig
from inrzip.architectures.tree import TreeConfig

from .errors import InrzipError
from .signal import Kind, Spec

BACKBONES = (ReluConfig, FinerConfig, GaussConfig, WireConfig, BaconConfig, PolyConfig)
ARCHITECTURES: Mapping[int, type[Config]] = {
    c.number: c
    for c in (
        SirenConfig,
        NervConfig,
        HnervConfig,
        GridConfig,
        MotionConfig,
        ContextConfig,
        *BACKBONES,
        HashConfig,
        DohConfig,
        PrancConfig,
        FinrConfig,
        NeurbfConfig,
        TreeConfig,
        EnervConfig,
        NervppConfig,
        BoostConfig,
        HinervConfig,
        NormalhinervConfig,
        NirvanaConfig,
        PfnrConfig,
        MvcConfig,
        BitsConfig,
        CombinerConfig,
        CoinppConfig,
        VcinrConfig,
    )
}
"""Every architecture by the number that files hold."""

MAX_SETTING = 1 << 20
"""The largest number that `--set` takes. Architectures have limits of their own below it."""
MAX_SETTING_DIGITS = 9

EVERY_KIND = (Kind.IMAGE, Kind.VIDEO, Kind.AUDIO, Kind.SHAPE, Kind.VOLUME, Kind.PROTEIN)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """An architecture and the numbers that fit it well.

    - `peak`: the largest learning rate in the first fit; the quantisation-aware one starts at `TUNE_PEAK` of it.
    - `batch_size`: points, or frames, of one step.
    - `bits_per_parameter`: what a parameter costs once coded; together with a size in bytes it gives the number of
      parameters.
    """

    name: str
    architecture: type[Config]
    kinds: tuple[Kind, ...]
    summary: str
    peak: float
    batch_size: int
    bits_per_parameter: float


LOSSLESS, LOSSLESS_BITS = "context", 24
"""The recipe for lossless files, and the bits of samples that it codes at most."""
RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "grid", GridConfig, (Kind.IMAGE,), "latents and small networks that predict them (Cool-Chic)", 1.0, 1, 1.0
        ),
        Recipe(
            "motion", MotionConfig, (Kind.VIDEO,), "grids of frames that were moved (Cool-Chic for videos)", 1.0, 1, 1.0
        ),
        Recipe(
            "context",
            ContextConfig,
            (Kind.IMAGE, Kind.VIDEO, Kind.AUDIO, Kind.VOLUME),
            "every sample exactly, from those before it (FNLIC)",
            3e-3,
            1,
            1.0,
        ),
        Recipe(
            "combiner",
            CombinerConfig,
            (Kind.IMAGE, Kind.AUDIO, Kind.PROTEIN, Kind.VIDEO, Kind.VOLUME),
            "small ones by a learned prior: latents of a network (COMBINER, RECOMBINER)",
            1.0,
            1,
            1.0,
        ),
        Recipe(
            "coin++",
            CoinppConfig,
            (Kind.IMAGE, Kind.AUDIO),
            "small ones by a learned prior: shifts of a network's units (COIN++)",
            1.0,
            1,
            1.0,
        ),
        Recipe(
            "vc-inr",
            VcinrConfig,
            (Kind.IMAGE, Kind.AUDIO),
            "small ones by a learned prior: gates on a network's weights (VC-INR)",
            1.0,
            1,
            1.0,
        ),
        Recipe("siren", SirenConfig, EVERY_KIND, "coordinate network of sines (SIREN, COIN)", 6e-3, 16384, 5.5),
        Recipe("finer", FinerConfig, EVERY_KIND, "sines of growing frequency (FINER)", 6e-3, 16384, 5.5),
        Recipe("wire", WireConfig, EVERY_KIND, "complex Gabor wavelets (WIRE)", 2e-2, 16384, 5.5),
        Recipe("gauss", GaussConfig, EVERY_KIND, "bells (Ramasinghe and Lucey)", 2e-2, 16384, 5.5),
        Recipe("relu", ReluConfig, EVERY_KIND, "rectified sums of Fourier features", 1e-2, 16384, 5.5),
        Recipe("bacon", BaconConfig, EVERY_KIND, "products of sines, band-limited (BACON)", 4e-2, 16384, 5.5),
        Recipe("poly", PolyConfig, EVERY_KIND, "piecewise polynomials (Poly-INR)", 1e-2, 16384, 5.5),
        Recipe(
            "finr",
            FinrConfig,
            EVERY_KIND,
            "a tensor whose factors are networks of one axis (F-INR)",
            3e-3,
            1 << 15,
            5.5,
        ),
        Recipe("doh", DohConfig, EVERY_KIND, "network made from one vector by random signs (D'OH)", 0.06, 16384, 5.5),
        Recipe("pranc", PrancConfig, EVERY_KIND, "mixture of random networks (PRANC)", 0.06, 16384, 5.5),
        Recipe("hash", HashConfig, EVERY_KIND, "tables of features, a small network (Instant-NGP)", 3e-2, 16384, 3.0),
        Recipe("neurbf", NeurbfConfig, EVERY_KIND, "bells where the signal changes (NeuRBF)", 5e-2, 16384, 4.5),
        Recipe(
            "tree", TreeConfig, EVERY_KIND, "networks of blocks, sharing layers in a tree (TINC)", 1.2e-2, 16384, 5.5
        ),
        Recipe(
            "bits",
            BitsConfig,
            (Kind.IMAGE, Kind.AUDIO, Kind.VOLUME),
            "every bit from its place, exact (LosslessINR)",
            6e-3,
            16384,
            5.5,
        ),
        Recipe("hnerv", HnervConfig, (Kind.VIDEO,), "frames from small learned embeddings (HNeRV)", 1.5e-2, 1, 4.3),
        Recipe("boost", BoostConfig, (Kind.VIDEO,), "HNeRV or NeRV told the time (Boosting-NeRV)", 1.5e-2, 1, 4.3),
        Recipe("hinerv", HinervConfig, (Kind.VIDEO,), "frames from grids of features (HiNeRV)", 6e-2, 1, 4.3),
        Recipe("nerv", NervConfig, (Kind.VIDEO,), "frames from their time (NeRV)", 2e-2, 1, 3.5),
        Recipe("enerv", EnervConfig, (Kind.VIDEO,), "frames from time and place (E-NeRV)", 2e-2, 1, 3.5),
        Recipe("mvc", MvcConfig, (Kind.VIDEO,), "an E-NeRV for each scene, told the content (MVC)", 2e-2, 1, 4.3),
        Recipe("nerv++", NervppConfig, (Kind.VIDEO,), "NeRV with blocks that look around (NeRV++)", 2e-2, 1, 3.5),
        Recipe(
            "nirvana",
            NirvanaConfig,
            (Kind.VIDEO,),
            "patches of a few frames, networks coded as changes (NIRVANA)",
            1.2e-2,
            64,
            3.5,
        ),
        Recipe("pfnr", PfnrConfig, (Kind.VIDEO,), "videos in sequence, in one network (PFNR)", 2e-2, 1, 3.5),
    )
}


def default_recipe(spec: Spec, lossless: bool = False) -> str:
    """The name of the recipe for a signal when the user names none; `lossless`: every bit is wanted back."""
    if lossless and spec.kind in RECIPES[LOSSLESS].kinds and spec.high - spec.low < 1 << LOSSLESS_BITS:
        return LOSSLESS
    return {Kind.IMAGE: "grid", Kind.VIDEO: "motion", Kind.PROTEIN: "combiner"}.get(spec.kind, "siren")


def choose_recipe(name: str | None, spec: Spec, lossless: bool = False) -> Recipe:
    """The recipe of that name, or the default. Raises InrzipError if there is none, or not for the signal's kind."""
    kind = spec.kind
    chosen = default_recipe(spec, lossless) if name is None else name
    if chosen not in RECIPES:
        raise InrzipError(f"recipe {chosen!r} does not exist; there are {', '.join(RECIPES)}")
    recipe = RECIPES[chosen]
    if kind not in recipe.kinds:
        fitting = ", ".join(r.name for r in RECIPES.values() if kind in r.kinds)
        raise InrzipError(f"recipe {chosen!r} is not for signals of kind {kind.name.lower()}; use one of {fitting}")
    return recipe


def parse_settings(settings: Mapping[str, str]) -> dict[str, int]:
    """`--set key=value` as numbers for `Config.solve`. Raises InrzipError for a value that is no whole number from 1 to
    `MAX_SETTING`.
    """
    for key, value in settings.items():
        text = value.strip()
        if not text.isdecimal() or len(text) > MAX_SETTING_DIGITS or not 1 <= int(text) <= MAX_SETTING:
            raise InrzipError(f"--set {key}={value[:40]}: not a whole number from 1 to {MAX_SETTING}")
    return {key: int(value) for key, value in settings.items()}


def check_settings(settings: Iterable[str], recipe: Recipe) -> None:
    """Raises InrzipError for a setting that the recipe does not have."""
    settable = recipe.architecture.settable()
    for key in settings:
        if key not in settable:
            there_is = ", ".join(settable) or "none"
            raise InrzipError(f"--set {key}: recipe {recipe.name} has no such setting; it has {there_is}")
