"""A quantised network as bytes: the payload of a segment (docs/format.md, "Segment payloads")."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from inrzip.architectures import context, motion
from inrzip.architectures.base import POINT_BLOCKS, Config, Grid, Representation, parameters
from inrzip.architectures.bits import BitsConfig
from inrzip.architectures.combiner import CombinerConfig
from inrzip.architectures.context import ContextConfig, ExactSamples
from inrzip.architectures.grid import GridConfig, LatentGrid, decoding_memory
from inrzip.architectures.modulated import ModulatedConfig
from inrzip.architectures.motion import Film, MotionConfig
from inrzip.architectures.nirvana import NirvanaConfig
from inrzip.architectures.pfnr import PfnrConfig
from inrzip.codecs.coder import IntegerCoder
from inrzip.codecs.levels import UniformSteps
from inrzip.codecs.uniform import quantise
from inrzip.codecs.weights import QuantisedTensor, decode_tensors, encode_tensors

from . import grid_preview, modulation_payload, wire
from .configuration import decode_config, encode_config
from .context_payload import CodedSamples
from .errors import CorruptFile, LimitExceeded
from .grid_payload import Picture, has_preview, is_tiled
from .header import VERSION
from .motion_payload import CodedFrames
from .posterior_payload import decode_payload
from .recipes import ARCHITECTURES
from .units import format_size

Shapes = list[tuple[int, ...]]
WEIGHTS_PER_BYTE = 4096
FREE_WEIGHTS = 1 << 16
"""A payload of n bytes holds at most FREE_WEIGHTS + WEIGHTS_PER_BYTE n weights: what a header asks for is bounded by
the file.
"""
CACHED_STRUCTURES = 64
"""Segments of equal shape share what follows from a configuration; this many different ones are remembered."""
BYTES_PER_WEIGHT = 32
"""Memory needed for a weight while decoding."""


def quantise_network(module: eqx.Module, step_indices: Sequence[int]) -> list[QuantisedTensor]:
    """Every parameter array rounded to multiples of its own step."""
    arrays = [np.asarray(leaf, np.float32) for leaf in parameters(module)]
    pairs = zip(arrays, step_indices, strict=True)
    return [QuantisedTensor(quantise(array, index), UniformSteps(index)) for array, index in pairs]


def dequantise_network(structure: Representation, tensors: Sequence[QuantisedTensor]) -> Representation:
    """`structure` (arrays or shapes) with the parameters that the integers stand for."""
    return fill_network(structure, [tensor.values() for tensor in tensors])


def fill_network(structure: Representation, arrays: Iterable[Float[np.ndarray, "..."]]) -> Representation:
    """`structure` (arrays or shapes) with these parameters."""
    leaves, treedef = jax.tree.flatten(structure)
    values = iter(arrays)
    filled = [jnp.asarray(next(values)) if _is_parameter(leaf) else leaf for leaf in leaves]
    return cast(Representation, jax.tree.unflatten(treedef, filled)).settled()


def _is_parameter(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def encode_network(
    config: Config, tensors: Sequence[QuantisedTensor], coders: Iterable[IntegerCoder] | None = None
) -> bytes:
    """The payload: the configuration, then the weight stream in the cheapest of `coders` (None: the usual ones)."""
    return encode_config(config) + encode_tensors(tensors, coders)


def decode_network(
    payload: bytes,
    architecture: int,
    grid: Grid,
    max_memory: int | None = None,
    version: int = VERSION,
    partial: bool = False,
) -> Representation:
    """The network of a payload from a file of that format version. Raises CorruptFile, or LimitExceeded if decoding its
    weights, or evaluating it, would take more than `max_memory` bytes. With `partial` the payload of a picture of
    latent grids, of a video of pictures and motion, or of coded patches, may end early.
    """
    if architecture not in ARCHITECTURES:
        raise CorruptFile(f"architecture {architecture} is unknown; the file may be from a newer inrzip")
    cursor = wire.Cursor(payload)
    config = decode_config(ARCHITECTURES[architecture], cursor, grid)
    if isinstance(config, GridConfig):  # latents are not weights: they have a coder of their own
        return _decode_picture(config, cursor, grid, max_memory, version, partial)
    if isinstance(config, CombinerConfig):
        return decode_payload(config, cursor, grid, lambda n: _check_memory(n, max_memory), partial, version)
    if isinstance(config, ModulatedConfig):
        return modulation_payload.decode_payload(config, cursor, grid, lambda n: _check_memory(n, max_memory))
    if isinstance(config, MotionConfig):
        _check_memory(motion.decoding_memory(grid), max_memory)
        return Film(grid, CodedFrames(config, cursor, grid, version, partial))
    if isinstance(config, ContextConfig):
        _check_memory(context.decoding_memory(grid), max_memory)
        return ExactSamples(grid, CodedSamples(config, cursor, grid))
    if isinstance(config, BitsConfig) and not config.inner:
        if cursor.remaining:
            raise CorruptFile(f"{cursor.remaining} bytes follow a network that is not there")
        return _structure(config, grid)
    if isinstance(config, NirvanaConfig) and config.chain:
        raise CorruptFile("it holds changes of the segment before, and cannot be decoded on its own")
    if isinstance(config, PfnrConfig) and config.before:
        raise CorruptFile("it uses weights of an earlier video of its file, and cannot be decoded on its own")
    config, tensors = decode_weights(payload, architecture, grid, max_memory, version)
    return evaluable(config, grid, tensors)


def decode_weights(
    payload: bytes,
    architecture: int,
    grid: Grid,
    max_memory: int | None,
    version: int = VERSION,
    arrange: Callable[[Shapes], Shapes] = list,
) -> tuple[Config, list[QuantisedTensor]]:
    """The configuration and tensors of a payload that is no picture of latent grids; `architecture` is a known one.
    `arrange` makes the shapes of the tensors of those of the network's parameters. Raises as `decode_network` does.
    """
    cursor = wire.Cursor(payload)
    config = decode_config(ARCHITECTURES[architecture], cursor, grid)
    stream = payload[cursor.position :]
    structure = _structure(config, grid)
    n_weights = sum(leaf.size for leaf in parameters(structure))
    if n_weights > max_weights(len(stream)):
        raise CorruptFile(f"{n_weights} weights in {len(stream)} bytes cannot be")
    _check_memory(n_weights * BYTES_PER_WEIGHT, max_memory)
    tensors = decode_tensors(stream, arrange([leaf.shape for leaf in parameters(structure)]), version)
    _check_memory(n_weights * BYTES_PER_WEIGHT + _working_bytes(config, grid), max_memory)
    return config, tensors


def evaluable(config: Config, grid: Grid, tensors: Sequence[QuantisedTensor]) -> Representation:
    """The network of that configuration whose parameters the integers stand for."""
    return dequantise_network(_structure(config, grid), tensors)


def network_of(config: Config, grid: Grid, arrays: Iterable[Float[np.ndarray, "..."]]) -> Representation:
    """The network of that configuration with these parameters."""
    return fill_network(_structure(config, grid), arrays)


def _decode_picture(
    config: GridConfig, cursor: wire.Cursor, grid: Grid, max_memory: int | None, version: int, partial: bool
) -> LatentGrid:
    """A picture of latent grids, and the preview before it, if there is one."""
    height, width = grid.shape
    shape = height, width
    _check_memory(decoding_memory(grid, is_tiled(shape, version)), max_memory)
    if not has_preview(shape, version):
        stream = cursor.take(cursor.remaining)
        return LatentGrid(grid, Picture(config, stream, shape, grid.channels, partial, version))
    length = cursor.varint()
    payload = cursor.take(min(length, cursor.remaining) if partial else length)
    small = Grid(grid_preview.size(shape, grid_preview.halvings(shape)), grid.channels)
    preview = decode_network(payload, GridConfig.number, small, max_memory, version, partial)
    assert isinstance(preview, LatentGrid)
    stream = cursor.take(cursor.remaining)
    return LatentGrid(grid, Picture(config, stream, shape, grid.channels, partial, version, preview.picture), preview)


def max_weights(n_bytes: int) -> int:
    """The most weights that a decoder believes to be in a stream of that length."""
    return FREE_WEIGHTS + WEIGHTS_PER_BYTE * n_bytes


def _check_memory(needed: int, limit: int | None) -> None:
    if limit is not None and needed > limit:
        raise LimitExceeded(
            f"its network needs about {format_size(needed)}, the limit is {format_size(limit)}; raise it (--max-memory)"
        )


@functools.lru_cache(maxsize=CACHED_STRUCTURES)
def _structure(config: Config, grid: Grid) -> Representation:
    return config.structure(grid)


@functools.lru_cache(maxsize=CACHED_STRUCTURES)
def _working_bytes(config: Config, grid: Grid) -> int:
    """Memory that evaluating the network once takes: that of its largest step, read off the traced program."""
    shape = (1,) if config.frame_wise else (POINT_BLOCKS[-1], config.n_coordinates(grid))
    inputs = jax.ShapeDtypeStruct(shape, jnp.float32)  # type: ignore[no-untyped-call]
    traced, _, _ = eqx.filter_make_jaxpr(lambda module, x: module.predict(x))(_structure(config, grid), inputs)
    return _largest_step(traced.jaxpr)


def _largest_step(jaxpr: Any) -> int:
    """The most bytes that one operation of a traced program, or of one within it, reads and writes."""
    largest = 0
    for equation in jaxpr.eqns:
        sizes = [v.aval.size * v.aval.dtype.itemsize for v in (*equation.invars, *equation.outvars)]
        inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
        largest = max(largest, sum(sizes), *(_largest_step(value) for value in inner if hasattr(value, "eqns")))
    return largest


def count_parameters(payload: bytes, architecture: int, grid: Grid) -> int:
    """The weights of the network in a payload, of which only the configuration is read. Raises CorruptFile."""
    config = decode_config(ARCHITECTURES[architecture], wire.Cursor(payload), grid)
    return config.n_parameters(grid)


def describe(config: Config) -> str:
    """A configuration on one line, for people."""
    fields = ", ".join(f"{f.name} {getattr(config, f.name)}" for f in dataclasses.fields(config))
    return f"{architecture_name(type(config))}: {fields}"


def architecture_name(architecture: type[Config]) -> str:
    """What people call it."""
    return architecture.__name__.removesuffix("Config").lower()
