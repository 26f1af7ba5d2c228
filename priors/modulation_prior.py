"""What modulations of a learned network are usually like (COIN++, VC-INR): a file each, named by its content.

A prior holds the network (half floats), and how latents are distributed once they are rounded: for some steps, for
each class of patches, and for each latent, which of the curves of `inrzip.priors.integer_tables` its integers have. The
class is a number of each patch, which is coded first: a hyper-latent of few values (Ballé et al., ICLR 2018). All of
that are whole numbers, so every machine decodes the same latents.

Where such files lie, and how they are found, is in `inrzip.priors.latent_prior`.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import zipfile
from importlib import resources

import jax
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.architectures.modulated_network import Layout, Shared, is_shape, shapes
from inrzip.codecs.relative_entropy import SCALES_PER_OCTAVE
from inrzip.errors import CorruptFile, InrzipError
from inrzip.priors import latent_prior
from inrzip.priors.integer_tables import UNIT_TABLE, Family, cumulative_frequencies
from inrzip.priors.latent_context import Contexts
from inrzip.priors.latent_prior import KINDS, identity

STEPS_PER_OCTAVE = SCALES_PER_OCTAVE
UNIT_STEP = 48
"""The step that is 1."""
MAX_STEP = 127
"""Of those that files may have."""
MAX_LEVELS, MAX_CLASSES = 16, 64
MAX_SCALE = 120
"""In eighths of octaves, of which two are a table."""


@dataclasses.dataclass(frozen=True)
class ModulationPrior:
    """A learned network, and the distribution of its rounded latents.

    - `shared`: float32 arrays. `kind`: of the signals, one of `KINDS`.
    - `steps`: of the levels, rising, as numbers of steps.
    - `scales`: twice the number of the curve's table, for each level, class and latent; below 0: the latent is 0.
    - `families`: of the curve, 0 Laplace, 1 Gauss, for each class and latent.
    - `shares`: of classes, in whole numbers.
    - `contexts`: what latents say of others; None: nothing.
    - `stiffness`: eighths of octaves of the squared error that latents make of theirs, over 1. For encoders.
    """

    layout: Layout
    shared: Shared
    kind: str
    steps: Int[ndarray, " levels"]
    scales: Int[ndarray, "levels classes latents"]
    families: Int[ndarray, "classes latents"]
    shares: Int[ndarray, " classes"]
    stiffness: Int[ndarray, " latents"]
    contexts: Contexts | None = None

    @property
    def n_classes(self) -> int:
        """Classes of patches."""
        return len(self.shares)

    def class_starts(self) -> Int[ndarray, " classes+1"]:
        """Of the symbols that classes are coded as."""
        return cumulative_frequencies(self.shares)

    def scales_at(self, step: int) -> Int[ndarray, "classes latents"]:
        """Scales between levels, in whole numbers; beyond them, those of latents that do not depend on the step."""
        first, last = int(self.steps[0]), int(self.steps[-1])
        at = min(max(step, first), last)
        above = int(np.searchsorted(self.steps, at))
        if self.steps[above] == at:
            found = self.scales[above]
        else:
            a, b = int(self.steps[above - 1]), int(self.steps[above])
            found = (self.scales[above - 1] * (b - at) + self.scales[above] * (at - a)) // (b - a)
        return np.asarray(np.clip(found + (at - step), -1, MAX_SCALE))

    def spreads_at(self, step: int) -> Float[ndarray, "classes latents"]:
        """Mean absolute values of latents that `scales_at` stands for."""
        return np.exp2((self.scales_at(step) // 2 - UNIT_TABLE) / 4) * step_size(step)

    def check(self) -> None:
        """Raises ValueError for what no trainer makes."""
        self.layout.check()
        n, levels, classes = self.layout.n_latents, len(self.steps), self.n_classes
        wanted = jax.tree.leaves(shapes(self.layout), is_leaf=is_shape)
        if not (
            1 <= levels <= MAX_LEVELS
            and 1 <= classes <= MAX_CLASSES
            and self.kind in KINDS
            and wanted == [array.shape for array in jax.tree.leaves(self.shared)]
            and self.scales.shape == (levels, classes, n)
            and self.families.shape == (classes, n)
            and self.families.max() <= Family.GAUSS
            and self.stiffness.shape == (n,)
            and (np.diff(self.steps) > 0).all()
            and self.steps[-1] <= MAX_STEP
            and self.shares.min() > 0
            and all(np.isfinite(array).all() for array in jax.tree.leaves(self.shared))
        ):
            raise ValueError("its arrays do not fit together")
        if self.contexts is not None:
            self.contexts.check(n)


def step_size(step: int) -> float:
    """The step of latents: so many eighths of octaves."""
    return float(np.float32(2.0 ** ((step - UNIT_STEP) / STEPS_PER_OCTAVE)))


def dumps(prior: ModulationPrior) -> bytes:
    """A prior as bytes: the arrays of a NumPy archive. See docs/format.md, "Modulations"."""
    layout, out = prior.layout, io.BytesIO()
    sizes = [layout.gated, layout.axes, layout.channels, layout.side, layout.inner, layout.rank, layout.hyper]
    contexts = prior.contexts
    if contexts is not None:
        sizes.append(contexts.neighbours.shape[1])
    arrays: dict[str, ndarray] = {
        "kind": np.array([KINDS.index(prior.kind)], np.uint8),
        "modulated": np.array(sizes, np.uint16),
        "latents": np.array(layout.latents, np.uint16),
        "widths": np.array(layout.widths, np.uint16),
        "steps": prior.steps.astype(np.uint8),
        "scales": prior.scales.astype(np.int8),
        "families": prior.families.astype(np.uint8),
        "shares": prior.shares.astype(np.uint16),
        "stiffness": prior.stiffness.astype(np.int8),
        "shared": np.concatenate([np.ravel(array) for array in jax.tree.leaves(prior.shared)]).astype(np.float16),
    }
    if contexts is not None:
        arrays |= {
            "stages": contexts.stages.astype(np.uint8),
            "neighbours": contexts.neighbours.astype(np.uint16),
            "weights": contexts.weights.astype(np.uint8),
            "shifts": contexts.shifts.astype(np.int8),
        }
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.save(part, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return out.getvalue()


def loads(data: bytes) -> ModulationPrior:
    """The inverse of `dumps`. Raises ValueError for what it is not."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return _assembled({name: stored[name] for name in stored.files})
    except (KeyError, IndexError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError("it is no prior of modulations, or a damaged one") from error


def _assembled(arrays: dict[str, ndarray]) -> ModulationPrior:
    gated, axes, channels, side, inner, rank, hyper, *more = map(int, arrays["modulated"])
    latents, widths = (tuple(map(int, arrays[name])) for name in ("latents", "widths"))
    layout = Layout(bool(gated), axes, channels, side, latents, inner, widths, rank, hyper)
    layout.check()
    wanted = jax.tree.leaves(shapes(layout), is_leaf=is_shape)
    values = arrays["shared"].astype(np.float32)
    ends = np.cumsum([int(np.prod(shape)) for shape in wanted])
    if ends[-1] != len(values):
        raise ValueError("its arrays do not fit together")
    pieces = [part.reshape(shape) for part, shape in zip(np.split(values, ends[:-1]), wanted, strict=True)]
    shared = jax.tree.unflatten(jax.tree.structure(shapes(layout), is_leaf=is_shape), pieces)
    names = ("steps", "scales", "families", "shares", "stiffness")
    steps, scales, families, shares, stiffness = (arrays[name].astype(np.int64) for name in names)
    contexts = None
    if more:
        contexts = Contexts(*(arrays[name].astype(np.int64) for name in ("stages", "neighbours", "weights", "shifts")))
        if more != [contexts.neighbours.shape[-1]]:
            raise ValueError("its contexts are of a form that this version does not know")
    kind = KINDS[int(arrays["kind"][0])]
    prior = ModulationPrior(layout, shared, kind, steps, scales, families, shares, stiffness, contexts)
    prior.check()
    return prior


@functools.lru_cache(maxsize=8)
def find(name: int) -> ModulationPrior:
    """The prior of that name, among those of the package and the user's. Raises InrzipError if it is not there."""
    data = latent_prior.find_data(name)
    try:
        return loads(data)
    except ValueError as error:
        raise CorruptFile(f"its prior {name:07x} is not for this recipe") from error


def named(name: str | None, kind: str, recipe: str, gated: bool, large: bool = False) -> tuple[int, ModulationPrior]:
    """A prior by its name among the user's, or its path; None: the package's for the recipe, or for `large` signals.
    The file's name for it comes first. Raises InrzipError.
    """
    if name is None:
        packaged = latent_prior.MODULATED.get((recipe, kind))
        if large:
            packaged = latent_prior.LARGE_MODULATED.get((recipe, kind), packaged)
        if packaged is None:
            raise InrzipError(
                f"there is no prior of {recipe} for {kind}; make one with inrzip train-prior --recipe {recipe} and "
                "name it (--prior)"
            )
        data = resources.files("inrzip.priors").joinpath(packaged).read_bytes()
    else:
        data = latent_prior.known(name)
    try:
        prior = loads(data)
    except ValueError as error:
        raise InrzipError(f"{name}: {error}") from error
    if prior.kind != kind or prior.layout.gated != gated:
        made = "vc-inr" if prior.layout.gated else "coin++"
        raise InrzipError(f"prior {name} is for {made} and signals of kind {prior.kind}, not for {recipe} and {kind}")
    return identity(data), prior
