"""The encoder's side of predictive coding: which `PredictiveModel` codes a tensor in few bits.

Predictions come first: for every view, the linear one of least squared error, from sums of integers. The other numbers
follow one by one, each by pricing a part of the tensor under all its values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.cabac_kernels import PRICE, SUM
from inrzip.codecs.predictive_header import MAX_SCALE, MIN_SCALE
from inrzip.codecs.predictive_kernels import FRACTION
from inrzip.codecs.predictive_model import (
    CONSTANT_BITS,
    LOCALITIES,
    MAX_COEFFICIENT,
    SCALES_PER_OCTAVE,
    VARIANCES,
    PredictiveModel,
    Run,
)
from inrzip.priors.bell_curves import Curve

View = Int[ndarray, "a b c d"]

_SAMPLE = 1 << 12  # elements priced while searching
_LARGEST = 1 << 18  # magnitudes in sums of products, which then stay below 2^63
_COEFFICIENT_BITS = 8  # about what one costs; a prediction without it must not cost more
_BITS = 2 / 1.4426950408889634  # n / 2 log2(1 + x) bits are about n x / _BITS
"""A choice of a model's number must find some element's pair of places often enough to learn from."""
_MIN_PAIRS = 6
_FEW = 16  # elements that are too few for a prediction


def price(viewed: View, model: PredictiveModel, dependent: bool) -> int:
    """What the values of a view take, in 1 / 4096 bit, without the model."""
    indices = viewed.flatten()
    state = np.zeros(3, np.int64)
    a, b, c, d = viewed.shape
    Run(model, (a, b, c, d), indices, dependent).code(PRICE, state, np.zeros(1, np.uint8), 0, len(indices))
    return int(state[SUM])


def choose_predictive(
    arrange: Callable[[int], View], candidates: Iterable[int], side_cost: Callable[[PredictiveModel], int]
) -> PredictiveModel:
    """A model for a tensor of which `arrange(split)` gives the values in a view, one of those in `candidates`.

    `side_cost` is the price of the model itself.
    """
    model, viewed = _best_prediction(arrange, candidates)
    sample = _sample(viewed)

    def cost(model: PredictiveModel) -> int:
        return side_cost(model) + price(sample, model, False) * viewed.size // sample.size

    plain = dataclasses.replace(model, coefficients=(0, 0, 0, 0), constant=0)
    plain = dataclasses.replace(plain, scale=_scale(viewed, plain))
    best = min(((cost(model), model), (cost(plain), plain)), key=lambda row: row[0])
    for field, values in _alternatives(viewed).items():
        here = best[1]
        for value in values:
            if value != getattr(here, field):
                changed: dict[str, Any] = {field: value}
                other = dataclasses.replace(here, **changed)
                best = min(best, (cost(other), other), key=lambda row: row[0])
    for direction in (-1, 1):
        scale = best[1].scale + direction
        while MIN_SCALE <= scale <= MAX_SCALE:
            other = dataclasses.replace(best[1], scale=scale)
            other_cost = cost(other)
            if other_cost >= best[0]:
                break
            best, scale = (other_cost, other), scale + direction
    return best[1]


def _alternatives(viewed: View) -> dict[str, Iterable[int]]:
    return {
        "curve": range(len(Curve)),
        "variance": range(len(VARIANCES)),
        "paired": (0, 1) if viewed.shape[0] * viewed.shape[1] >= _MIN_PAIRS else (),
        "locality": range(len(LOCALITIES)),
    }


def _best_prediction(arrange: Callable[[int], View], candidates: Iterable[int]) -> tuple[PredictiveModel, View]:
    """The view with the least squared error, and the model of a prediction in it."""
    best: tuple[float, PredictiveModel, View] | None = None
    for split in candidates:
        viewed = arrange(split)
        coefficients, constant, error = predict(viewed)
        if best is None or error < best[0] * (1 - _COEFFICIENT_BITS * _BITS / viewed.size):
            model = PredictiveModel(0, split, coefficients=coefficients, constant=constant)
            best = error, dataclasses.replace(model, scale=_scale(viewed, model)), viewed
    if best is None:
        raise ValueError("there is no view to choose from")
    return best[1], best[2]


def _sample(viewed: View) -> View:
    """A corner of a large tensor: less of the last two axes, while these are long, so that kernels stay whole."""
    while viewed.size > _SAMPLE:
        a, b, c, d = viewed.shape
        axis = int(np.argmax([a, b, c, d] if max(c, d) <= 8 else [0, 0, c, d]))
        viewed = np.take(viewed, range(viewed.shape[axis] // 2), axis)
    return viewed


def predict(viewed: View) -> tuple[tuple[int, int, int, int], int, float]:
    """Coefficients and constant of the best linear prediction in which each is worth its bits; and its squared error.

    Floating-point numbers are only added, multiplied and divided, one by one, so that every machine finds the same.
    """
    if viewed.size < _FEW:
        return (0, 0, 0, 0), 0, float("inf")
    axes = [axis for axis in range(4) if viewed.shape[axis] > 1]
    values = np.clip(viewed, -_LARGEST, _LARGEST)
    columns = [_before(values, axis).ravel() for axis in axes] + [np.ones(values.size, np.int64)]
    weights, error = _worthwhile(_Equations.of(columns, values.ravel()))
    coefficients = [0, 0, 0, 0]
    for i, axis in enumerate(axes):
        weight = round(weights.get(i, 0.0) * (1 << FRACTION))
        coefficients[axis] = min(max(weight, -MAX_COEFFICIENT), MAX_COEFFICIENT)
    a, b, c, d = coefficients
    return (a, b, c, d), round(weights.get(len(axes), 0.0) * (1 << CONSTANT_BITS)), error


class _Equations(NamedTuple):
    """Those of a least-squares problem: `products` of the columns, their `moments` with the target, its `energy`."""

    products: list[list[float]]
    moments: list[float]
    energy: float
    n: int

    @staticmethod
    def of(columns: list[Int[ndarray, " n"]], target: Int[ndarray, " n"]) -> _Equations:
        products = [[float(np.dot(x, y)) for y in columns] for x in columns]
        moments = [float(np.dot(x, target)) for x in columns]
        rounding = target.size / 12  # without it, exact predictions would be believed too much
        return _Equations(products, moments, float(np.dot(target, target)) + rounding, target.size)

    def solve(self, chosen: list[int]) -> tuple[dict[int, float], float]:
        """The weights of some columns, and the squared error that they leave."""
        solution = _solve([[self.products[i][j] for j in chosen] for i in chosen], [self.moments[i] for i in chosen])
        error = self.energy - sum(weight * self.moments[i] for weight, i in zip(solution, chosen, strict=True))
        return dict(zip(chosen, solution, strict=True)), error


def _worthwhile(equations: _Equations) -> tuple[dict[int, float], float]:
    """The weights of those columns that save more bits than they cost, and the squared error."""
    weights, error = equations.solve(list(range(len(equations.moments))))
    while weights:
        fewer = [equations.solve([j for j in weights if j != i]) for i in weights]
        best = min(fewer, key=lambda row: row[1])
        if best[1] > error * (1 + _COEFFICIENT_BITS * _BITS / equations.n):
            break
        weights, error = best
    return weights, error


def _solve(matrix: list[list[float]], vector: list[float]) -> list[float]:
    """The solution of linear equations with a positive semi-definite matrix; 0 for what they do not determine."""
    rows = [[*row, value] for row, value in zip(matrix, vector, strict=True)]
    n = len(rows)
    for i in range(n):
        if rows[i][i] <= 1e-9 * (1 + matrix[i][i]):
            rows[i] = [0.0] * i + [1.0] + [0.0] * (n - i)
            for other in rows[:i]:
                other[i] = 0.0
        for j in range(n):
            if j != i:
                factor = rows[j][i] / rows[i][i]
                rows[j] = [x - factor * y for x, y in zip(rows[j], rows[i], strict=True)]
    return [rows[i][n] / rows[i][i] for i in range(n)]


def _before(values: View, axis: int) -> View:
    """For each element the one before along an axis, or 0."""
    result = np.zeros_like(values)
    inside: list[slice] = [slice(None)] * 4
    source = list(inside)
    inside[axis], source[axis] = slice(1, None), slice(0, -1)
    result[tuple(inside)] = values[tuple(source)]
    return result


def _scale(viewed: View, model: PredictiveModel) -> int:
    """The scale nearest to the mean distance of values from their predictions."""
    centres = np.full(viewed.shape, model.constant << (FRACTION - CONSTANT_BITS), np.int64)
    for axis, coefficient in enumerate(model.coefficients):
        if coefficient:
            centres += coefficient * _before(viewed, axis)
    distance = int(np.abs((viewed << FRACTION) - centres).sum() // viewed.size)
    # 4 log2 of the distance, which is in 1 / 2^6
    scale: int = ((distance + 1) ** SCALES_PER_OCTAVE).bit_length() - 1 - SCALES_PER_OCTAVE * FRACTION
    return min(max(scale, MIN_SCALE), MAX_SCALE)
