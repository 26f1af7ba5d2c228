"""Sums of random vectors that are never stored: entries are signs, made from a seed wherever they are needed.

A word of `counted_random` holds 32 signs, so that making them costs less than adding them up. Working memory is that of
a block of rows, forward and backward, whatever the size of the matrix.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from .counted_random import BELL_SCALE, bell, traced_places, words

SIGNS_PER_WORD = 32
BLOCK_SIGNS = 1 << 18
"""Signs made at once, where one group of rows has no more: as floats they fit a core's cache."""
_SIGN_BIT = np.uint32(0x80000000)
_ONE = np.uint32(0x3F800000)
"""The bits of the float 1."""


def sign_words(n_rows: int, n_columns: int) -> int:
    """The places that a matrix of signs takes: a word for each column of 32 rows."""
    return -(-n_rows // SIGNS_PER_WORD) * n_columns


def signs(seed: int, first: Int[Array, ""] | int, n_groups: int, n_columns: int) -> Float[Array, "rows columns"]:
    """Groups of 32 rows of 1 and -1, from the words at place `first` and on: entry (i, j) is -1 where bit i % 32 of
    word `n_columns * (i // 32) + j` is set.
    """
    places = traced_places(first, n_groups * n_columns).reshape(n_groups, 1, n_columns)
    # the barrier: else a word is made once for each of its signs
    drawn = jax.lax.optimization_barrier(words(seed, places))  # type: ignore[no-untyped-call]
    up = np.arange(SIGNS_PER_WORD - 1, -1, -1, dtype=np.uint32)[:, None]
    ones: Float[Array, "groups bits columns"]
    ones = jax.lax.bitcast_convert_type(((drawn << up) & _SIGN_BIT) | _ONE, jnp.float32)
    return ones.reshape(n_groups * SIGNS_PER_WORD, n_columns)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def project(seed: int, first: int, n_rows: int, values: Float[Array, " columns"]) -> Float[Array, " rows"]:
    """The product of a matrix of random signs (see `signs`) and `values`, block by block."""
    starts, n_groups = _blocks(first, n_rows, values.size)
    products: Float[Array, "blocks rows"]
    products = jax.lax.map(lambda start: signs(seed, start, n_groups, values.size) @ values, starts)
    return products.reshape(-1)[:n_rows]


def _project_forward(
    seed: int, first: int, n_rows: int, values: Float[Array, " columns"]
) -> tuple[Float[Array, " rows"], Float[Array, " columns"]]:
    return project(seed, first, n_rows, values), values


def _project_backward(
    seed: int, first: int, n_rows: int, values: Float[Array, " columns"], gradient: Float[Array, " rows"]
) -> tuple[Float[Array, " columns"]]:
    starts, n_groups = _blocks(first, n_rows, values.size)
    n_padded = len(starts) * n_groups * SIGNS_PER_WORD
    parts = jnp.pad(gradient, (0, n_padded - n_rows)).reshape(len(starts), -1)

    def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        return total + block[1] @ signs(seed, block[0], n_groups, values.size), None

    return (jax.lax.scan(add, jnp.zeros_like(values), (starts, parts))[0],)


project.defvjp(_project_forward, _project_backward)


def _blocks(first: int, n_rows: int, n_columns: int) -> tuple[UInt32[Array, " blocks"], int]:
    """The first place of each block, and the groups of 32 rows in a block."""
    n_groups = -(-n_rows // SIGNS_PER_WORD)
    at_once = max(1, min(n_groups, BLOCK_SIGNS // (SIGNS_PER_WORD * n_columns)))
    n_blocks = -(-n_groups // at_once)
    return jnp.uint32(first) + jnp.arange(n_blocks, dtype=jnp.uint32) * jnp.uint32(at_once * n_columns), at_once


def shuffled(seed: int, count: int) -> Int[Array, " count"]:
    """The numbers 0 to `count` - 1, sorted by their words; those of equal words in their own order."""
    return jnp.argsort(words(seed, traced_places(0, count)), stable=True)


def spread(
    order_seed: int, sign_seed: int, n_rows: int, n_terms: int, values: Float[Array, " groups"]
) -> Float[Array, " rows"]:
    """Sums of `n_terms` of the `values` with random signs for each row. Each value occurs equally often, or once more.

    Term t of row i is number i * n_terms + t; its value is that of its place in the random order, modulo their count.
    """
    count = n_rows * n_terms
    chosen = values[shuffled(order_seed, count) % values.size].reshape(n_rows, n_terms)
    return jnp.sum(chosen * signs(sign_seed, 0, sign_words(n_rows, 1), n_terms)[:n_rows], axis=1)


def normal_numbers(seed: int, count: int) -> Float[Array, " count"]:
    """Fixed numbers of variance 1, nearly normal."""
    numbers: Float[Array, " count"] = bell(words(seed, traced_places(0, count))).astype(jnp.float32)
    return numbers * np.float32(1 / BELL_SCALE)
