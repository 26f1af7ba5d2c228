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
import threading
from typing import Any, Protocol

import numpy as np
from jaxtyping import ArrayLike, Float32, Float64
from numpy import ndarray

from inrzip.codecs.latent_model import NEIGHBOURS as NEIGHBOUR_OFFSETS
from inrzip.descent import EPSILON
from inrzip.errors import InrzipError

from .grid import count
from .grid_jax import JaxKernels
from .grid_layout import N_GRIDS, NEIGHBOURS
from .grid_training import Layout

VARIANTS = ("avx512", "avx2", "plain")
"""Compiled libraries, fastest first."""
MOST_THREADS = 8
PIXELS_PER_THREAD = 10_000
"""Smaller pictures are done by fewer threads, which would only wait for each other."""
SWITCH = "INRZIP_KERNELS"
"""Environment variable that names a variant to use in place of the best."""
NO_VARIANT = "none"
"""What it names for JAX."""

Flat = Float32[ndarray, " parameters"]
Plane = Float32[ndarray, "rows columns"]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled code, if there is any for this processor. Raises InrzipError for a `SWITCH` that is no variant."""
    wanted = os.environ.get(SWITCH)
    if wanted not in (None, NO_VARIANT, *VARIANTS):
        raise InrzipError(f"{SWITCH} is {wanted!r}; it can be {', '.join((*VARIANTS, NO_VARIANT))}")
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


def _at(array: ndarray, size: int, dtype: type = np.float32) -> ctypes.c_void_p:
    """Where an array of that many numbers lies. The compiled code would not notice another."""
    if array.dtype != dtype or array.size != size or not array.flags.c_contiguous:
        raise ValueError(f"{size} numbers of {np.dtype(dtype)} were wanted, not {array.shape} of {array.dtype}")
    return array.ctypes.data_as(ctypes.c_void_p)


def _changed(array: ndarray, size: int) -> ctypes.c_void_p:
    """The same of an array that is written to."""
    if not array.flags.writeable:
        raise ValueError("an array to be changed is read-only")
    return _at(array, size)


_real = ctypes.c_float


class Workspace:
    """Memory for fits of pictures of a layout. `lock`: only one thread at a time may use it."""

    def __init__(self, code: ctypes.CDLL, layout: Layout) -> None:
        """Raises MemoryError."""
        self._code, self.lock = code, threading.Lock()
        self.threads = n_threads(layout.shape[0] * layout.shape[1])
        grids = np.array(
            [
                (place.level, place.hyper, *place.shape, y * layout.columns + x)
                for place, (y, x) in zip(layout.places, layout.corners, strict=True)
            ],
            np.int64,
        )
        offsets = np.array([dy * layout.columns + dx for dy, dx in NEIGHBOUR_OFFSETS[:NEIGHBOURS]], np.int64)
        height, width = layout.shape
        handle = code.grid_open(
            self.threads, height, width, layout.columns, ctypes.c_int64(layout.rows * layout.columns),
            _at(grids, N_GRIDS * 5, np.int64), _at(offsets, NEIGHBOURS, np.int64),
        )  # fmt: skip
        if not handle:
            raise MemoryError(f"no memory to fit latent grids of {height}x{width}")
        self.handle = ctypes.c_void_p(handle)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self._code.grid_close(self.handle)


class CompiledKernels:
    """The compiled code for pictures of a layout."""

    def __init__(self, code: ctypes.CDLL, layout: Layout, channels: int) -> None:
        """Raises MemoryError."""
        self._code, self._channels, self._workspace = code, channels, workspace(code, layout)
        self._size, self._area = layout.rows * layout.columns, layout.shape[0] * layout.shape[1]
        self._mask = np.ascontiguousarray(layout.mask)

    def owned(self, array: ArrayLike) -> Plane:
        """A copy that `descend` may change."""
        return np.array(array, np.float32)

    def cost(
        self, networks: ArrayLike, latents: ArrayLike, target: ArrayLike, step: float, price: float
    ) -> tuple[Float64[ndarray, " 2"], Flat, Plane]:
        """As `JaxKernels.cost`."""
        networks, latents, target = (np.ascontiguousarray(a, np.float32) for a in (networks, latents, target))
        by_networks, by_latents, costs = np.empty_like(networks), np.empty_like(latents), np.empty(2, np.float64)
        n, size = count(self._channels), self._size
        with self._workspace.lock:
            failed = self._code.grid_cost(
                self._workspace.handle, self._channels, _at(networks, n), _at(latents, size),
                _at(target, self._channels * self._area), _real(step), _real(price), _at(by_networks, n),
                _at(by_latents, size), _at(costs, 2, np.float64),
            )  # fmt: skip
        if failed:
            raise MemoryError("no memory for a step of latent grids")
        return costs, by_networks, by_latents

    def smooth(self, latents: Plane, gain: float, temperature: float, sigma: float, seed: int) -> tuple[Plane, Plane]:
        """As `JaxKernels.smooth`; noise is a sum of four uniform numbers."""
        size, smooth, slopes = self._size, np.empty_like(latents), np.empty_like(latents)
        self._code.grid_smooth(
            self._workspace.threads, ctypes.c_int64(size), _at(latents, size), _at(self._mask, size), _real(gain),
            _real(temperature), _real(sigma), ctypes.c_uint32(seed), _at(smooth, size), _at(slopes, size),
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
        corrections, size = [1 / (1 - decay ** (age + 1)) for decay in decays], self._size
        self._code.grid_descend(
            self._workspace.threads, ctypes.c_int64(size), _changed(latents, size), _changed(moments[0], size),
            _changed(moments[1], size), _at(gradient, size), _at(slopes, size), _real(rate),
            _at(np.array(decays, np.float32), 2), _at(np.array(corrections, np.float32), 2), _real(EPSILON),
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
def workspace(code: ctypes.CDLL, layout: Layout) -> Workspace:
    """The memory for a layout. That of the last one is kept, until `workspace.cache_clear()`."""
    return Workspace(code, layout)


def kernels(layout: Layout, channels: int) -> Kernels:
    """The fastest there is."""
    code = library()
    return JaxKernels(layout, channels) if code is None else CompiledKernels(code, layout, channels)
