"""A signal at a scale as an array that is decoded where it is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from .indexing import listed, parse

if TYPE_CHECKING:
    from .reader import Reader


class Scaled:
    """What `Reader.at` gives: `shape`, `dtype` and NumPy indexing, which decodes what it names and nothing else.

    The same samples as those of `reader.render(scale=scale)`, whichever part of them is asked for.
    """

    def __init__(self, reader: Reader, scale: float, grid: tuple[int, ...]):
        """`grid`: the samples along each axis, channels excepted."""
        self.reader, self.scale = reader, scale
        self._channels = reader.spec.channels
        self.shape = grid if self._channels == 1 else (*grid, self._channels)
        """The grid, and the channels if there are several."""
        self._rank = len(grid)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.reader.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<{self.reader!r} at {self.scale:g}: {self.shape}>"

    def __getitem__(self, key: Any) -> Shaped[ndarray, "..."]:
        """See `Reader.__getitem__`."""
        index = parse(key, self.shape)
        samples = self.reader.picked(index.places[: self._rank], self.scale)
        samples = samples[..., listed(index.places[-1])] if self._channels > 1 else samples[..., 0]
        wanted: Shaped[ndarray, "..."] = samples[index.within]
        return wanted

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Shaped[ndarray, "..."]:
        if copy is False:
            raise ValueError("a compressed signal has no array to share; decoding makes a new one")
        samples = self[...]
        return samples if dtype is None else samples.astype(dtype)
