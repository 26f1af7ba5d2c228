"""Seconds of latent grids beside the least that their arithmetic takes: `python -m benchmarks.grid_speed`.

A step of a fit, and decoding, of a picture of 512x768; the floor is the same number of multiplications at the rate of a
large matrix product, measured in the same run: in float32, and for the context network while decoding in float64.
"""

from __future__ import annotations

import time
import unittest.mock
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from inrzip import grid_fit
from inrzip.architectures.grid import GridConfig
from inrzip.architectures.grid_jax import JaxKernels
from inrzip.architectures.grid_kernels import Kernels, kernels
from inrzip.architectures.grid_layout import FEATURES, HIDDEN_LAYERS, LEVELS, SYNTHESIS_WIDTH, WIDTH, flat, places
from inrzip.architectures.grid_training import Layout
from inrzip.codecs.latents import GridDecoder, encode_grids
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.compilation import prepare
from inrzip.grid_payload import CodedPlane, Picture, encode_planes
from inrzip.priors import grid_prior

SHAPE = (512, 768)
ROUNDS = 5
SIDE = 1500
CONTEXT_PRODUCTS = (HIDDEN_LAYERS + 2 / WIDTH * 2) * WIDTH * WIDTH
"""Multiplications of the context network for a latent."""
SYNTHESIS_PRODUCTS = SYNTHESIS_WIDTH * (LEVELS + 3) + LEVELS * 3 + 81
"""Of the synthesis network for a pixel."""
PASSES = 3
"""Forward, and backward to inputs and to weights."""


def least_seconds(work: Callable[[], object]) -> float:
    """The shortest of a few rounds; the first, which compiles, does not count."""
    found = []
    for _ in range(ROUNDS + 1):
        begun = time.perf_counter()
        jax.block_until_ready(work())  # type: ignore[no-untyped-call]
        found.append(time.perf_counter() - begun)
    return min(found[1:])


def products_per_second(dtype: type) -> float:
    """Multiplications a second in NumPy's matrix product."""
    square: np.ndarray = np.ones((SIDE, SIDE), dtype)
    return SIDE**3 / least_seconds(lambda: square @ square)


def step_seconds(make: Callable[[Layout, int], Kernels]) -> float:
    """A step of a fit, with those kernels."""
    layout = Layout(SHAPE)
    compute = make(layout, 3)
    prior = grid_prior.load(grid_prior.LATEST)
    mean = jax.tree.map(jnp.asarray, grid_prior.as_floats(prior.networks(grid_prior.NEUTRAL_TONE, 3)))
    zero = jax.tree.map(jnp.zeros_like, mean)
    none = grid_fit.Rounding(False, jax.tree.map(lambda _: jnp.float32(0), mean))
    price = grid_fit.Price(jnp.float32(1e-3), jnp.float32(grid_prior.NEUTRAL_STEP))
    problem = grid_fit.Problem(mean, zero, jnp.full((3, *SHAPE), 0.5), price)

    def steps() -> object:
        state = grid_fit.start(mean, jnp.zeros((layout.rows, layout.columns)))
        return grid_fit.run(layout, problem, state, 1000, none, (0.01, 0.002))

    with unittest.mock.patch.object(grid_fit, "kernels", lambda layout, channels: compute):
        return least_seconds(steps) / grid_fit.STEPS_AT_ONCE


def main() -> None:
    prepare()
    n_pixels = SHAPE[0] * SHAPE[1]
    order = places(SHAPE)
    n_latents = sum(place.shape[0] * place.shape[1] for place in order)
    rng = np.random.default_rng(0)
    grids = [np.round(rng.laplace(0, 0.3, place.shape)).astype(np.int64) for place in order]
    prior, config = grid_prior.load(grid_prior.LATEST), GridConfig(grid_prior.LATEST, 256, 64, 64)
    model = grid_prior.latent_model(prior.networks(256, 3))
    encoder = RangeEncoder()
    encode_grids(encoder, model, order, grids)
    stream = encoder.finish()

    def decode() -> list[np.ndarray]:
        reading = GridDecoder(RangeDecoder(stream), model, order)
        reading.read(len(order))
        return reading.grids

    plane = CodedPlane(3, np.zeros(len(flat(prior.networks(256, 3))), np.int64), grids)
    payload = encode_planes(config, prior, SHAPE, [plane])

    def picture() -> np.ndarray:
        return Picture(config, payload, SHAPE, 3).render((0, SHAPE[0]), (0, SHAPE[1]))

    single, double = products_per_second(np.float32), products_per_second(np.float64)
    context, synthesis = n_latents * CONTEXT_PRODUCTS, n_pixels * SYNTHESIS_PRODUCTS
    rows = [
        ("a step of a fit", step_seconds(kernels), PASSES * (context + synthesis) / single),
        ("a step of a fit in JAX", step_seconds(JaxKernels), PASSES * (context + synthesis) / single),
        ("decoding latents", least_seconds(decode), context / double),
        ("decoding the picture", least_seconds(picture), context / double + synthesis / single),
    ]
    print(f"{SHAPE[0]}x{SHAPE[1]}, {n_latents} latents, {FEATURES} features\n")
    print("| what | seconds | floor | ratio |\n|---|---|---|---|")
    for name, seconds, floor in rows:
        print(f"| {name} | {seconds:.4f} | {floor:.4f} | {seconds / floor:.1f} |")


if __name__ == "__main__":
    main()
