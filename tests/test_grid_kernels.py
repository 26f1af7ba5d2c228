"""The compiled steps of latent grids against those in JAX, in every variant that this processor can run."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inrzip import grid_fit
from inrzip.architectures import grid_kernels
from inrzip.architectures.grid_jax import JaxKernels
from inrzip.architectures.grid_kernels import CompiledKernels
from inrzip.architectures.grid_layout import flat
from inrzip.architectures.grid_training import Layout
from inrzip.errors import InrzipError
from inrzip.grid_coding import penalty_of, rounding_of
from inrzip.priors import grid_prior

SHAPES = [(1, 1, 1), (67, 1, 1), (37, 261, 3)]


@pytest.fixture(params=grid_kernels.VARIANTS)
def code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """One compiled library after the other."""
    monkeypatch.setenv(grid_kernels.SWITCH, request.param)
    grid_kernels.library.cache_clear()
    grid_kernels.workspace.cache_clear()
    found = grid_kernels.library()
    yield found if found is not None else pytest.skip(f"not compiled, or not for this processor: {request.param}")
    grid_kernels.library.cache_clear()
    grid_kernels.workspace.cache_clear()


def networks_near_the_prior(channels: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    mean = grid_prior.as_floats(grid_prior.load(grid_prior.LATEST).networks(grid_prior.NEUTRAL_TONE, channels))
    return jax.tree.map(lambda a: (a + rng.normal(0, 0.03, a.shape)).astype(np.float32), mean)


def latents_of(layout: Layout, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = layout.rows, layout.columns
    return (np.round(rng.laplace(0, 1.5, shape)) + rng.normal(0, 0.1, shape)).astype(np.float32) * layout.mask


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_costs_and_gradients(code, shape: tuple[int, int, int], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_kernels, "n_threads", lambda n_pixels: threads)
    height, width, channels = shape
    layout = Layout((height, width))
    networks, latents = networks_near_the_prior(channels, 1), latents_of(layout, 2)
    target = np.random.default_rng(3).random((channels, height, width), np.float32)
    given = flat(networks), latents, target, 0.125, 0.004
    costs, by_networks, by_latents = CompiledKernels(code, layout, channels).cost(*given)
    wanted, wanted_networks, wanted_latents = map(np.asarray, JaxKernels(layout, channels).cost(*given))
    np.testing.assert_allclose(costs, wanted, rtol=1e-5)
    position = 0
    for array in jax.tree.leaves(networks):
        part = slice(position, position + array.size)
        atol = 1e-4 * np.abs(wanted_networks[part]).max() + 1e-6
        np.testing.assert_allclose(by_networks[part], wanted_networks[part], atol=atol)
        position += array.size
    assert position == len(by_networks)
    atol = 2e-4 * np.abs(wanted_latents).max() + 1e-6
    np.testing.assert_allclose(by_latents * layout.mask, wanted_latents * layout.mask, atol=atol)


def test_smooth_rounding(code) -> None:
    layout = Layout((30, 41))
    compiled = CompiledKernels(code, layout, 3)
    latents = latents_of(layout, 4) / np.float32(grid_fit.GAIN)
    given = latents, grid_fit.GAIN, 0.2, 0.0, 7
    pairs = zip(compiled.smooth(*given), JaxKernels(layout, 3).smooth(*given), (1e-4, 2e-3), strict=True)
    for mine, theirs, atol in pairs:
        np.testing.assert_allclose(mine, theirs, atol=atol)

    # at a high temperature rounding is next to nothing, so what is left is the noise
    noise = (compiled.smooth(latents, grid_fit.GAIN, 50.0, 0.5, 7)[0] - latents * grid_fit.GAIN)[layout.mask > 0]
    other = (compiled.smooth(latents, grid_fit.GAIN, 50.0, 0.5, 8)[0] - latents * grid_fit.GAIN)[layout.mask > 0]
    assert abs(noise.mean()) < 0.05 and noise.std() == pytest.approx(0.5, rel=0.05)
    assert np.mean(noise**4) / np.mean(noise**2) ** 2 == pytest.approx(3, abs=0.5)
    assert abs(np.corrcoef(noise, other)[0, 1]) < 0.1 and abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.1


def test_fits_go_as_in_jax(code, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps without noise: the same latents and networks, but for rounding errors that Adam blows up."""
    monkeypatch.setattr(grid_fit, "NOISE", (0.0, 0.0))
    monkeypatch.setattr(grid_fit, "STEPS_AT_ONCE", 3)
    layout, prior = Layout((21, 34)), grid_prior.load(grid_prior.LATEST)
    y, x = np.mgrid[:21, :34]
    target = jnp.asarray(np.stack([0.5 + 0.3 * np.sin(x / (3 + c) + y / 5) for c in range(3)]), jnp.float32)
    mean = jax.device_put(grid_prior.as_floats(prior.networks(grid_prior.NEUTRAL_TONE, 3)))
    price = grid_fit.Price(jnp.float32(1e-3), jnp.float32(0.125))
    problem = grid_fit.Problem(mean, penalty_of(prior, 3), target, price)

    def fitted() -> tuple[grid_fit.State, np.ndarray]:
        state = grid_fit.start(mean, jnp.asarray(latents_of(layout, 5)))
        return grid_fit.run(layout, problem, state, 100, rounding_of(None, prior), (1e-2, 1e-3))

    mine, my_costs = fitted()
    monkeypatch.setattr(grid_fit, "kernels", JaxKernels)
    theirs, their_costs = fitted()
    np.testing.assert_allclose(my_costs, their_costs, rtol=1e-3)
    assert int(mine.step) == int(theirs.step) and int(mine.age) == int(theirs.age)
    assert np.mean(np.abs(mine.latents - theirs.latents)) < 1e-2 * np.mean(np.abs(theirs.latents))
    for a, b, first in zip(*map(jax.tree.leaves, (mine.change, theirs.change, mean)), strict=True):
        assert np.abs(a - b).max() < 2e-3, first.shape


def test_no_memory_is_said(code, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout((8, 9))
    monkeypatch.setattr(Layout, "rows", 1 << 46)
    with pytest.raises(MemoryError):
        CompiledKernels(code, layout, 3)


def test_wrong_arrays_are_refused(code) -> None:
    layout = Layout((8, 9))
    compiled, latents = CompiledKernels(code, layout, 3), np.zeros((layout.rows, layout.columns), np.float32)
    with pytest.raises(ValueError, match="float32"):
        compiled.smooth(latents.astype(np.float64), 16.0, 0.2, 0.1, 0)
    networks = flat(networks_near_the_prior(3, 1))
    with pytest.raises(ValueError, match="were wanted"):
        compiled.cost(networks, latents, np.zeros((1, 8, 9)), 0.1, 0.1)
    with pytest.raises(ValueError, match="read-only"):
        compiled.descend(np.asarray(jnp.asarray(latents)), (latents, latents), latents, latents, 0.1, (0.9, 0.9), 0)


def test_threads_wait_for_each_other(code) -> None:
    layout, networks = Layout((60, 60)), flat(networks_near_the_prior(3, 1))
    target = np.zeros((3, 60, 60), np.float32)
    given = [(networks, latents_of(layout, seed), target, 0.1, 0.01) for seed in (1, 2)]
    wanted = [CompiledKernels(code, layout, 3).cost(*one)[0] for one in given]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda i: CompiledKernels(code, layout, 3).cost(*given[i % 2])[0], range(40)))
    for i, costs in enumerate(found):
        np.testing.assert_array_equal(costs, wanted[i % 2])


def test_an_unknown_variant_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(grid_kernels.SWITCH, "avx-2")
    grid_kernels.library.cache_clear()
    with pytest.raises(InrzipError, match="avx512"):
        grid_kernels.library()


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="there may be no compiled code")
def test_there_is_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed where there is a compiler, as these tests are: else it was not compiled, and all above was skipped."""
    monkeypatch.delenv(grid_kernels.SWITCH, raising=False)
    grid_kernels.library.cache_clear()
    assert grid_kernels.library() is not None
