"""Random whole numbers that are a function of a seed and a place: the same on every machine, device and thread count.

Networks that hold fixed random arrays (Fourier features, random bases) write the seed in the file and make the arrays
again where it is decoded. Only 32-bit integer operations decide them.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt32
from numpy import ndarray

_GOLDEN = 0x9E3779B9
_ROUNDS = ((16, 0x7FEB352D), (15, 0x846CA68B))
_LAST_SHIFT = 16
N_BYTES = 4
BELL_MEAN = N_BYTES * 255 // 2
BELL_SCALE = math.sqrt(N_BYTES * (256**2 - 1) / 12)
"""Standard deviation of `bell` numbers."""


def _mixed(x: Any) -> Any:
    """A bijection of 32-bit words that leaves no bit alike (two multiplications between shifts)."""
    for shift, factor in _ROUNDS:
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return x ^ (x >> np.uint32(_LAST_SHIFT))


def words(seed: int, place: Any) -> Any:
    """A random 32-bit word for each entry of `place` (uint32, NumPy or JAX); `seed`: 0 to 2^32 - 1."""
    key = _mixed(np.uint32((seed + _GOLDEN) & 0xFFFFFFFF).reshape(1))[0]
    return _mixed(_mixed(place ^ key) + key)


def bell(word: Any) -> Any:
    """Whole numbers -510 to 510 from words, nearly normally distributed around 0: the sum of a word's four bytes."""
    bytes_of = [(word >> np.uint32(8 * i)) & np.uint32(255) for i in range(N_BYTES)]
    return sum(part.astype(np.int32) for part in bytes_of) - BELL_MEAN


def bell_array(seed: int, shape: tuple[int, ...], first: int = 0) -> Int[ndarray, "..."]:
    """`bell` numbers at the places from `first` on, row by row. Makes them with NumPy."""
    place = np.arange(first, first + math.prod(shape), dtype=np.int64).astype(np.uint32)
    return np.asarray(bell(words(seed, place))).reshape(shape)


def traced_places(first: Int[Array, ""] | int, count: int) -> UInt32[Array, " count"]:
    """The places from `first` on, inside a compiled program."""
    places: UInt32[Array, " count"] = jnp.uint32(first) + jnp.arange(count, dtype=jnp.uint32)
    return places
