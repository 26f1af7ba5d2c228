"""First latents: a small convolutional network that looks at a picture and guesses what its latents will be.

Fits start where it says and are done sooner. Files do not depend on it: decoders never run it. It halves the picture
step by step, with a residual convolution at each level, whose units also make that level's latents; those of the finest
level come four at a time from the level above.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .grid_layout import COLOURS, HYPER_LEVELS, LEVELS

UNITS = (24, 32, 32, 32, 32, 32)
"""Of levels 1, 2 ..."""
LATENT_SCALE = 10.0
"""Latents are about so large when the network puts out 1."""


class Level(NamedTuple):
    """What belongs to a level, as arrays: convolutions (rows, columns, in, out), biases, and gains that depend on the
    tone.
    """

    down: Array
    down_bias: Array
    residual: Array
    residual_bias: Array
    head: Array
    head_bias: Array
    head_slope: Array
    unit_gain: Array
    head_gain: Array


Analysis = tuple[Level, ...]


def outputs(level: int) -> int:
    """What the head of a level (1 and up) puts out: its main latents, its hyper-latents, and those of level 0."""
    return 1 + (level in HYPER_LEVELS) + 4 * (level == 1)


def random_analysis(key: Array) -> Analysis:
    """A network before training."""
    levels, inputs = [], 4 * COLOURS
    for level, units in enumerate(UNITS, 1):
        key, *keys = jax.random.split(key, 4)
        sizes = ((inputs, units, 2.0), (units, units, 0.2), (units, outputs(level), 0.002))
        down, residual, head = (
            jax.random.normal(k, (3, 3, a, b)) * np.sqrt(gain / (9 * a))
            for k, (a, b, gain) in zip(keys, sizes, strict=True)
        )
        zero, none = jnp.zeros(units), jnp.zeros(outputs(level))
        levels.append(Level(down, zero, residual, zero, head, none, none, zero, none))
        inputs = units
    return tuple(levels)


def analyse(
    network: Analysis, pictures: Float[Array, "batch rows columns 3"], tones: Float[Array, " batch"]
) -> list[Float[Array, "batch rows columns"]]:
    """Latents in whole units and coding order. `tones`: powers of ten of lambda over the neutral one."""
    batch, height, width, _ = pictures.shape
    half = -(-height // 2), -(-width // 2)
    x = jnp.pad(pictures, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge") - 0.5
    x = x.reshape(batch, half[0], 2, half[1], 2, COLOURS).transpose(0, 1, 3, 2, 4, 5).reshape(batch, *half, 4 * COLOURS)
    tone = tones[:, None, None, None]
    found: list[Array] = []
    for number, level in enumerate(network, 1):
        x = _convolved(x, level.down, 1 if number == 1 else 2) + level.down_bias
        x = jax.nn.relu(x) * jnp.exp(level.unit_gain * tone)
        x = x + jax.nn.relu(_convolved(x, level.residual, 1) + level.residual_bias)
        y = _convolved(x, level.head, 1) + level.head_bias + level.head_slope * tone
        y = y * jnp.exp(level.head_gain * tone) * LATENT_SCALE * 10 ** (-tone / 2)
        if number == 1:
            four = y[..., 1:].reshape(batch, *half, 2, 2).transpose(0, 1, 3, 2, 4)
            found = [four.reshape(batch, 2 * half[0], 2 * half[1])[:, :height, :width], y[..., 0]]
        else:
            found += [y[..., i] for i in range(y.shape[-1])]
    assert len(network) == LEVELS - 1
    return found[::-1]


def _convolved(x: Array, kernel: Array, stride: int) -> Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def dumps(network: Analysis) -> bytes:
    """All arrays as bytes, in half precision."""
    out = io.BytesIO()
    arrays = jax.tree.leaves(network)
    np.savez_compressed(out, *[np.asarray(array, np.float16) for array in arrays])
    return out.getvalue()


def loads(data: bytes) -> Analysis:
    """The inverse of `dumps`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        arrays = [jnp.asarray(stored[f"arr_{i}"], jnp.float32) for i in range(len(stored.files))]
    n = len(Level._fields)
    return tuple(Level(*arrays[i : i + n]) for i in range(0, len(arrays), n))
