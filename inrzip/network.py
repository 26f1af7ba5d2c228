"""A quantised network as bytes: the payload of a segment (docs/format.md, "Segment payloads")."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from inrzip.architectures.base import Config, Grid, Representation, parameters
from inrzip.codecs.uniform import dequantise, quantise
from inrzip.codecs.weights import decode_tensors, encode_tensors

from . import wire
from .errors import CorruptFile, LimitExceeded
from .recipes import ARCHITECTURES

MAX_TUPLE = 16
"""Entries of a tuple in a configuration."""
WEIGHTS_PER_BYTE = 4096
FREE_WEIGHTS = 1 << 16
"""A payload of n bytes holds at most FREE_WEIGHTS + WEIGHTS_PER_BYTE n weights: what a header asks for is bounded by the file."""
BYTES_PER_WEIGHT = 16
"""Memory needed for a weight while decoding."""

Quantised = tuple[list[Int[np.ndarray, "..."]], list[int]]
"""The integers of each parameter array, and the index of each one's step."""


def quantise_network(module: eqx.Module, step_indices: Sequence[int]) -> Quantised:
    """Every parameter array rounded to its own step."""
    arrays = [np.asarray(leaf, np.float32) for leaf in parameters(module)]
    return [quantise(a, i) for a, i in zip(arrays, step_indices, strict=True)], list(step_indices)


def dequantise_network(structure: Representation, quantised: Quantised) -> Representation:
    """`structure` (arrays or shapes) with the parameters that the integers stand for."""
    leaves, treedef = jax.tree.flatten(structure)
    values = iter(dequantise(q, i) for q, i in zip(*quantised, strict=True))
    filled = [jnp.asarray(next(values)) if _is_parameter(leaf) else leaf for leaf in leaves]
    return cast(Representation, jax.tree.unflatten(treedef, filled))


def _is_parameter(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def encode_network(config: Config, quantised: Quantised) -> bytes:
    """The payload: the configuration, then the weight stream."""
    return encode_config(config) + encode_tensors(*quantised)


def decode_network(payload: bytes, architecture: int, grid: Grid, max_memory: int | None = None) -> Representation:
    """The network of a payload. Raises CorruptFile, or LimitExceeded if its weights would not fit in `max_memory` bytes."""
    if architecture not in ARCHITECTURES:
        raise CorruptFile(f"architecture {architecture} is unknown; the file may be from a newer inrzip")
    cursor = wire.Cursor(payload)
    config = decode_config(ARCHITECTURES[architecture], cursor, grid)
    stream = payload[cursor.position :]
    structure = config.structure(grid)
    n_weights = sum(leaf.size for leaf in parameters(structure))
    if n_weights > FREE_WEIGHTS + WEIGHTS_PER_BYTE * len(stream):
        raise CorruptFile(f"{n_weights} weights in {len(stream)} bytes cannot be")
    if max_memory is not None and n_weights * BYTES_PER_WEIGHT > max_memory:
        raise LimitExceeded(f"the network's {n_weights} weights need more memory than the limit of {max_memory} bytes")
    quantised = decode_tensors(stream, [leaf.shape for leaf in parameters(structure)])
    return dequantise_network(structure, quantised)


def encode_config(config: Config) -> bytes:
    """The fields in order: a number as a varint, a tuple as its length and its entries."""
    out = b""
    for name, is_tuple in config.field_is_tuple().items():
        value = getattr(config, name)
        out += (wire.varint(len(value)) + b"".join(map(wire.varint, value))) if is_tuple else wire.varint(value)
    return out


def decode_config(architecture: type[Config], cursor: wire.Cursor, grid: Grid) -> Config:
    """The inverse of `encode_config`. Raises CorruptFile for values that no encoder writes."""
    values: dict[str, Any] = {}
    for name, is_tuple in architecture.field_is_tuple().items():
        if not is_tuple:
            values[name] = cursor.varint()
            continue
        length = cursor.varint()
        if length > MAX_TUPLE:
            raise CorruptFile(f"a network's {name} has {length} entries")
        values[name] = tuple(cursor.varint() for _ in range(length))
    config = architecture(**values)
    try:
        config.check(grid)
    except ValueError as error:
        raise CorruptFile(f"impossible network: {error}") from None
    return config


def step_tree(module: eqx.Module, step_sizes: Sequence[float]) -> PyTree[Float[Array, ""]]:
    """Step sizes arranged as the parameters of `module` are, for quantisation-aware fitting."""
    arrays = eqx.filter(module, eqx.is_inexact_array)
    return jax.tree.unflatten(jax.tree.structure(arrays), [jnp.float32(s) for s in step_sizes])


def describe(config: Config) -> str:
    """A configuration on one line, for people."""
    fields = ", ".join(f"{f.name} {getattr(config, f.name)}" for f in dataclasses.fields(config))
    return f"{type(config).__name__.removesuffix('Config').lower()}: {fields}"
