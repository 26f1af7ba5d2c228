"""Directions of descent: Adam, and SOAP, which is Adam in the axes that each matrix's own gradients single out
(Vyas et al., "SOAP: improving and stabilizing Shampoo using Adam", 2024); and conjugate gradients.

Small networks that are fitted to one signal gain much from it: a fit of latent grids is where Adam would be after about
twice the steps (docs/design.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from numpy import ndarray

EPSILON = 1e-12
TINY = 1e-30
"""What squares that may be 0 are taken to be at least, where something is divided by them."""
LONGEST = 256
"""Axes of more numbers are left as they are: eigenvectors take time that grows with the cube."""
_NOTHING = np.zeros((), np.float32)

Step = Float[Array, ""] | Int[Array, ""] | int


class Moments(NamedTuple):
    """Running means of gradients and of their squares."""

    first: PyTree[Array]
    second: PyTree[Array]


class Axes(NamedTuple):
    """For each matrix: the running mean of its gradients' products by rows (or columns), and its eigenvectors. Single
    numbers stand where there are none: for arrays of fewer axes, and along axes of more than `LONGEST`.
    """

    products: PyTree[Array]
    vectors: PyTree[Array]


class Soap(NamedTuple):
    """`moments.second` is that of the turned gradients."""

    moments: Moments
    rows: Axes
    columns: Axes


def adam_start(tree: PyTree[Array]) -> Moments:
    """Moments before the first step."""
    return Moments(jax.tree.map(jnp.zeros_like, tree), jax.tree.map(jnp.zeros_like, tree))


def adam(
    gradient: PyTree[Array], moments: Moments, step: Step, decays: tuple[float, float]
) -> tuple[PyTree[Array], Moments]:
    """What to subtract, over the learning rate; `step` counts from 0."""
    moments = Moments(_mean(moments.first, gradient, decays[0]), _squares(moments.second, gradient, decays[1]))
    return _normalised(moments.first, moments.second, step, decays), moments


def soap_start(tree: PyTree[Array]) -> Soap:
    """The state before the first step, in NumPy's arrays."""

    def zeros(tree: PyTree[Array]) -> PyTree[ndarray]:
        return jax.tree.map(lambda a: np.zeros(a.shape, np.float32), tree)

    def axes(axis: int) -> Axes:
        identities = jax.tree.map(lambda a: _identity(a, axis), tree)
        return Axes(zeros(identities), identities)

    return Soap(Moments(zeros(tree), zeros(tree)), axes(-2), axes(-1))


def soap(gradient: PyTree[Array], state: Soap, step: Step, decays: tuple[float, float]) -> tuple[PyTree[Array], Soap]:
    """As `adam`. The last two axes of an array are a matrix's, those before them count matrices. From time to time the
    state must be `turned`. Arrays are JAX's or NumPy's: small networks take no longer in NumPy, and no compiling.
    """
    vectors = state.rows.vectors, state.columns.vectors
    by_rows = jax.tree.map(lambda g, v: g @ _transposed(g) if v.ndim else _NOTHING, gradient, vectors[0])
    by_columns = jax.tree.map(lambda g, v: _transposed(g) @ g if v.ndim else _NOTHING, gradient, vectors[1])
    products = _mean((state.rows.products, state.columns.products), (by_rows, by_columns), decays[1])
    first = _mean(state.moments.first, gradient, decays[0])
    second = _squares(state.moments.second, jax.tree.map(_into, gradient, *vectors), decays[1])
    move = _normalised(jax.tree.map(_into, first, *vectors), second, step, decays)
    axes = (Axes(p, v) for p, v in zip(products, vectors, strict=True))
    return jax.tree.map(_back, move, *vectors), Soap(Moments(first, second), *axes)


def turned(state: Soap) -> Soap:
    """The state with axes found anew, and the mean squares as they are along these (else the steps after a turn are
    wild). It runs in NumPy, outside compiled programs: inside, XLA shares the matrices out to threads that can wait for
    each other for ever (jaxlib 0.10). Where gradients were not finite, axes stay.
    """

    def new(products: Array, vectors: Array) -> ndarray:
        known = products.ndim > 0 and bool(np.isfinite(products).all())
        return np.linalg.eigh(np.asarray(products))[1] if known else np.asarray(vectors)

    def moved(squares: Array, old: tuple[Array, Array], now: tuple[Array, Array]) -> ndarray:
        rows, columns = (
            (_transposed(np.asarray(o)) @ np.asarray(n)) ** 2 if n.ndim else _NOTHING
            for o, n in zip(old, now, strict=True)
        )
        result: ndarray = _into(np.asarray(squares), rows, columns)
        return result

    rows, columns = (
        axes._replace(vectors=jax.tree.map(new, axes.products, axes.vectors)) for axes in (state.rows, state.columns)
    )
    squares = jax.tree.map(
        lambda s, *v: moved(s, v[:2], v[2:]),
        state.moments.second,
        state.rows.vectors,
        state.columns.vectors,
        rows.vectors,
        columns.vectors,
    )
    return Soap(state.moments._replace(second=squares), rows, columns)


def _into(array: Any, rows: Any, columns: Any) -> Any:
    """An array along axes."""
    array = _transposed(rows) @ array if rows.ndim else array
    return array @ columns if columns.ndim else array


def _back(array: Any, rows: Any, columns: Any) -> Any:
    """What was turned `_into` axes, as it was."""
    array = rows @ array if rows.ndim else array
    return array @ _transposed(columns) if columns.ndim else array


def _mean(mean: Any, new: Any, decay: float) -> Any:
    return jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, mean, new)


def _squares(mean: Any, new: Any, decay: float) -> Any:
    return jax.tree.map(lambda v, g: decay * v + (1 - decay) * g * g, mean, new)


def _normalised(first: Any, second: Any, step: Step, decays: tuple[float, float]) -> Any:
    a, b = (1 - decay ** (step + 1.0) for decay in decays)
    return jax.tree.map(lambda m, v: (m / a) / (_root(v / b) + EPSILON), first, second)


def _root(values: Any) -> Any:
    return np.sqrt(values) if isinstance(values, np.ndarray | np.generic) else jnp.sqrt(values)


def _transposed(matrices: Any) -> Any:
    return matrices.swapaxes(-1, -2)


def _identity(array: Array, axis: int) -> ndarray:
    if array.ndim < 2 or array.shape[axis] > LONGEST:
        return _NOTHING
    n = array.shape[axis]
    return np.broadcast_to(np.eye(n, dtype=np.float32), (*array.shape[:-2], n, n)).copy()


def best_changes(errors: Callable[[Array], Array], mean: Array, unit: Array, steps: int) -> Array:
    """Which changes, in `unit`, make the cost least, nearly: the sum of squared `errors`, as if these were linear, and
    half that of `mean` squared; by so many steps of conjugate gradients (Hestenes and Stiefel, 1952).

    `mean`, `unit` and what is returned are (latents) or (patches, latents); each row is a problem of its own, so
    `errors(changes)`, of any shape, must not mix rows.
    """
    values, backward = jax.vjp(errors, jnp.zeros_like(unit))
    forward = jax.linear_transpose(lambda change: backward(change)[0], values)

    def curved(changes: Array) -> Array:
        product: Array = 2 * backward(forward(changes)[0])[0] + unit**2 * changes
        return product

    def step(_: int, now: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        found, rest, way, square = now
        product = curved(way)
        length = square / jnp.maximum((way * product).sum(-1, keepdims=True), TINY)
        rest = rest - length * product
        after = (rest**2).sum(-1, keepdims=True)
        return found + length * way, rest, rest + after / jnp.maximum(square, TINY) * way, after

    rest = -2 * backward(values)[0] - unit * mean
    start = (jnp.zeros_like(rest), rest, rest, (rest**2).sum(-1, keepdims=True))
    found: Array = jax.lax.fori_loop(0, steps, step, start)[0]
    return found
