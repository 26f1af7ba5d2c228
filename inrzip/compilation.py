"""Settings of the process that make JAX fast on CPUs: compiled programs are kept, and so is memory."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from pathlib import Path

LEAST_SECONDS = 0.1
"""Programs that compile faster than this are not kept."""
MOST_MAPPINGS = 30_000
"""Linux gives a process 65,530 memory mappings, of which the programs of one fit take up to two thousand."""
_MAPPINGS = Path("/proc/self/maps")

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc, malloc.h
_NEVER = 2**31 - 1


def cache_folder() -> Path:
    """The user's cache folder for compiled programs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inrzip" / "compiled"


def prepare() -> None:
    """To be called before each signal. Applies the settings, once (nothing depends on them but speed), and forgets
    compiled programs where there are very many: else a run over dozens of videos ends because no more can be made.
    """
    _set_up()
    with contextlib.suppress(OSError), _MAPPINGS.open("rb") as mappings:
        if sum(1 for _ in mappings) > MOST_MAPPINGS:
            import jax

            jax.clear_caches()  # type: ignore[no-untyped-call]


@functools.cache
def _set_up() -> None:
    _keep_memory()
    _use_cache()


def _keep_memory() -> None:
    """Has glibc keep freed memory. Else each large array of each step is mapped and zeroed afresh by the kernel, which
    takes as long as the arithmetic (measured for NeRV at 1280x720: 57 ms a step against 25).
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


def _use_cache() -> None:
    """Switches the persistent cache on, unless the user has chosen one in JAX's own way, or it cannot be written."""
    import jax

    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)  # type: ignore[no-untyped-call]
