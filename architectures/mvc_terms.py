"""What MVC's loss has besides the error of samples. Nothing of it is in a file.

The paper compares flow with that of RAFT, and frames by what a ResNet sees in them. Both are trained networks; here the
flow is that of an iterative Lucas-Kanade estimator, and frames are compared by what fixed random filters see.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int16, PRNGKeyArray, Shaped

from .frames import Conv

FLOW_SCALE = 256
"""Parts of a sample in which flow is kept: whole numbers, as only floating point is fitted."""
FLOW_REACH = 100.0
FLOW_WINDOW = 4
FLOW_UNIT = 4.0
"""Samples of motion that the head for flow says 1 for."""
N_FILTERS, FILTER_SIZE, SIGHTS = 24, 5, 4
"""Filters, and the rows and columns of cells over which their responses are averaged."""
SIGHT_SCALE = 1 << 14
PAST = 4
"""Frames before one that it is compared with."""
PAST_WIDTH = 2.0
"""Deviation of the bell that says how alike they should be, in frames."""
TEMPERATURE = 0.1
ENTROPY_SHARE = 0.1
"""What the entropy of the map of weights counts, as a part of what flow counts, in units of its greatest value."""

Frames = Float[Array, "b h w c"]


@dataclasses.dataclass(frozen=True)
class Terms:
    """How much each term counts beside the mean squared error. 0: it is not there, and takes no time."""

    frequency: float = 0.0
    flow: float = 0.0
    contrast: float = 0.0


def frequency_error(predicted: Frames, targets: Frames) -> Float[Array, ""]:
    """Mean magnitude of the real and imaginary parts of the error's Fourier coefficients, which are as large as the
    error.
    """
    spectrum = jnp.fft.rfft2(predicted - targets, axes=(1, 2), norm="ortho")
    return jnp.mean(jnp.abs(spectrum.real) + jnp.abs(spectrum.imag))


# ---- flow ----


class FlowHead(eqx.Module):
    """Flow to the next frame and from the one before out of the last features, and how much each position counts."""

    flow: Conv
    weight: Conv

    def __init__(self, n_in: int, key: PRNGKeyArray):
        flow_key, weight_key = jax.random.split(key)
        self.flow = Conv(n_in, 4, 3, flow_key)
        self.weight = Conv(n_in, 2, 1, weight_key)

    def error(self, features: Frames, flows: Float[Array, "b h w 4"]) -> Float[Array, ""]:
        """L1 to the flows, weighted by a softmax over positions, less the entropy of that, which keeps it from choosing
        what is easy.
        """
        b, height, width, _ = flows.shape
        wrong = jnp.abs(self.flow(features)[:, :height, :width] - flows / FLOW_UNIT)
        logs = jax.nn.log_softmax(self.weight(features)[:, :height, :width].reshape(b, -1, 2), 1)
        chosen = jnp.exp(logs)
        weighted = (chosen * wrong.reshape(b, -1, 2, 2).sum(-1)).sum(1)
        entropy = -(chosen * logs).sum(1) / max(float(np.log(height * width)), 1.0)
        return jnp.mean(weighted - ENTROPY_SHARE * entropy)


def estimate_flows(
    samples: Shaped[np.ndarray, "frames height width channels"], scenes: tuple[int, ...], shuffle: int
) -> Int16[np.ndarray, "frames h w 4"]:
    """Flow to the next frame and from the one before, rows and columns each, on the grid of the last features; 0 where
    a scene has no such frame.
    """
    import skimage.registration  # a second to import

    estimate: Any = skimage.registration.optical_flow_ilk  # scikit-image has no types
    grey = [_averaged(frame.astype(np.float32).mean(-1), shuffle) for frame in samples]
    span = max(max(float(frame.max()) for frame in grey) - min(float(frame.min()) for frame in grey), 1e-6)
    flows = np.zeros((len(grey), *grey[0].shape, 4), np.float32)
    ends = set(np.cumsum(scenes).tolist())
    for i in range(len(grey) - 1):
        if i + 1 in ends or min(grey[i].shape) < 2:
            continue
        pair = grey[i] / span, grey[i + 1] / span
        flows[i, ..., :2] = np.moveaxis(estimate(*pair, radius=FLOW_WINDOW), 0, -1)
        flows[i + 1, ..., 2:] = np.moveaxis(estimate(*pair[::-1], radius=FLOW_WINDOW), 0, -1)
    flows = np.nan_to_num(flows).clip(-FLOW_REACH, FLOW_REACH)
    return np.asarray(np.rint(flows * FLOW_SCALE), np.int16)


def _averaged(plane: Float[np.ndarray, "height width"], factor: int) -> Float[np.ndarray, "h w"]:
    rows, columns = (-size % factor for size in plane.shape)
    padded = np.pad(plane, ((0, rows), (0, columns)), mode="edge")
    means: Float[np.ndarray, "h w"] = padded.reshape(
        padded.shape[0] // factor, factor, padded.shape[1] // factor, factor
    ).mean((1, 3))
    return means


# ---- contrast ----


def sight(frames: Frames) -> Float[Array, "b numbers"]:
    """What fixed filters see in frames, of length 1: their responses' magnitudes, averaged over cells, less the mean of
    each over the frame.
    """
    _, height, width, channels = frames.shape
    drawn = np.random.default_rng(0).normal(0, 1, (FILTER_SIZE, FILTER_SIZE, channels, N_FILTERS)).astype(np.float32)
    filters = drawn - drawn.mean((0, 1), keepdims=True)
    seen = jax.lax.conv_general_dilated(
        frames, jnp.asarray(filters), (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    rows, columns = (_cells(-(-size // 2)) for size in (height, width))
    cells = jnp.einsum("ri,bijf,cj->brcf", rows, jnp.abs(seen), columns)
    centred = (cells - cells.mean((1, 2), keepdims=True)).reshape(len(frames), -1)
    return centred / jnp.maximum(jnp.linalg.norm(centred, axis=-1, keepdims=True), 1e-6)


def _cells(size: int) -> Float[Array, "cells size"]:
    """Means over `SIGHTS` equal parts of an axis, or over each of fewer samples."""
    n = min(SIGHTS, size)
    owner = np.arange(size) * n // size
    parts = (owner == np.arange(n)[:, None]).astype(np.float32)
    return jnp.asarray(parts / parts.sum(1, keepdims=True))


def keep_sights(
    samples: Shaped[np.ndarray, "frames height width channels"], low: float, high: float
) -> Int16[np.ndarray, "frames numbers"]:
    """What is seen in each frame, in whole numbers."""
    span = (high - low) or 1
    see = jax.jit(lambda frames: sight((frames.astype(jnp.float32) - low) / span))
    seen = np.concatenate([np.asarray(see(samples[i : i + 1])) for i in range(len(samples))])
    return np.asarray(np.rint(seen * SIGHT_SCALE), np.int16)


def contrast_error(
    predicted: Frames,
    past: Float[Array, "b past numbers"],
    there: Float[Array, "b past"],
) -> Float[Array, ""]:
    """How far frames are from being alike those before them as a bell over the distance in time says: the divergence of
    a softmax of cosines from it. `past`: what was seen in the frames before, the last one first; `there`: 1 where the
    scene has such a frame, else 0.
    """
    cosines = jnp.einsum("bn,bpn->bp", sight(predicted), past) / TEMPERATURE
    away = jnp.arange(1, PAST + 1, dtype=jnp.float32)
    bell = there * jnp.exp(-(away**2) / (2 * PAST_WIDTH**2))
    bell = bell / jnp.maximum(bell.sum(-1, keepdims=True), 1e-6)
    logs = jax.nn.log_softmax(jnp.where(there > 0, cosines, -1e9), -1)
    wanted = jnp.log(jnp.maximum(bell, 1e-9))
    return jnp.mean(jnp.sum(bell * (wanted - logs), -1))
