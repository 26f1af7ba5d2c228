"""What latents of a learned network are usually like (COMBINER, RECOMBINER): a file each, named by its content.

A prior holds the arrays that all signals share (half floats) and, for each *level* of quality, how widely each latent
is spread, which latents are coded together in a block, and in which order blocks come. A latent that is coded is a
whole number times a scale of 14 bits times a power of two: float32 holds it exactly, so every machine makes the same.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip import wire
from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import MOST_AXES
from inrzip.architectures.combiner_network import Layout, shapes
from inrzip.architectures.learned import NAME_BITS
from inrzip.architectures.network_weights import AnyLayout, AnyShared, Usual, WeightLayout
from inrzip.codecs.relative_entropy import MAX_MEMBERS, SCALES_PER_OCTAVE, scale_values
from inrzip.configuration import decode_config, encode_config
from inrzip.errors import CorruptFile, InrzipError
from inrzip.recipes import ARCHITECTURES

from . import field_prior
from .field_prior import FieldPrior

SUFFIX = ".inrprior"
FOLDER_VARIABLE = "INRZIP_PRIORS"
PACKAGED = {
    "image": "thumbnails" + SUFFIX,
    "audio": "speech" + SUFFIX,
    "protein": "proteins" + SUFFIX,
    "video": "clips" + SUFFIX,
}
"""The priors that come with the package, by kind. Files name them, so none may go: more may be added."""
MODULATED = {
    ("vc-inr", "image"): "vcinr_photographs" + SUFFIX,
    ("coin++", "image"): "coinpp_photographs" + SUFFIX,
}
"""Those of modulations (`inrzip.priors.modulation_prior`), by recipe and kind."""
LARGE_MODULATED = {("vc-inr", "image"): "vcinr_large" + SUFFIX}
"""Those for large signals."""
LARGE = {"image": "photographs" + SUFFIX}
"""Those for signals of many patches."""
_EARLIER_NAMES = (
    "photographs_1", "thumbnails_1", "thumbnails_2", "vcinr_photographs_1", "coinpp_photographs_1", "vcinr_large_1",
)  # fmt: skip
EARLIER = tuple(name + SUFFIX for name in _EARLIER_NAMES)
"""Those that files were made with before there were better ones."""
MAX_LEVELS = 64
MAX_BITS = 20
MAX_FILE_BYTES = 64 << 20
KINDS = ("image", "audio", "protein", "video", "volume")
MAX_SCALE = 127
LEAST_FACTOR = 1e-30


@dataclasses.dataclass(frozen=True)
class LatentPrior:
    """A learned prior.

    - `shared`: float32 arrays.
    - `kind`: of the signals, one of `KINDS`.
    - `weights`: for each level, lambda: the squared error, of samples from 0 to 1, that a bit per sample point is
      worth.
    - `scales`: for each level and latent, eighths of octaves of its spread over 1.
    - `narrowing`: the same, of how much narrower than it the posterior of a usual signal is. Encoders begin there.
    - `order`: for each level, the latents that are coded, in order; `sizes`: how many of them each block has.
    - `bits`: of the index of a block's candidate.
    """

    layout: AnyLayout
    shared: AnyShared
    kind: str
    weights: tuple[float, ...]
    scales: Int[ndarray, "levels latents"]
    narrowing: Int[ndarray, "levels latents"]
    order: tuple[Int[ndarray, " coded"], ...]
    sizes: tuple[Int[ndarray, " blocks"], ...]
    bits: int

    def blocks(self, level: int) -> list[Int[ndarray, " members"]]:
        """The latents of each block of a level."""
        return np.split(self.order[level], np.cumsum(self.sizes[level])[:-1])

    def spread(self, level: int) -> Float[ndarray, " latents"]:
        """Standard deviation of each latent."""
        return scale_values(self.scales[level])

    def check(self) -> None:
        """Raises ValueError for what no trainer makes."""
        self.layout.check()
        n, levels = self.layout.n_latents, len(self.weights)
        wanted = jax.tree.leaves(_shapes(self.layout), is_leaf=_is_shape)
        found = [array.shape for array in jax.tree.leaves(self.shared)]
        coded = all(
            len(np.unique(order)) == len(order) == sizes.sum()
            and order.max(initial=0) < n
            and sizes.min(initial=1) > 0
            and sizes.max(initial=1) <= MAX_MEMBERS
            for order, sizes in zip(self.order, self.sizes, strict=True)
        )
        if not (
            1 <= levels <= MAX_LEVELS
            and self.kind in KINDS
            and wanted == found
            and self.scales.shape == self.narrowing.shape == (levels, n)
            and len(self.order) == levels
            and coded
            and 1 <= self.bits <= MAX_BITS
            and all(np.isfinite(array).all() for array in jax.tree.leaves(self.shared))
        ):
            raise ValueError("its arrays do not fit together")


def _is_shape(node: object) -> bool:
    return isinstance(node, tuple) and bool(node) and all(isinstance(n, int) for n in node)


def eighths(factors: Float[ndarray, "..."]) -> Int[ndarray, "..."]:
    """The nearest eighths of octaves."""
    eighth = np.rint(SCALES_PER_OCTAVE * np.log2(np.maximum(factors, LEAST_FACTOR)))
    found: Int[ndarray, "..."] = np.clip(eighth, -MAX_SCALE, MAX_SCALE).astype(np.int8)
    return found


def dumps(prior: LatentPrior | FieldPrior) -> bytes:
    """A prior as bytes: the arrays of a NumPy archive. See docs/format.md, "Latents of a learned network"."""
    out = io.BytesIO()
    arrays: dict[str, ndarray] = {
        "kind": np.array([KINDS.index(prior.kind)], np.uint8),
        **_layout_arrays(prior.layout, prior.bits),
        "weights": np.array(prior.weights, np.float32),
        **(field_prior.arrays(prior) if isinstance(prior, FieldPrior) else _own_arrays(prior)),
        "shared": np.concatenate([np.ravel(array) for array in jax.tree.leaves(prior.shared)]).astype(np.float16),
    }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.save(part, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue(), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _layout_arrays(layout: AnyLayout, bits: int) -> dict[str, ndarray]:
    if isinstance(layout, WeightLayout):
        network = wire.varint(layout.config.number) + encode_config(layout.config)
        return {
            "sizes": np.array([layout.axes, layout.channels, layout.side, 0, 0, 0, bits], np.uint16),
            "network": np.frombuffer(network, np.uint8),
        }
    sizes = [layout.axes, layout.channels, layout.side, layout.factor, layout.waves, layout.width, bits]
    return {
        "sizes": np.array(sizes, np.uint16),
        "grids": np.array(layout.grids, np.uint16),
        "features": np.array(layout.features, np.uint16),
        "ranks": np.array(layout.ranks, np.uint16),
    }


def _layout_of(arrays: dict[str, ndarray]) -> AnyLayout:
    """The inverse. Raises ValueError."""
    axes, channels, side, factor, waves, width, _ = map(int, arrays["sizes"])
    if "network" in arrays:
        cursor, grid = wire.Cursor(arrays["network"].tobytes()), Grid((side,) * min(axes, MOST_AXES), channels)
        try:
            found: AnyLayout = WeightLayout(
                decode_config(ARCHITECTURES[cursor.varint()], cursor, grid), axes, channels, side
            )
        except CorruptFile as error:
            raise ValueError(str(error)) from error
        if cursor.remaining:
            raise ValueError("more follows its network")
    else:
        grids, features, ranks = (tuple(map(int, arrays[name])) for name in ("grids", "features", "ranks"))
        found = Layout(axes, channels, side, factor, grids, features, waves, width, ranks)
    found.check()
    return found


def _shapes(layout: AnyLayout) -> Any:
    """Of the shared arrays."""
    return Usual((layout.n_latents,)) if isinstance(layout, WeightLayout) else shapes(layout)


def _own_arrays(prior: LatentPrior) -> dict[str, ndarray]:
    return {
        "scales": prior.scales.astype(np.int8),
        "narrowing": prior.narrowing.astype(np.int8),
        "order": np.concatenate(prior.order).astype(np.uint16),
        "blocks": np.array([len(sizes) for sizes in prior.sizes], np.uint16),
        "members": np.concatenate(prior.sizes).astype(np.uint16),
    }


def loads(data: bytes) -> LatentPrior | FieldPrior:
    """The inverse of `dumps`. Raises ValueError for what it is not."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return _assembled(arrays)
    except (KeyError, IndexError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError("it is no prior, or a damaged one") from error


def _assembled(arrays: dict[str, ndarray]) -> LatentPrior | FieldPrior:
    layout, bits = _layout_of(arrays), int(arrays["sizes"][-1])
    wanted = jax.tree.leaves(_shapes(layout), is_leaf=_is_shape)
    values = arrays["shared"].astype(np.float32)
    ends = np.cumsum([int(np.prod(shape)) for shape in wanted])
    if ends[-1] != len(values):
        raise ValueError("its arrays do not fit together")
    pieces = [part.reshape(shape) for part, shape in zip(np.split(values, ends[:-1]), wanted, strict=True)]
    shared = jax.tree.unflatten(jax.tree.structure(_shapes(layout), is_leaf=_is_shape), pieces)
    kind = KINDS[int(arrays["kind"][0])]
    if "field" in arrays:
        if not isinstance(layout, Layout):
            raise ValueError("patches of such networks are no fields")
        return field_prior.assembled(arrays, layout, shared, kind, bits)
    counts = arrays["blocks"].astype(np.int64)
    sizes = tuple(np.split(arrays["members"].astype(np.int64), np.cumsum(counts)[:-1]))
    order = tuple(np.split(arrays["order"].astype(np.int64), np.cumsum([part.sum() for part in sizes])[:-1]))
    weights = tuple(map(float, arrays["weights"]))
    scales, narrowing = (arrays[name].astype(np.int64) for name in ("scales", "narrowing"))
    prior = LatentPrior(layout, shared, kind, weights, scales, narrowing, order, sizes, bits)
    prior.check()
    return prior


def identity(data: bytes) -> int:
    """The name of a prior of these bytes."""
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "big") >> (32 - NAME_BITS)


def user_folder() -> Path:
    """Where the user's own priors lie."""
    named = os.environ.get(FOLDER_VARIABLE)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(named) if named else Path(base) / "inrzip" / "priors"


def place(name: str) -> Path:
    """The file of a prior that the user names: by its path, if it ends in `SUFFIX`. Raises InrzipError."""
    if name.endswith(SUFFIX):
        return Path(name)
    if not name.isprintable() or {"/", "\\"} & set(name) or not name:
        raise InrzipError(f"{name!r} is no name for a prior; a file's name ends in {SUFFIX}")
    return user_folder() / f"{name}{SUFFIX}"


_NAMED: dict[int, bytes] = {}
"""Priors that were read by their path, wherever they lie: what was made with one is read again meanwhile."""


def _all_files() -> Iterator[bytes]:
    yield from list(_NAMED.values())
    for name in (*PACKAGED.values(), *LARGE.values(), *MODULATED.values(), *LARGE_MODULATED.values(), *EARLIER):
        file = resources.files(__package__).joinpath(name)
        if file.is_file():
            yield file.read_bytes()
    folder = user_folder()
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []:
        if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
            yield path.read_bytes()


@functools.lru_cache(maxsize=8)
def find(name: int) -> LatentPrior | FieldPrior:
    """The prior of that name, among those of the package and the user's. Raises InrzipError if it is not there."""
    data = find_data(name)
    try:
        return loads(data)
    except ValueError as error:
        raise CorruptFile(f"its prior {name:07x} is not for this recipe") from error


def find_data(name: int) -> bytes:
    """The bytes of the prior of that name, whatever it is for. Raises InrzipError if it is not there."""
    for data in _all_files():
        if identity(data) == name:
            return data
    raise InrzipError(
        f"it was made with the prior {name:07x}, which is not here; put its file (*{SUFFIX}) in {user_folder()}, "
        f"or name its folder in the environment variable {FOLDER_VARIABLE}"
    )


def named(name: str | None, kind: str, large: bool = False) -> tuple[int, LatentPrior | FieldPrior]:
    """A prior by its name among the user's, or its path; None: the package's for signals of that kind, or `large` ones
    of it. The file's name for it comes first. Raises InrzipError.
    """
    if name is None:
        if kind not in PACKAGED:
            raise InrzipError(f"there is no prior for {kind}; make one with inrzip train-prior and name it (--prior)")
        packaged = LARGE.get(kind, PACKAGED[kind]) if large else PACKAGED[kind]
        data = resources.files(__package__).joinpath(packaged).read_bytes()
    else:
        data = known(name)
    try:
        prior = loads(data)
    except ValueError as error:
        raise InrzipError(f"{name}: {error}") from error
    if prior.kind != kind:
        raise InrzipError(f"prior {name} is for signals of kind {prior.kind}, not {kind}")
    return identity(data), prior


def known(name: str) -> bytes:
    """The bytes of a prior that the user names; if it is by its path, files that name it are read with it from now on.
    Raises InrzipError.
    """
    data = read(place(name))
    if name.endswith(SUFFIX):
        _NAMED[identity(data)] = data
    return data


def read(path: Path) -> bytes:
    """The bytes of a prior's file. Raises InrzipError."""
    if not path.is_file():
        raise InrzipError(f"{path}: there is no such prior; make it with inrzip train-prior")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InrzipError(f"{path}: is too large for a prior")
    return path.read_bytes()
