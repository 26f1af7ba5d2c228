"""The order in which a tensor's elements resemble those before them most: a four-dimensional view of it.

A convolution in front of a pixel shuffle by s has its weights in an array (height, width, inputs, s s outputs), whose
last index is (u s + v) outputs + o. Together, the two are a transposed convolution of stride s, whose kernel is an
image of (height s, width s) for each pair of channels: element (k, u) is its row k s + s - 1 - u. These images are
smooth where the network interpolates.
"""

from __future__ import annotations

import math

from jaxtyping import Shaped
from numpy import ndarray

MAX_SPLIT = 8


def splits(shape: tuple[int, ...]) -> list[int]:
    """The s that a tensor of this shape can be split by: 1, and those up to 8 whose square divides the last axis."""
    channels = shape[-1] if shape else 1
    return [s for s in range(1, MAX_SPLIT + 1) if s == 1 or (channels > 0 and channels % (s * s) == 0)]


def view_shape(shape: tuple[int, ...], split: int) -> tuple[int, int, int, int]:
    """The shape of `view`."""
    height, width, inputs, outputs = _four_axes(shape)
    return height * split, width * split, inputs, outputs // split**2


def view(tensor: Shaped[ndarray, "*shape"], split: int) -> Shaped[ndarray, "a b c d"]:
    """The tensor in four axes: its last four, with those before joined to the first of them, or 1 where it has fewer;
    with a `split` above 1, as the kernel of a transposed convolution of that stride.
    """
    last_four = tensor.reshape(_four_axes(tensor.shape))
    if split == 1:
        return last_four
    height, width, inputs, outputs = last_four.shape
    pixels = last_four.reshape(height, width, inputs, split, split, outputs // split**2)[:, :, :, ::-1, ::-1]
    return pixels.transpose(0, 3, 1, 4, 2, 5).reshape(view_shape(tensor.shape, split))


def unview(viewed: Shaped[ndarray, "a b c d"], split: int, shape: tuple[int, ...]) -> Shaped[ndarray, "*shape"]:
    """The tensor of that shape whose view it is."""
    if split > 1:
        height, width, inputs, outputs = _four_axes(shape)
        pixels = viewed.reshape(height, split, width, split, inputs, outputs // split**2).transpose(0, 2, 4, 1, 3, 5)
        viewed = pixels[:, :, :, ::-1, ::-1]
    return viewed.reshape(shape)


def _four_axes(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    a, b, c, d = (1, 1, 1, 1, *shape)[-4:]
    return math.prod(shape[:-4]) * a, b, c, d
