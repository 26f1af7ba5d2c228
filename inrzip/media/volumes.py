"""Arrays as volumes: .npy, .npz, TIFF stacks; Zarr and N5 through `stores`."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from ..errors import UnsupportedSignal
from ..signal import Kind, Signal, Spec
from .images import opened, read_frame, turn_upright
from .samples import array_signal
from .stores import read_store, write_store

# Deflate and LZW shrink at most about 1,030 and 1,370 times; a file that claims more is damaged or hostile.
_MAX_EXPANSION = 2000
_SLACK_BYTES = 1 << 20
_ORIENTATION_TAG = 274
_PLAIN_PHOTOMETRICS = ("MINISBLACK", "RGB")
_MAX_PAGE_PIXELS = 89_478_485  # as Pillow's limit for images


def read_volume(path: Path, kind: Kind | None = None) -> Signal:
    """A Zarr or N5 folder, `.npy`, or `.npz` with one array, as a volume: every axis a grid axis. `kind` changes it.

    `.npy` stays on disk and is mapped; nothing is unpickled. Raises `UnsupportedSignal` if the array is empty, of more
    than four axes, of a type that is not coded, or has samples that are infinite or not a number.
    """
    kind = Kind.VOLUME if kind is None else kind
    if path.is_dir():
        return read_store(path, kind)
    array = _load_npz(path) if zipfile.is_zipfile(path) else _load_npy(path)
    return array_signal(array, kind, path, os.path.getsize(path))


def _load_npy(path: Path) -> Shaped[ndarray, "*_"]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, OverflowError, MemoryError, TypeError) as error:
        return _refuse_npy(path, error)
    return np.asarray(array) if array.ndim == 0 else array


def _refuse_npy(path: Path, error: BaseException) -> Shaped[ndarray, "*_"]:
    """Says why `np.load` refused. Arrays without samples cannot be mapped, which is its own reason."""
    if "object" in str(error).lower():
        raise UnsupportedSignal(f"{path}: holds Python objects, which are not loaded; save plain numbers") from error
    if "empty file" in str(error):
        raise UnsupportedSignal(f"{path}: holds no samples; there is nothing to compress") from error
    raise UnsupportedSignal(
        f"{path}: is damaged, cut short or not a .npy array; save it again with numpy.save"
    ) from error


def _load_npz(path: Path) -> Shaped[ndarray, "*_"]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            if len(members) != 1:
                raise UnsupportedSignal(f"{path}: holds {len(members)} arrays; save the one to compress alone, as .npy")
            member = members[0]
            if member.file_size > _MAX_EXPANSION * member.compress_size + _SLACK_BYTES:
                raise UnsupportedSignal(f"{path}: claims to expand more than {_MAX_EXPANSION} times; it is damaged")
            with archive.open(member) as file:
                _check_npy_size(file, member.file_size, path)
            with archive.open(member) as file:
                return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except UnsupportedSignal:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        return _refuse_npy(path, error)
    except Exception as error:  # zlib.error and lzma.LZMAError share no other base
        raise UnsupportedSignal(f"{path}: its data are damaged; save it again with numpy.savez") from error


def _check_npy_size(file: Any, size: int, path: Path) -> None:
    """Refuses a header that claims more samples than its file holds bytes, before memory for them is taken."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if not dtype.hasobject and int(np.prod(shape, dtype=object)) * dtype.itemsize > size:
        raise UnsupportedSignal(f"{path}: is damaged or cut short; save it again with numpy.savez")


def read_tiff(path: Path, kind: Kind | None = None) -> Signal:
    """A TIFF file: one page is an image, several are a volume (Z, H, W), with channels if RGB. `kind` forces either.

    As an image, the first page counts. Raises `UnsupportedSignal` if it is damaged or of a form that is not read.
    """
    try:
        array, has_channels, orientation = _load_tiff(path)
    except UnsupportedSignal:
        raise
    except Exception as error:  # tifffile lets whatever a damaged tag leads to escape
        raise UnsupportedSignal(
            f"{path}: is damaged or a kind of TIFF that is not read; save it again uncompressed"
        ) from error
    paged = array.ndim - has_channels > 2
    kind = kind if kind is not None else Kind.VOLUME if paged else Kind.IMAGE
    if kind == Kind.IMAGE:
        while array.ndim - has_channels > 2:
            array = array[0]
        array = turn_upright(array, orientation)
    if kind == Kind.VIDEO and not paged:
        array = array[None]
    return array_signal(array, kind, path, os.path.getsize(path), channel_axis=has_channels)


def _load_tiff(path: Path) -> tuple[Shaped[ndarray, "*_"], bool, int]:
    """The array of the first series of pages, whether its last axis is of channels, and the TIFF orientation."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        series, page = tiff.series[0], tiff.series[0].keyframe
        if page.imagewidth * page.imagelength > _MAX_PAGE_PIXELS:
            raise UnsupportedSignal(
                f"{path}: has more than {_MAX_PAGE_PIXELS // 10**6} million pixels a page; cut it into smaller images"
            )
        if series.nbytes > _MAX_EXPANSION * os.path.getsize(path) + _SLACK_BYTES:
            raise UnsupportedSignal(f"{path}: claims to expand more than {_MAX_EXPANSION} times; it is damaged")
        tag = page.tags.get(_ORIENTATION_TAG)
        orientation = int(tag.value) if tag is not None else 1
        has_channels = "S" in series.axes
        photometric = getattr(page.photometric, "name", str(page.photometric))
        plain = photometric in _PLAIN_PHOTOMETRICS and page.bitspersample in (8, 16, 32, 64)
        try:
            if plain:
                array = series.asarray()
                return (
                    (np.moveaxis(array, series.axes.index("S"), -1) if has_channels else array),
                    has_channels,
                    orientation,
                )
        except ValueError:
            pass  # compressed in a way that needs another package; Pillow knows the common ones
        shape = series.shape
    return _load_tiff_pages(path, shape, has_channels)


def _load_tiff_pages(path: Path, shape: tuple[int, ...], has_channels: bool) -> tuple[Shaped[ndarray, "*_"], bool, int]:
    """Palettes, 1-bit, CMYK and LZW, through Pillow. Colour of 16 bits it cannot read, and says so."""
    count = int(np.prod(shape[: -3 if has_channels else -2], dtype=object))
    with opened(path) as (file, facts):
        pages = [read_frame(file, index, path) for index in range(count)]
    del facts
    array = np.stack(pages) if count > 1 else pages[0]
    return array, array.ndim == (4 if count > 1 else 3), 1


def write_volume(path: Path, spec: Spec, parts: Iterable[Shaped[ndarray, "_ *rest c"]]) -> None:
    """Writes a volume as `.npy`, `.npz`, `.zarr` (Zarr 3), `.n5` or a TIFF stack; all but `.npz` piece by piece."""
    extension = path.suffix.lower()
    if extension in (".zarr", ".n5"):
        write_store(path, spec, parts)
    elif extension == ".npz":
        np.savez_compressed(path, np.concatenate([_flat(part, spec) for part in parts]))
    elif extension in (".tif", ".tiff"):
        _write_tiff(path, spec, parts)
    else:
        write_npy(path, spec, parts)


def write_npy(path: Path, spec: Spec, parts: Iterable[Shaped[ndarray, "_ *rest c"]]) -> None:
    """Writes any kind of sampled signal as `.npy`, piece by piece; a single channel has no axis of its own."""
    shape = (*spec.shape, spec.channels) if spec.channels > 1 else spec.shape
    header = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(spec.dtype)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, spec.dtype).data)


def _write_tiff(path: Path, spec: Spec, parts: Iterable[Shaped[ndarray, "_ *rest c"]]) -> None:
    import tifffile

    colour = spec.channels >= 3
    shape = (*spec.shape, spec.channels) if spec.channels > 1 else spec.shape
    if len(spec.shape) == 2:
        tifffile.imwrite(path, np.concatenate([_flat(part, spec) for part in parts]), photometric="minisblack")
        return
    big = spec.n_samples * spec.dtype.itemsize > 2**31
    with tifffile.TiffWriter(path, bigtiff=big) as tiff:
        tiff.write(_pages(parts, spec), shape=shape, dtype=spec.dtype, photometric="rgb" if colour else "minisblack")


def _pages(parts: Iterable[Shaped[ndarray, "_ *rest c"]], spec: Spec) -> Iterator[Shaped[ndarray, "h w *c"]]:
    page = (*spec.shape[-2:], spec.channels) if spec.channels > 1 else spec.shape[-2:]
    for part in parts:
        yield from np.ascontiguousarray(part, spec.dtype).reshape(-1, *page)


def _flat(part: Shaped[ndarray, "n *rest c"], spec: Spec) -> Shaped[ndarray, "*_"]:
    return part[..., 0] if spec.channels == 1 else part
