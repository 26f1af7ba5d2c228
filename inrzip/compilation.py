"""JAX's persistent compilation cache: a program that was compiled once starts at once in later runs."""

from __future__ import annotations

import functools
import os
from pathlib import Path

LEAST_SECONDS = 0.3
"""Programs that compile faster than this are not kept."""


def cache_folder() -> Path:
    """The user's cache folder for compiled programs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inrzip" / "compiled"


@functools.cache
def use_compilation_cache() -> None:
    """Switches the cache on, unless the user has chosen another in JAX's own way, or there is no place to write it."""
    import jax

    if jax.config.jax_compilation_cache_dir is not None:
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
