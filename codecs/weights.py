"""The stream of one network: all its quantised tensors in one range-coder stream.

For each tensor, in order: the step index, as the difference to the one before; unless the tensor is empty, its model
(see `inrzip.codecs.adaptive`); its values. "The one before" is the last tensor of the same rank, since the biases of a
network resemble each other more than a bias resembles a matrix; where there is none, the last tensor. Shapes are not
stored: they follow from the network's configuration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.adaptive import decode_values, encode_values
from inrzip.codecs.model_choice import BIT, choose_model, values_cost
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.tensor_header import HeaderCoder
from inrzip.codecs.uniform import N_STEPS


def encode_tensors(tensors: Sequence[Int[ndarray, "..."]], step_indices: Sequence[int]) -> bytes:
    """The stream of `tensors`, integers of the range of int32, and of the index of each one's quantisation step."""
    encoder, headers = RangeEncoder(), HeaderCoder()
    for tensor, step_index in zip(tensors, step_indices, strict=True):
        values = _flat(tensor)
        _check_step(step_index)
        headers.encode_step(encoder, step_index, tensor.ndim)
        if values.size:
            model = choose_model(values, partial(headers.model_cost, rank=tensor.ndim))
            headers.encode_model(encoder, model, tensor.ndim)
            encode_values(encoder, values, model)
    return encoder.finish()


def decode_tensors(data: bytes, shapes: Sequence[tuple[int, ...]]) -> tuple[list[Int[ndarray, "..."]], list[int]]:
    """The tensors, as int32, and the step indices that `encode_tensors` was given. Raises `CorruptFile`.

    It allocates what `shapes` ask for and a small constant: the caller has checked that they are reasonable.
    """
    decoder, headers = RangeDecoder(data), HeaderCoder()
    tensors, step_indices = [], []
    for shape in shapes:
        n = math.prod(shape)
        step_indices.append(headers.decode_step(decoder, len(shape)))
        values = decode_values(decoder, n, headers.decode_model(decoder, len(shape))) if n else np.zeros(0, np.int32)
        tensors.append(values.reshape(shape))
    decoder.finish()
    return tensors, step_indices


def tensor_costs(tensors: Sequence[Int[ndarray, "..."]], step_indices: Sequence[int]) -> list[float]:
    """Bits that each tensor takes in `encode_tensors`, its step and model included. The stream's end adds up to a byte
    to their sum.
    """
    headers = HeaderCoder()
    costs = []
    for tensor, step_index in zip(tensors, step_indices, strict=True):
        values = _flat(tensor)
        _check_step(step_index)
        cost = headers.step_cost(step_index, tensor.ndim)
        headers.observe_step(step_index, tensor.ndim)
        if values.size:
            model = choose_model(values, partial(headers.model_cost, rank=tensor.ndim))
            cost += headers.model_cost(model, tensor.ndim) + values_cost(values, model)
            headers.observe_model(model, tensor.ndim)
        costs.append(cost / BIT)
    return costs


def _flat(tensor: Int[ndarray, "..."]) -> Int[ndarray, " n"]:
    """The elements as int64; raises `ValueError` unless they are integers of the range of int32."""
    if tensor.dtype.kind not in "iu":
        raise ValueError(f"a tensor is of type {tensor.dtype}; quantise it to integers first")
    info = np.iinfo(np.int32)
    if tensor.size and (int(tensor.min()) < info.min or int(tensor.max()) > info.max):
        raise ValueError("a tensor holds values beyond the range of int32")
    return tensor.astype(np.int64).ravel()


def _check_step(step_index: int) -> None:
    if not 0 <= step_index < N_STEPS:
        raise ValueError(f"a step index is {step_index}; step indices are 0 to {N_STEPS - 1}")
