"""What enters each dense or convolutional layer of a network, whatever its architecture.

The traced program of `predict` shows where a parameter is multiplied: each such product is a layer, and its other
operand the layer's input. So architectures need no hooks. Layers inside a compiled loop are not seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array, Float, Int

from inrzip.architectures.base import Representation, parameters

MAX_ROWS = 16384
"""Positions of a layer's input that are looked at."""

_SAME_ORDER = ("reshape", "squeeze", "expand_dims")
_Rows = Callable[[Array], Array]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A product of inputs and a parameter: output[o] = sum over i of input[i] weight[i, o], and perhaps a bias.

    `weight` and `bias` are numbers in `parameters(module)`, and `elements[i, o]` is a place in the flattened weight.
    """

    weight: int
    bias: int | None
    elements: Int[np.ndarray, "inputs outputs"]


class LayerProbe:
    """The layers of a network, in the order in which they are computed, and what enters them."""

    def __init__(self, module: Representation, inputs: Array):
        """`inputs`: what `predict` takes; what enters layers is that of these."""
        self._inputs = inputs
        arrays, static = eqx.partition(module, eqx.is_inexact_array)
        leaves, treedef = jax.tree.flatten(arrays)

        def predict(leaves: list[Array], inputs: Array) -> Array:
            network: Representation = eqx.combine(jax.tree.unflatten(treedef, leaves), static)
            return network.predict(inputs)

        with jax.disable_jit():  # so that the program is one flat list of operations
            traced = jax.make_jaxpr(predict)(leaves, inputs)
        found = _find(traced.jaxpr, len(leaves))
        self.layers = [layer for layer, _, _ in found]
        operands = [variable for _, variable, _ in found]
        names = traced.jaxpr.debug_info.with_unknown_names()
        program = jaxpr_as_fun(ClosedJaxpr(traced.jaxpr.replace(outvars=operands, debug_info=names), traced.consts))
        rows_of = [rows for _, _, rows in found]
        self._run = jax.jit(
            lambda leaves, inputs: [
                rows(operand) for rows, operand in zip(rows_of, program(*leaves, inputs), strict=True)
            ]
        )

    def inputs_of(self, module: Representation) -> list[Float[np.ndarray, "rows inputs"]]:
        """What enters each layer of `module`, a network like the one the probe was made for."""
        return [np.asarray(rows, np.float64) for rows in self._run(parameters(module), self._inputs)]


def _find(program: Any, n_parameters: int) -> list[tuple[Layer, Any, _Rows]]:
    """Each layer, the variable that enters it, and how that becomes rows of inputs."""
    # of each variable that is a parameter in another shape: its number, and the places of its elements in the flat one
    places = {
        variable: (number, np.arange(variable.aval.size).reshape(variable.aval.shape))
        for number, variable in enumerate(program.invars[:n_parameters])
    }
    products: dict[Any, int] = {}  # of each variable that is a layer's product: the layer
    found: list[tuple[Layer, Any, _Rows]] = []
    for equation in program.eqns:
        operands, result = [v for v in equation.invars if not hasattr(v, "val")], equation.outvars[0]
        name, shape = equation.primitive.name, result.aval.shape
        parameter = next((v for v in operands if v in places), None)
        product = next((v for v in operands if v in products), None)
        if name == "add" and parameter is not None and product is not None:
            layer, variable, rows = found[products[product]]
            found[products[product]] = (dataclasses.replace(layer, bias=places[parameter][0]), variable, rows)
        elif name in _SAME_ORDER and product is not None:
            products[result] = products[product]
        elif parameter is None:
            continue
        elif name in _SAME_ORDER or (name == "broadcast_in_dim" and result.aval.size == parameter.aval.size):
            places[result] = (places[parameter][0], places[parameter][1].reshape(shape))
        elif name == "transpose":
            places[result] = (places[parameter][0], places[parameter][1].transpose(equation.params["permutation"]))
        elif name in ("dot_general", "conv_general_dilated") and len(set(operands)) == 2:
            side = operands.index(parameter)
            read = _dense if name == "dot_general" else _convolution
            elements, rows_of = read(equation.params, places[parameter][1], side)
            products[result] = len(found)
            found.append((Layer(places[parameter][0], None, elements), operands[1 - side], rows_of))
    return found


def _dense(settings: Any, places: Int[np.ndarray, "..."], side: int) -> tuple[Int[np.ndarray, "inputs outputs"], _Rows]:
    """A product of matrices, in whatever layout; `side` is the operand that the parameter is."""
    contracted, _ = settings["dimension_numbers"]
    mine, other = contracted[side], contracted[1 - side]
    n_inputs = int(np.prod([places.shape[i] for i in mine]))
    elements = np.moveaxis(places, mine, range(len(mine))).reshape(n_inputs, -1)

    def rows(x: Array) -> Array:
        every = jnp.moveaxis(x, other, range(-len(other), 0)).reshape(-1, n_inputs)
        return every[_chosen(every.shape[0])]

    return elements, rows


def _convolution(
    settings: Any, places: Int[np.ndarray, "..."], side: int
) -> tuple[Int[np.ndarray, "inputs outputs"], _Rows]:
    """A convolution without groups or dilation; its inputs are patches, of which only those looked at are made."""
    numbers, strides = settings["dimension_numbers"], settings["window_strides"]
    out, channels, *space = numbers.rhs_spec
    elements = places.transpose(*space, channels, out).reshape(-1, places.shape[out])
    kernel = [places.shape[i] for i in space]

    def rows(x: Array) -> Array:
        batch, channels, *space = numbers.lhs_spec
        padded = jnp.pad(x.transpose(batch, *space, channels), [(0, 0), *settings["padding"], (0, 0)])
        sizes = [(n - k) // stride + 1 for n, k, stride in zip(padded.shape[1:-1], kernel, strides, strict=True)]
        grid = (len(padded), *sizes)
        positions = np.stack(np.unravel_index(_chosen(int(np.prod(grid))), grid), axis=-1) * np.array([1, *strides])

        def cut(position: Array) -> Array:
            return jax.lax.dynamic_slice(padded, (*position, 0), (1, *kernel, padded.shape[-1])).ravel()

        return jax.vmap(cut)(jnp.asarray(positions))

    return elements, rows


def _chosen(count: int) -> Int[np.ndarray, " some"]:
    """The rows, of `count`, that are looked at: all, or some drawn at random, the same each time."""
    return np.arange(count) if count <= MAX_ROWS else np.sort(np.random.default_rng(0).integers(0, count, MAX_ROWS))
