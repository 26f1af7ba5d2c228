"""Which positions an index, a time, or a range at some scale, means."""

from __future__ import annotations

import dataclasses
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from types import EllipsisType
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from .errors import InrzipError
from .limits import MAX_DIMENSION
from .signal import Kind, Spec

Seconds = tuple[float, float | None]
"""From a moment until before another, None: the end."""
TICKS = 90_000
"""Of a second, in `Spec.meta["times"]`."""
SLACK = 1e-6
"""Of a frame: what is so near to a whole number is one."""


def scaled_size(start: int, stop: int, scale: float) -> int:
    """Output samples along an axis."""
    return max(1, round(min((stop - start) * scale, float(MAX_DIMENSION))))


def positions(start: int, stop: int, n: int, factor: int) -> Float[ndarray, " n"]:
    """Positions for `n` samples between two original ones, `factor` for each, evenly over its extent."""
    return _spread(np.arange(n * factor), (stop - start) / n, factor) + start


def positions_of(places: Int[ndarray, " k"], size: int, n: int, factor: int) -> Float[ndarray, " m"]:
    """The same for some of `n` samples of all `size` original ones."""
    return _spread((places[:, None] * factor + np.arange(factor)).ravel(), size / n, factor)


def _spread(numbers: Int[ndarray, " n"], step: float, factor: int) -> Float[ndarray, " n"]:
    """Places of points, of which there are `factor` for each sample, whose width is `step` original ones."""
    fine: Float[ndarray, " n"] = (numbers + 0.5) / factor * step - 0.5
    return fine


def samples_in(time: Seconds, spec: Spec) -> tuple[int, int | None]:
    """The frames that are shown, or the samples of a sound that lie, in a time. Raises InrzipError."""
    rate = spec.meta.get("rate")
    if spec.kind not in (Kind.VIDEO, Kind.AUDIO) or not isinstance(rate, tuple):
        raise InrzipError(f"a signal of kind {spec.kind.name.lower()} has no time")
    start, stop = time
    if not all(math.isfinite(moment) for moment in (start, 0.0 if stop is None else stop)):
        raise InrzipError(f"a time from {start} to {stop} s is none")
    stamps = spec.meta.get("times")
    if isinstance(stamps, tuple):
        seconds = np.asarray(stamps, np.float64) / TICKS
        first = max(int(np.searchsorted(seconds, start + SLACK, "right")) - 1, 0 if start >= 0 else -1)
        return first, None if stop is None else int(np.searchsorted(seconds, stop - SLACK))
    hertz = rate[0] / rate[1]
    begin, end = start * hertz, None if stop is None else math.ceil(stop * hertz - SLACK)
    return math.floor(begin + SLACK) if spec.kind == Kind.VIDEO else math.ceil(begin - SLACK), end


@dataclasses.dataclass(frozen=True)
class Index:
    """`places`: positions along each axis whose outer product holds all that is wanted. `within`: the index that then
    picks it out of this.
    """

    places: list[range | Int[ndarray, " n"]]
    within: tuple[Any, ...]


def listed(places: range | Int[ndarray, " n"]) -> Int[ndarray, " n"]:
    """Positions as an array."""
    return np.arange(places.start, places.stop, places.step) if isinstance(places, range) else places


def parse(key: Any, shape: Sequence[int]) -> Index:
    """What a NumPy index of an array of `shape` wants, without listing what slices stand for. Raises IndexError."""
    axes = iter(shape)
    places: list[range | Int[ndarray, " n"]] = []
    within: list[Any] = []
    for item in _spelled_out([_atom(k) for k in (key if isinstance(key, tuple) else (key,))], len(shape)):
        if item is None:
            within.append(None)
        elif isinstance(item, slice):
            places.append(range(next(axes))[item])
            within.append(slice(None))
        elif isinstance(item, int):
            position = range(next(axes))[item]
            places.append(range(position, position + 1))
            within.append(0)
        else:
            for numbers in _numbers(item, axes):
                chosen, inverse = np.unique(numbers, return_inverse=True)
                places.append(chosen)
                within.append(inverse.reshape(numbers.shape))
    return Index(places, tuple(within))


def _atom(key: Any) -> Any:
    """A part of an index as None, an ellipsis, a slice, an int, or an array of whole numbers or truth values."""
    if key is None or isinstance(key, slice | EllipsisType):
        return key
    if not isinstance(key, ndarray | list | tuple | bool) and isinstance(key, SupportsIndex):
        return operator.index(key)
    array = np.asarray(key)
    if array.size == 0 and array.ndim == 1 and array.dtype == np.float64:  # an empty list
        array = array.astype(np.intp)
    if array.dtype.kind not in "iub" or (array.ndim == 0 and array.dtype.kind == "b"):
        raise IndexError("only whole numbers, slices, an ellipsis, new axes and arrays of numbers or truths index it")
    return array if array.ndim else int(array)


def _spelled_out(atoms: Sequence[Any], ndim: int) -> list[Any]:
    """An index without an ellipsis, for all axes. Raises IndexError."""
    dots = [i for i, atom in enumerate(atoms) if atom is Ellipsis]
    taken = sum(_axes_of(atom) for atom in atoms)
    if len(dots) > 1 or taken > ndim:
        raise IndexError(f"too many indices for a signal of {ndim} axes")
    at = dots[0] if dots else len(atoms)
    return [*atoms[:at], *[slice(None)] * (ndim - taken), *atoms[at + 1 :]]


def _axes_of(atom: Any) -> int:
    if atom is None or atom is Ellipsis:
        return 0
    return atom.ndim if isinstance(atom, ndarray) and atom.dtype.kind == "b" else 1


def _numbers(array: Shaped[ndarray, "..."], axes: Iterator[int]) -> list[Int[ndarray, "..."]]:
    """The positions that an array of numbers, or of truth values, names along each axis that it is for."""
    if array.dtype.kind == "b":
        sizes = tuple(itertools.islice(axes, array.ndim))
        if array.shape != sizes:
            raise IndexError(f"truth values of shape {array.shape} for axes of {sizes} samples")
        return list(array.nonzero())
    n = next(axes)
    if array.size and not (-n <= array.min() and array.max() < n):
        raise IndexError(f"index {array.min()} or {array.max()} is out of bounds for an axis of {n} samples")
    return [np.where(array < 0, array + n, array).astype(np.int64)]
