"""Parts of frames, by networks that make frames step by step: which part of each step's features is needed, and how to
come by it without the rest.

A part may begin before a frame and end behind it; what lies there is zero, as the padding of convolutions is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Window(NamedTuple):
    """So many positions of an axis that has `length` in all, from `start` on, which is known while a program runs."""

    start: Int[Array, ""]
    size: int
    length: int

    def positions(self) -> Int[Array, " size"]:
        return self.start + jnp.arange(self.size)

    def inside(self) -> Bool[Array, " size"]:
        """Which of them are in the frame."""
        return (self.positions() >= 0) & (self.positions() < self.length)

    def widened(self, margin: int) -> Window:
        return Window(self.start - margin, self.size + 2 * margin, self.length)

    def squares(self, edge: int) -> Window:
        """The squares of `edge` positions that it lies in."""
        return _unless_all(self.start // edge, (self.size + edge - 2) // edge + 1, self.length // edge)

    def source(self, factor: int) -> Window:
        """What bilinear up-sampling by `factor` makes it of."""
        start = (2 * self.start + 1 - factor) // (2 * factor)
        return _unless_all(start, -(-(self.size - 1) // factor) + 2, self.length // factor)


def _unless_all(start: Int[Array, ""], size: int, length: int) -> Window:
    return Window(start, size, length) if size < length else Window(jnp.zeros_like(start), length, length)


class Part(NamedTuple):
    """Rows and columns of a frame."""

    rows: Window
    columns: Window

    def by_axis(self, change: Callable[[Window], Window]) -> Part:
        return Part(change(self.rows), change(self.columns))

    def widened(self, margin: int) -> Part:
        return self.by_axis(lambda window: window.widened(margin))

    def inside(self) -> Bool[Array, "rows columns 1"]:
        """Which of its positions are in the frame."""
        return (self.rows.inside()[:, None] & self.columns.inside())[..., None]

    def made_of(self, x: Float[Array, "h w c"], source: Part) -> Float[Array, "rows columns c"]:
        """The part, by bilinear up-sampling as `frames.upsample` does it (none where lengths are equal) of the part
        `source` of a smaller frame, which `x` is.
        """
        rows, columns = (_weights(to, of) for to, of in zip(self, source, strict=True))
        return jnp.einsum("ij,jkc,lk->ilc", rows, x, columns)

    def repeated(self, cell: Float[Array, "h w c"]) -> Float[Array, "rows columns c"]:
        """The part of a frame that is full of copies of `cell`."""
        rows, columns = (
            jax.nn.one_hot(window.positions() % n, n) for window, n in zip(self, cell.shape[:2], strict=True)
        )
        return jnp.einsum("ij,jkc,lk->ilc", rows, cell, columns)


def _weights(to: Window, of: Window) -> Float[Array, "to of"]:
    """The matrix that makes `to` of `of`: products with it are faster than gathers, and so are their gradients."""
    factor = to.length // of.length
    wanted = jnp.clip((to.positions() + 0.5) / factor - 0.5, 0, of.length - 1)
    weights = jnp.maximum(0, 1 - jnp.abs(wanted[:, None] - of.positions()))
    return jnp.where(to.inside()[:, None], weights, 0)
