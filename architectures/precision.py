"""Networks in double precision: what lossless files are predicted from.

Machines, versions of XLA and numbers of threads differ in the last bits of a float. In double precision these are so
far below the samples' own rounding that hardly any sample is near enough to a boundary for it to matter.
"""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

ModuleT = TypeVar("ModuleT", bound=eqx.Module)

_MOVING = frozenset(
    (
        *(
            "iota",
            "convert_element_type",
            "bitcast_convert_type",
            "broadcast_in_dim",
            "reshape",
            "squeeze",
            "transpose",
        ),
        *("slice", "dynamic_slice", "gather", "concatenate", "split", "pad", "rev", "copy", "select_n"),
    )
)
"""Operations whose floats are as exact as what goes in."""


def double_precision() -> contextlib.AbstractContextManager[Any]:
    """Within it, JAX computes with float64 where arrays have it."""
    found: Any = getattr(jax, "enable_x64", None)
    if found is None:  # before JAX 0.8
        from jax import experimental

        return cast(contextlib.AbstractContextManager[Any], experimental.enable_x64())  # type: ignore[attr-defined]
    return cast(contextlib.AbstractContextManager[Any], found(True))


def widened(module: ModuleT) -> ModuleT:
    """The same with its float arrays in double precision; to be called within `double_precision`."""

    def wide(leaf: Any) -> Any:
        is_float = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(np.asarray(leaf, np.float64)) if is_float else leaf

    made: ModuleT = jax.tree.map(wide, module)
    return made


def single_operations(closed: Any) -> set[str]:
    """The names of operations in a traced program, or in one within it, that compute in float32."""
    found: set[str] = set()
    for equation in closed.jaxpr.eqns if hasattr(closed, "jaxpr") else closed.eqns:
        inner = [value for value in equation.params.values() if hasattr(value, "eqns") or hasattr(value, "jaxpr")]
        inner += [
            v for value in equation.params.values() if isinstance(value, tuple) for v in value if hasattr(v, "jaxpr")
        ]
        for program in inner:
            found |= single_operations(program)
        narrow = any(getattr(v.aval, "dtype", None) == jnp.float32 for v in equation.outvars)
        if narrow and not inner and equation.primitive.name not in _MOVING:
            found.add(equation.primitive.name)
    return found
