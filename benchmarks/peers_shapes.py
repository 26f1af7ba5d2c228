"""Codecs of meshes (Draco) and of volumes (ZFP, SZ3, SPERR; and without loss zlib)."""

from __future__ import annotations

import functools
import importlib.metadata
import io
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped
from numpy import ndarray

from inrzip.signal import Kind, Mesh

from .items import Item
from .methods import CannotCode, Method, NotInstalled
from .versions import imagecodecs_version

DRACO_BITS = (5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 14.0)
DRACO_LEVEL = 10
TOLERANCES = (0.3, 0.15, 0.08, 0.04, 0.02, 0.01, 0.004, 0.0015)
"""Largest errors, as a part of the volume's range."""
ZFP_TOLERANCES = (32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.2)
"""ZFP stays far below the error it is allowed."""
Volume = Float32[ndarray, "..."]

# ---- meshes ----


def _draco_version() -> str:
    try:
        return f"DracoPy {importlib.metadata.version('DracoPy')}"
    except importlib.metadata.PackageNotFoundError as error:
        raise NotInstalled("DracoPy") from error


def _draco_encode(item: Item, bits: float) -> bytes:
    import DracoPy

    mesh = item.mesh
    return bytes(DracoPy.encode(mesh.vertices, mesh.faces, quantization_bits=int(bits), compression_level=DRACO_LEVEL))


def _draco_decode(data: bytes, item: Item) -> Mesh:
    import DracoPy

    decoded = DracoPy.decode(data)
    return Mesh(np.asarray(decoded.points, np.float64), np.asarray(decoded.faces, np.int64))


# ---- volumes ----


def _floats(item: Item, most_axes: int) -> Volume:
    """The volume as float32. Raises CannotCode for several channels, too many axes, and integers of over 24 bits."""
    samples = item.samples
    if samples.shape[-1] != 1:
        raise CannotCode(f"{samples.shape[-1]} channels: takes one")
    if samples.dtype.kind in "iu" and samples.dtype.itemsize > 2:
        raise CannotCode(f"{samples.dtype}: takes what float32 holds exactly")
    if samples.ndim - 1 > most_axes:
        raise CannotCode(f"{samples.ndim - 1} axes: takes up to {most_axes}")
    return np.ascontiguousarray(samples[..., 0], np.float32)


def _as_samples(volume: Shaped[ndarray, "..."], item: Item) -> Shaped[ndarray, "..."]:
    """Rounded and clipped to the item's sample type."""
    dtype = item.samples.dtype
    wide = volume.astype(np.float64).reshape(item.samples.shape)
    if dtype.kind == "b":
        return wide > 0.5
    if dtype.kind in "iu":
        wide = np.clip(np.rint(wide), np.iinfo(dtype).min, np.iinfo(dtype).max)
    return wide.astype(dtype)


def _zfp_encode(item: Item, tolerance: float) -> bytes:
    import imagecodecs

    level: Any = tolerance * item.spec.peak  # its stub says int, its documentation float
    return bytes(imagecodecs.zfp_encode(_floats(item, 4), level, mode="a", numthreads=1))


def _zfp_decode(data: bytes) -> Shaped[ndarray, "..."]:
    import imagecodecs

    return np.asarray(imagecodecs.zfp_decode(data, numthreads=1))


def _with_shape(shape: tuple[int, ...], data: bytes) -> bytes:
    """A bare stream behind the number of axes and their lengths, which its decoder must know."""
    return np.array([len(shape), *shape], "<u4").tobytes() + data


def _split_shape(data: bytes) -> tuple[tuple[int, ...], bytes]:
    n = int(np.frombuffer(data, "<u4", 1)[0])
    return tuple(np.frombuffer(data, "<u4", n, 4).tolist()), data[4 + 4 * n :]


def _sz3_encode(item: Item, tolerance: float) -> bytes:
    import imagecodecs

    volume = _floats(item, 4)
    return _with_shape(volume.shape, bytes(imagecodecs.sz3_encode(volume, mode="abs", abs=tolerance * item.spec.peak)))


def _sz3_decode(data: bytes) -> Shaped[ndarray, "..."]:
    import imagecodecs

    shape, stream = _split_shape(data)
    return np.asarray(imagecodecs.sz3_decode(stream, shape, np.float32))


def _sperr_encode(item: Item, tolerance: float) -> bytes:
    import imagecodecs

    volume = _floats(item, 3)
    if volume.ndim < 2:
        raise CannotCode("1 axis: takes 2 and 3")
    level = tolerance * item.spec.peak
    return bytes(imagecodecs.sperr_encode(volume, level, mode="pwe", header=True, numthreads=1))


def _sperr_decode(data: bytes) -> Shaped[ndarray, "..."]:
    import imagecodecs

    return np.asarray(imagecodecs.sperr_decode(data, header=True, numthreads=1))


def _volume_decode(
    decode: Callable[[bytes], Shaped[ndarray, "..."]], data: bytes, item: Item
) -> Shaped[ndarray, "..."]:
    return _as_samples(decode(data), item)


def _zlib_encode(item: Item, _: float) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, item.samples)
    return zlib.compress(buffer.getvalue(), 9)


def _zlib_decode(data: bytes, item: Item) -> Shaped[ndarray, "..."]:
    return np.asarray(np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False))


def _volume(
    name: str,
    settings: str,
    encode: Callable[[Item, float], bytes],
    decode: Callable[[bytes], Shaped[ndarray, "..."]],
    ladder: tuple[float, ...] = TOLERANCES,
) -> Method:
    version = functools.partial(imagecodecs_version, name)
    return Method(name, Kind.VOLUME, settings, ladder, encode, functools.partial(_volume_decode, decode), version)


METHODS = (
    Method(
        "draco",
        Kind.SHAPE,
        f"edgebreaker, compression level {DRACO_LEVEL}; quality points are bits of a coordinate",
        DRACO_BITS,
        _draco_encode,
        _draco_decode,
        _draco_version,
    ),
    _volume(
        "zfp",
        "largest error (accuracy mode), as a part of the range; integers as float32",
        _zfp_encode,
        _zfp_decode,
        ZFP_TOLERANCES,
    ),
    _volume("sz3", "largest error, as a part of the range; integers as float32", _sz3_encode, _sz3_decode),
    _volume("sperr", "largest error, as a part of the range; integers as float32", _sperr_encode, _sperr_decode),
    Method(
        "zlib",
        Kind.VOLUME,
        "level 9, of the .npy file",
        (9.0,),
        _zlib_encode,
        _zlib_decode,
        lambda: f"zlib {zlib.ZLIB_RUNTIME_VERSION}",
        lossless=True,
    ),
)
