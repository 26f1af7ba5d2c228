"""Steps of a fit of latent grids in compiled code: `architectures.grid_training`, several times faster on a CPU.

The code is in `native/`, compiled when the package is installed, for several kinds of processors; `library` takes the
best that this one can run. Without a compiler, or in a checkout that was not installed, there is none, and fits go on
in JAX. Files do not depend on it.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from typing import Any, Protocol

import numpy as np
from jaxtyping import ArrayLike, Float32, Float64, Int64
from numpy import ndarray

from inrzip.codecs.latent_model import NEIGHBOURS as NEIGHBOUR_OFFSETS

from .grid import count
from .grid_jax import EPSILON, JaxKernels
from .grid_layout import NEIGHBOURS
from .grid_training import Layout

VARIANTS = ("avx512", "avx2", "plain")
"""Compiled libraries, fastest first."""
MOST_THREADS = 8
PIXELS_PER_THREAD = 10_000
"""Smaller pictures are done by fewer threads, which would only wait for each other."""
SWITCH = "INRZIP_KERNELS"
"""Environment variable that names a variant to use in place of the best; "none" for JAX."""

Flat = Float32[ndarray, " parameters"]
Plane = Float32[ndarray, "rows columns"]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled code, if there is any for this processor."""
    wanted = os.environ.get(SWITCH)
    for name in VARIANTS if wanted is None else [wanted]:
        spec = importlib.util.find_spec(f"{__package__}._grid_{name}")
        if spec is None or spec.origin is None:
            continue
        try:
            found = ctypes.CDLL(spec.origin)
        except OSError:
            continue
        found.grid_open.restype = ctypes.c_void_p
        if found.grid_runs_here() and all(found.grid_parameters(channels) == count(channels) for channels in (1, 3)):
            return found
    return None


def n_threads(n_pixels: int) -> int:
    """Threads for a picture: not more than processors that we may use."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(there, MOST_THREADS, n_pixels // PIXELS_PER_THREAD))


def _at(array: ndarray) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return array.ctypes.data_as(ctypes.c_void_p)


_real = ctypes.c_float


class CompiledKernels:
    """The compiled code for pictures of a layout, with its workspace. Not to be used by two threads at a time."""

    def __init__(self, code: ctypes.CDLL, layout: Layout, channels: int) -> None:
        """Raises MemoryError."""
        self._code, self._channels = code, channels
        self._shape = layout.rows, layout.columns
        self._mask = np.ascontiguousarray(layout.mask)
        self._threads = n_threads(layout.shape[0] * layout.shape[1])
        grids: Int64[ndarray, "grids 5"] = np.array(
            [
                (place.level, place.hyper, *place.shape, y * layout.columns + x)
                for place, (y, x) in zip(layout.places, layout.corners, strict=True)
            ],
            np.int64,
        )
        offsets = np.array([dy * layout.columns + dx for dy, dx in NEIGHBOUR_OFFSETS[:NEIGHBOURS]], np.int64)
        height, width = layout.shape
        handle = code.grid_open(
            self._threads, channels, height, width, layout.columns, self._size, _at(grids), _at(offsets)
        )
        if not handle:
            raise MemoryError(f"no memory to fit latent grids of {height}x{width}")
        self._handle = ctypes.c_void_p(handle)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._code.grid_close(self._handle)

    @property
    def _size(self) -> ctypes.c_int64:
        return ctypes.c_int64(self._shape[0] * self._shape[1])

    def owned(self, array: ArrayLike) -> Plane:
        """A copy that `descend` may change."""
        return np.array(array, np.float32)

    def cost(
        self, networks: ArrayLike, latents: ArrayLike, target: ArrayLike, step: float, price: float
    ) -> tuple[Float64[ndarray, " 2"], Flat, Plane]:
        """As `JaxKernels.cost`."""
        networks, latents, target = (np.ascontiguousarray(a, np.float32) for a in (networks, latents, target))
        by_networks, by_latents = np.empty_like(networks), np.empty_like(latents)
        costs = np.empty(2, np.float64)
        failed = self._code.grid_cost(
            self._handle, _at(networks), _at(latents), _at(target), _real(step), _real(price), _at(by_networks),
            _at(by_latents), _at(costs),
        )  # fmt: skip
        if failed:
            raise MemoryError("no memory for a step of latent grids")
        return costs, by_networks, by_latents

    def smooth(self, latents: Plane, gain: float, temperature: float, sigma: float, seed: int) -> tuple[Plane, Plane]:
        """As `JaxKernels.smooth`; noise is a sum of four uniform numbers."""
        smooth, slopes = np.empty_like(latents), np.empty_like(latents)
        self._code.grid_smooth(
            self._threads, self._size, _at(latents), _at(self._mask), _real(gain), _real(temperature), _real(sigma),
            ctypes.c_uint32(seed), _at(smooth), _at(slopes),
        )  # fmt: skip
        return smooth, slopes

    def descend(
        self,
        latents: Plane,
        moments: tuple[Plane, Plane],
        gradient: Plane,
        slopes: Plane,
        rate: float,
        decays: tuple[float, float],
        age: int,
    ) -> tuple[Plane, tuple[Plane, Plane]]:
        """As `JaxKernels.descend`, in place."""
        corrections = [1 / (1 - decay ** (age + 1)) for decay in decays]
        self._code.grid_descend(
            self._threads, self._size, _at(latents), _at(moments[0]), _at(moments[1]), _at(gradient), _at(slopes),
            _real(rate), _at(np.array(decays, np.float32)), _at(np.array(corrections, np.float32)), _real(EPSILON),
        )  # fmt: skip
        return latents, moments


class Kernels(Protocol):
    """What `JaxKernels` says of its methods; arrays are NumPy's or JAX's."""

    def owned(self, array: Any) -> Any: ...

    def cost(self, networks: Any, latents: Any, target: Any, step: float, price: float) -> tuple[Any, Any, Any]: ...

    def smooth(self, latents: Any, gain: float, temperature: float, sigma: float, seed: int) -> tuple[Any, Any]: ...

    def descend(
        self,
        latents: Any,
        moments: tuple[Any, Any],
        gradient: Any,
        slopes: Any,
        rate: float,
        decays: tuple[float, float],
        age: int,
    ) -> tuple[Any, tuple[Any, Any]]: ...


@functools.lru_cache(maxsize=1)
def kernels(layout: Layout, channels: int) -> Kernels:
    """The fastest there is. The workspace of the last layout is kept."""
    code = library()
    return JaxKernels(layout, channels) if code is None else CompiledKernels(code, layout, channels)
