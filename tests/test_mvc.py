"""MVC: scenes, what only its fits have, and frames across a cut."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy import ndarray

import inrzip
from inrzip.architectures.base import Grid, parameters
from inrzip.architectures.mvc import LEAST_PARAMETERS, MAX_SCENES, Mvc, MvcConfig, MvcTraining
from inrzip.architectures.mvc_terms import FLOW_SCALE, PAST, Terms, contrast_error, estimate_flows, sight
from inrzip.architectures.scenes import LEAST_FRAMES, begins_scene, scene_lengths
from inrzip.examples import Frames
from inrzip.fitting import Schedule, fit
from tests.common import picture, slow


def moving(n_frames: int, turn: int = 0, speed: int = 1, size: tuple[int, int] = (20, 24)) -> ndarray:
    """A picture that moves to the right, turned by so many quarters."""
    still = np.rot90(picture(40, 40, 3), turn)
    return np.stack([np.roll(still, speed * i, 1)[: size[0], : size[1]] for i in range(n_frames)])


def two_scenes() -> ndarray:
    return np.concatenate([moving(7), 255 - moving(5, 2)])


def test_scenes() -> None:
    film = two_scenes()
    assert scene_lengths(film, 0, 255, 16) == (7, 5)
    assert scene_lengths(film, 0, 255, 1) == (12,)
    assert scene_lengths(film[:8], 0, 255, 16) == (8,), f"a scene has {LEAST_FRAMES} frames at least"
    several = np.concatenate([film, film, film])
    assert scene_lengths(several, 0, 255, 16) == (7, 5, 7, 5, 7, 5)
    assert len(scene_lengths(several, 0, 255, 3)) == 3
    assert sum(scene_lengths(several, 0, 255, 3)) == len(several)


def test_what_is_no_scene() -> None:
    flash = moving(12)
    flash[6] = 255
    pan = moving(12, speed=9)
    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 24, 3)).astype(np.uint8)
    for film in (moving(12), flash, pan, noise, np.zeros((12, 1, 1, 1), np.uint8), moving(1)):
        assert scene_lengths(film, 0, 255, 16) == (len(film),)
    assert scene_lengths(np.full((6, 3, 2, 1), 7), 7, 7, 16) == (6,)
    assert begins_scene(0.1, 0.1) and not begins_scene(0.04, 0.1) and not begins_scene(1e-4, 0.0)


@pytest.mark.slow
def test_as_many_scenes_as_parameters_allow() -> None:
    film = two_scenes()
    grid = Grid(film.shape[:3], 3)

    def scenes(n_parameters: int, **settings: int) -> tuple[int, ...]:
        config = MvcConfig.solve_for(grid, n_parameters, film, 0, 255, **settings)
        config.check(grid)
        return config.scenes

    assert scenes(20_000) == (7, 5)
    assert scenes(2 * LEAST_PARAMETERS - 1) == scenes(20_000, scenes=1) == (12,)
    assert scenes(100, scenes=2) == (7, 5)
    many = np.concatenate([film] * 10)
    found = MvcConfig.solve_for(Grid(many.shape[:3], 3), 10**6, many, 0, 255, scenes=1000)
    assert len(found.scenes) == MAX_SCENES
    assert MvcConfig.solve(grid, 20_000, scenes=2, channels=5).channels == 5


@pytest.mark.slow
def test_a_cut_parts_frames() -> None:
    """What belongs to one scene leaves the other as it was; between them, the earlier one's last frame stands."""
    grid = Grid((5, 9, 10), 1)
    config = MvcConfig(2, 4, 6, 1, 5, 3, 2, 3, 1, (3, 2), (3, 2))
    network = config.build(grid, jax.random.key(0))
    leaves, treedef = jax.tree.flatten(network)
    n_own = (len(leaves) - 1) // 2
    moved = [*leaves[: 1 + n_own], *(leaf + 0.3 for leaf in leaves[1 + n_own :])]
    other: Mvc = jax.tree.unflatten(treedef, moved)
    times = jnp.asarray([0.0, 2.0, 2.9, 3.0, 4.0])
    before, after = np.asarray(network.predict(times)), np.asarray(other.predict(times))
    np.testing.assert_array_equal(before[:3], after[:3])
    assert np.abs(before[3:] - after[3:]).max() > 0.01
    np.testing.assert_allclose(before[1], before[2], atol=1e-6)


ALL = Terms(frequency=1e-2, flow=1e-3, contrast=1e-3)


@pytest.mark.parametrize("terms", [slow(Terms()), slow(ALL)])
def test_fits_and_leaves_only_the_network(terms: Terms) -> None:
    film = two_scenes()
    grid = Grid(film.shape[:3], 3)
    config = MvcConfig.solve_for(grid, 8_000, film, 0, 255)
    assert config.scenes == (7, 5)
    network = config.build(grid, jax.random.key(0))
    training = MvcTraining(network, jax.random.key(1), terms).shown(film, 0, 255)

    def error(module: Any) -> float:
        return float(np.mean((module.finish(film, 0, 255).render(grid.axes()) - film / 255) ** 2))

    fitted = fit(training, Frames(film, 0, 255, 1), Schedule(120, 5e-3))
    assert error(fitted) < 0.7 * error(training)
    finished = fitted.finish(film, 0, 255)
    assert [leaf.shape for leaf in parameters(finished)] == [leaf.shape for leaf in parameters(network)]
    with pytest.raises(ValueError, match="makes its embeddings from frames"):
        fitted.finish(None, 0, 255)


@pytest.mark.parametrize("terms", [slow(Terms(frequency=1e-2)), Terms(flow=1e-3), Terms(contrast=1e-3)])
def test_each_term_counts(terms: Terms) -> None:
    """A term adds to the loss, and its gradients are numbers; without frames, terms that need them are left out."""
    film = two_scenes()
    grid = Grid(film.shape[:3], 3)
    config = MvcConfig.solve_for(grid, 3_000, film, 0, 255, scenes=1)
    network, key = config.build(grid, jax.random.key(0)), jax.random.key(1)
    plain, training = (MvcTraining(network, key, t).shown(film, 0, 255) for t in (Terms(), terms))
    times, targets = jnp.asarray([4.0, 0.0]), jnp.asarray(film[[4, 0]] / 255, jnp.float32)
    expected = float(jnp.mean((plain.predict_training(times, targets) - targets) ** 2))
    assert float(plain.training_loss(times, targets)) == pytest.approx(expected, rel=1e-5)
    assert abs(float(training.training_loss(times, targets)) - expected) > 1e-7
    import equinox as eqx

    loss, gradient = eqx.filter_value_and_grad(lambda m: m.training_loss(times, targets))(training)
    assert np.isfinite(float(loss)) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    unseen = MvcTraining(network, key, terms).shown(None, 0, 255)
    if not terms.frequency:
        assert float(unseen.training_loss(times, targets)) == pytest.approx(expected, rel=1e-5)


def test_flow_is_that_of_the_frames() -> None:
    y, x = np.mgrid[:40, :48]
    film = np.stack([128 + 60 * np.sin((x - i) / 4) + 60 * np.cos(y / 5) for i in range(4)])[..., None]
    flows = estimate_flows(film, (4,), 1) / FLOW_SCALE
    inner = flows[:, 8:-8, 8:-8]
    assert abs(np.median(inner[:3, ..., 1]) - 1) < 0.1 and abs(np.median(inner[1:, ..., 3]) + 1) < 0.1
    assert abs(np.median(inner[..., 0])) < 0.1
    assert not flows[3, ..., :2].any() and not flows[0, ..., 2:].any()
    parted = estimate_flows(film, (2, 2), 2)
    assert parted.shape == (4, 20, 24, 4)
    assert not parted[1, ..., :2].any() and not parted[2, ..., 2:].any() and parted[0, ..., :2].any()
    assert not estimate_flows(np.zeros((3, 1, 5, 1)), (3,), 2).any()


def test_contrast_prefers_what_is_near_in_time() -> None:
    film = jnp.asarray(np.concatenate([moving(1), moving(4, 1)])[..., :3] / 255, jnp.float32)
    seen = sight(film)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-5)
    past = seen[3::-1][None]
    there = jnp.ones((1, PAST))
    near = float(contrast_error(film[4:5], past, there))
    far = float(contrast_error(film[:1], past, there))
    assert 0 <= near < far
    assert float(contrast_error(film[4:5], past, jnp.zeros((1, PAST)))) == 0


@pytest.mark.parametrize("size", [2_500, slow(6_000)])
def test_a_file_with_a_cut(size: int, quick: None) -> None:
    film = two_scenes()
    found = inrzip.fit(film, "mvc", kind="video", target_size=size, effort=1, settings={"scenes": 2})
    assert found.n_bytes <= size
    with inrzip.open(found.data) as reader:
        whole = reader[...]
        np.testing.assert_allclose(reader[7].astype(int), whole[7].astype(int), atol=1)
    assert np.abs(whole[6].astype(int) - whole[7]).mean() > 20
