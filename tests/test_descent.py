"""Directions of descent: Adam beside optax, SOAP beside Adam, and its axes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy import ndarray

from inrzip import descent

DECAYS = (0.9, 0.99)


def gradients(seed: int) -> list[dict[str, ndarray]]:
    """Some random ones, of a vector, a matrix, and two matrices in one array."""
    rng = np.random.default_rng(seed)
    shapes = {"vector": (4,), "matrix": (3, 5), "pair": (2, 4, 3)}
    return [{k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()} for _ in range(7)]


def test_adam_is_that_of_optax() -> None:
    theirs = optax.scale_by_adam(*DECAYS, eps=descent.EPSILON)
    moments, state = descent.adam_start(gradients(0)[0]), theirs.init(gradients(0)[0])
    for step, gradient in enumerate(gradients(0)):
        move, moments = descent.adam(gradient, moments, jnp.int32(step), DECAYS)
        wanted, state = theirs.update(gradient, state)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), move, wanted)


def test_soap_is_adam_until_its_axes_turn() -> None:
    moments, state = descent.adam_start(gradients(1)[0]), descent.soap_start(gradients(1)[0])
    for step, gradient in enumerate(gradients(1)):
        wanted, moments = descent.adam(gradient, moments, jnp.int32(step), DECAYS)
        move, state = descent.soap(gradient, state, jnp.int32(step), DECAYS)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), move, wanted)


def test_axes_are_those_of_the_gradients() -> None:
    state = descent.soap_start(gradients(2)[0])
    for step, gradient in enumerate(gradients(2)):
        _, state = descent.soap(gradient, state, jnp.int32(step), DECAYS)
    turned = descent.turned(state)
    for axes in (turned.rows, turned.columns):
        for name in ("matrix", "pair"):
            vectors, products = np.asarray(axes.vectors[name]), np.asarray(axes.products[name])
            across = np.swapaxes(vectors, -1, -2)
            np.testing.assert_allclose(
                across @ vectors, np.broadcast_to(np.eye(vectors.shape[-1]), vectors.shape), atol=1e-5
            )
            inside = across @ products @ vectors
            np.testing.assert_allclose(inside, inside * np.eye(vectors.shape[-1]), atol=1e-4)
    for before, after in zip(jax.tree.leaves(state.moments), jax.tree.leaves(turned.moments), strict=True):
        assert float(jnp.sum(before)) == pytest.approx(float(jnp.sum(after)), rel=1e-4)  # turning loses nothing
    again = descent.turned(turned)  # the same axes: nothing moves
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), again.moments, turned.moments)


def test_a_step_of_soap_is_one_of_adam_along_its_axes() -> None:
    state = descent.soap_start(gradients(3)[0])
    for step, gradient in enumerate(gradients(3)):
        _, state = descent.soap(gradient, state, jnp.int32(step), DECAYS)
    state = descent.turned(state)
    last, step = gradients(4)[0], len(gradients(3))
    move, _ = descent.soap(last, state, jnp.int32(step), DECAYS)
    for name in ("matrix", "pair"):
        rows, columns = (np.asarray(axes.vectors[name]) for axes in (state.rows, state.columns))

        def along(array: ndarray, rows: ndarray = rows, columns: ndarray = columns) -> ndarray:
            return np.einsum("...ij,...ik,...jl->...kl", array, rows, columns)

        first = 0.9 * np.asarray(state.moments.first[name]) + 0.1 * last[name]
        second = 0.99 * np.asarray(state.moments.second[name]) + 0.01 * along(last[name]) ** 2
        wanted = along(first) / (1 - 0.9 ** (step + 1)) / np.sqrt(second / (1 - 0.99 ** (step + 1)))
        np.testing.assert_allclose(along(np.asarray(move[name])), wanted, rtol=1e-3, atol=1e-5)


def test_long_axes_stay_as_they_are() -> None:
    """The short side of a tall matrix turns as that of any other; along the long one nothing is kept."""
    rng = np.random.default_rng(5)
    tall = [rng.normal(size=(descent.LONGEST + 1, 3)).astype(np.float32) for _ in range(3)]
    state = descent.soap_start(tall[0])
    for step, gradient in enumerate(tall):
        _, state = descent.soap(gradient, state, jnp.int32(step), DECAYS)
    state = descent.turned(state)
    assert np.ndim(state.rows.products) == np.ndim(state.rows.vectors) == 0
    turn, last, step = np.asarray(state.columns.vectors), tall[0], len(tall)
    assert turn.shape == (3, 3) and not np.allclose(turn, np.eye(3))
    move, _ = descent.soap(last, state, jnp.int32(step), DECAYS)
    first = 0.9 * np.asarray(state.moments.first) + 0.1 * last
    second = 0.99 * np.asarray(state.moments.second) + 0.01 * (last @ turn) ** 2
    wanted = first @ turn / (1 - 0.9 ** (step + 1)) / np.sqrt(second / (1 - 0.99 ** (step + 1)))
    np.testing.assert_allclose(np.asarray(move), wanted @ turn.T, rtol=1e-3, atol=1e-5)


def test_axes_stay_where_gradients_are_not_finite() -> None:
    """A fit that diverges must come to where it is noticed, not end in an error of the eigenvectors."""
    state = descent.soap_start(np.zeros((3, 2), np.float32))
    _, state = descent.soap(np.full((3, 2), np.nan, np.float32), state, 0, DECAYS)
    turned = descent.turned(state)
    np.testing.assert_array_equal(turned.rows.vectors, np.eye(3))
    np.testing.assert_array_equal(turned.columns.vectors, np.eye(2))
