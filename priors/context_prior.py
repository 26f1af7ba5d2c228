"""Networks that exact samples are usually coded with: fits begin there, and a small signal is coded with them as they
are.

One for each number of axes (1 to 3; more count as 3) and of earlier planes (0 to 2), trained by
`inrzip.priors.train_context`.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from importlib import resources

import numpy as np

from inrzip.codecs.context import Network

PRIORS = {1: "context.npz", 2: "context.npz"}
"""The priors that come with the package, by number. A file names the one that it was made with, so none may go."""
PLAIN, WITH_MODES = 1, 2
"""The same networks; in files of the second each plane says how it is coded."""
MAX_RANK = 3
"""Signals of more axes are coded as if they had so many."""

Networks = Mapping[tuple[int, int], Network]
"""By axes and earlier planes."""


@functools.cache
def load(number: int) -> Networks:
    """A prior of the package. Raises KeyError for a number that there is none of."""
    return loads(resources.files(__package__).joinpath(PRIORS[number]).read_bytes())


def dumps(networks: Networks) -> bytes:
    """A prior as bytes."""
    out = io.BytesIO()
    arrays = {
        f"{rank}_{earlier}_{name}": array.astype(np.int16)
        for (rank, earlier), network in networks.items()
        for name, array in network._asdict().items()
    }
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def loads(data: bytes) -> Networks:
    """The inverse of `dumps`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        keys = sorted({(int(rank), int(earlier)) for rank, earlier, _ in (name.split("_", 2) for name in arrays.files)})
        return {
            (rank, earlier): Network(
                *(np.ascontiguousarray(arrays[f"{rank}_{earlier}_{name}"], np.int64) for name in Network._fields)
            )
            for rank, earlier in keys
        }
