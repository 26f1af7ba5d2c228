"""Multiply-accumulates of a JAX function, counted in its program: matrix products and convolutions, nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

MATMUL_SIDE, MATMUL_REPEATS = 1024, 5
TRAINING_FACTOR = 3
"""A step of training counts as a forward and a backward pass, the latter as two forward ones: the usual convention."""


def count_macs(function: Callable[..., Any], *arguments: Any) -> int:
    """Multiply-accumulates of one call. Loops count as often as they run; a `while` of unknown length counts once."""
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(program: Any) -> int:
    total = 0
    for equation in program.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        else:
            times = equation.params["length"] if name == "scan" else 1
            total += times * sum(_count(inner) for inner in _programs(equation.params))
    return total


def _convolution(equation: Any) -> int:
    """Output samples times kernel taps times input channels of a group."""
    numbers, kernel = equation.params["dimension_numbers"], equation.invars[1].aval.shape
    taps = math.prod(kernel[axis] for axis in numbers.rhs_spec[2:])
    return int(math.prod(equation.outvars[0].aval.shape) * taps * kernel[numbers.rhs_spec[1]])


def _programs(params: dict[str, Any]) -> list[Any]:
    """The programs inside an equation: what it calls, loops over, or chooses from (all branches count)."""
    found = []
    for name, value in params.items():
        if name in ("jvp_jaxpr_fun", "jvp_jaxpr_thunk"):  # derivatives, which are not run here
            continue
        for item in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                found.append(inner)
    return found


def matmul_rate() -> float:
    """Multiply-accumulates a second of a large float32 matrix product on this machine: the best of a few."""
    matrix = jax.random.normal(jax.random.key(0), (MATMUL_SIDE, MATMUL_SIDE))
    product = jax.jit(lambda a, b: a @ b)
    product(matrix, matrix).block_until_ready()
    seconds = []
    for _ in range(MATMUL_REPEATS):
        begun = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - begun)
    return MATMUL_SIDE**3 / float(np.min(seconds))
