"""Signals as TensorStore arrays that are decoded where they are read."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from .errors import InrzipError
from .open_file import Source
from .reader import DEFAULT_CACHE_BYTES, Reader
from .signal import Kind, Spec

CHUNK_EDGES = {1: 1 << 16, 2: 256, 3: 64, 4: 16}
"""Samples along each axis of a chunk, by the number of axes."""
LEAST_EDGE = 64
"""`pyramid` ends where the longest side of a level is no longer."""


def tensorstore(
    source: Source | Reader,
    scale: float = 1.0,
    *,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    chunk: tuple[int, ...] | None = None,
) -> Any:
    """A `tensorstore.TensorStore` of the signal at a scale (see `Reader.render`), which reads as a NumPy slice of
    `inrzip.open(source).at(scale)` does.

    Its domain begins at 0, in samples of that scale; axes are labelled (`t`, `z`, `y`, `x`, `c` for channels, of which
    a single one has no axis), those of time in seconds. Chunks of `chunk` samples along each axis are decoded whole (by
    default a frame, 65,536 samples of a sound, 256x256 of an image, 64x64x64 of a volume), and kept up to
    `cache_bytes`. Several stores may share a `Reader`. Writing, and a JSON spec, there are not. Raises InrzipError.
    """
    import tensorstore as ts

    reader = source if isinstance(source, Reader) else Reader(source)
    level = reader.at(scale)
    channels = (reader.spec.channels,) if reader.spec.channels > 1 else ()
    grid = level.shape[: len(reader.spec.shape)]
    edges = _chunk(reader.spec.kind, grid) if chunk is None else chunk
    if len(edges) != len(grid) or min(edges) < 1:
        raise InrzipError(f"a chunk here has {len(grid)} sides of at least one sample, not {edges}")
    edges = tuple(min(edge, n) for edge, n in zip(edges, grid, strict=True))

    def read(domain: Any, array: Any, parameters: Any) -> None:
        array[...] = level[tuple(slice(a, b) for a, b in zip(domain.inclusive_min, domain.exclusive_max, strict=True))]

    return ts.virtual_chunked(
        read,
        dtype=ts.dtype(level.dtype),
        domain=ts.IndexDomain(labels=labels(reader.spec), inclusive_min=[0] * level.ndim, shape=level.shape),
        chunk_layout=ts.ChunkLayout(read_chunk_shape=(*edges, *channels)),
        dimension_units=_units(reader.spec, scale),
        context=ts.Context({"cache_pool": {"total_bytes_limit": cache_bytes}}),
    )


def pyramid(source: Source | Reader, *, cache_bytes: int = DEFAULT_CACHE_BYTES) -> list[Any]:
    """Stores at scales 1, 1/2, 1/4 and so on, down to 64 samples along the longest side, each with its cache."""
    reader = source if isinstance(source, Reader) else Reader(source)
    sides = reader.spec.shape[reader.spec.kind == Kind.VIDEO :]
    n_levels = max(1, (-(-max(sides) // LEAST_EDGE) - 1).bit_length() + 1)
    return [tensorstore(reader, 0.5**level, cache_bytes=cache_bytes) for level in range(n_levels)]


def labels(spec: Spec) -> list[str]:
    """The axes' names."""
    rank = len(spec.shape)
    names = {Kind.AUDIO: "t", Kind.SHAPE: "xyz", Kind.PROTEIN: "r"}.get(spec.kind, "tzyx"[4 - rank :])
    if spec.kind == Kind.VIDEO:
        names = "tyx"
    return [*names, *(["c"] if spec.channels > 1 else [])]


def _chunk(kind: Kind, grid: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *grid[1:]) if kind == Kind.VIDEO else (CHUNK_EDGES[len(grid)],) * len(grid)


def _units(spec: Spec, scale: float) -> list[str | None]:
    """Of a sample along each axis."""
    rate = spec.meta.get("rate")
    units: list[str | None] = [None] * (len(spec.shape) + (spec.channels > 1))
    if isinstance(rate, tuple):
        each = Fraction(int(rate[1]), int(rate[0])) / (Fraction(scale) if spec.kind == Kind.AUDIO else 1)
        units[0] = f"{float(each)!r} s"
    return units
