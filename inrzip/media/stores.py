"""Zarr and N5 arrays on disk through TensorStore: read and written slice by slice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from ..errors import InrzipError, UnsupportedSignal
from ..signal import Kind, MetaValue, Signal, Spec
from .samples import MAX_VOLUME_AXES, array_signal, refuse_not_finite, to_sample_type, type_name
from .sniff import total_bytes

# A store's description can claim any size without a byte of data behind it; scanning it must end.
MAX_STORE_SAMPLES = 1 << 33
_SCAN_SAMPLES = 1 << 24
_CHUNK_EDGE = 64
_STORED_TYPES = {
    "b1": "bool", "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32",
    "f2": "float16", "f4": "float32", "f8": "float64",
}  # fmt: skip


class StoreSignal(Signal):
    """A volume in a Zarr or N5 store; `read` loads only the chunks it needs."""

    def __init__(self, store: Any, spec: Spec, source_bytes: int):
        self._store = store
        self.spec = spec
        self.source_bytes = source_bytes

    def read(self, start: int, stop: int) -> Shaped[ndarray, "part *rest channels"]:
        start, stop, _ = slice(start, stop).indices(self.spec.shape[0])
        part = np.asarray(self._store[start : max(start, stop)].read().result())
        return part.astype(self.spec.dtype, copy=False)[..., None]


def read_store(path: Path, kind: Kind) -> Signal:
    """The array in a Zarr (2 or 3) or N5 folder, as a volume of 1 to 4 axes, or (loaded whole) as any other kind."""
    store = _open(path)
    size = int(np.prod(store.shape, dtype=object))
    if size > MAX_STORE_SAMPLES:
        raise UnsupportedSignal(
            f"{path}: has {size} samples, more than {MAX_STORE_SAMPLES}; cut it into smaller arrays"
        )
    if kind != Kind.VOLUME or size == 0 or len(store.shape) == 0:
        return array_signal(np.asarray(store.read().result()), kind, path, total_bytes(path))
    if len(store.shape) > MAX_VOLUME_AXES:
        raise UnsupportedSignal(f"{path}: has shape {tuple(store.shape)}; a volume needs 1 to 4 axes")
    sample_type, low, high = _scan(store, path)
    meta: dict[str, MetaValue] = {"format": path.suffix.lower() or ".zarr"}
    spec = Spec(Kind.VOLUME, tuple(int(n) for n in store.shape), 1, sample_type, low, high, meta)
    return StoreSignal(store, spec, total_bytes(path))


def _open(path: Path) -> Any:
    import tensorstore

    if (path / "zarr.json").is_file():
        driver = "zarr3"
    elif (path / ".zarray").is_file():
        driver = "zarr"
    elif (path / "attributes.json").is_file():
        driver = "n5"
    else:
        raise UnsupportedSignal(
            f"{path}: holds no array itself (no zarr.json, .zarray or attributes.json); name an array in it"
        )
    if _is_group(path):
        raise UnsupportedSignal(f"{path}: is a group of arrays; name one array in it, such as {path}/0")
    source = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path.absolute()}/"}}
    try:
        return tensorstore.open(source, read=True).result()
    except (ValueError, OSError, RuntimeError, NotImplementedError) as error:
        raise UnsupportedSignal(f"{path}: cannot be read as {driver}: {_reason(error)}") from error


def _is_group(path: Path) -> bool:
    """Whether the description in the folder is a group's: Zarr 3 says so, N5 lacks the array's fields."""
    try:
        for name in ("zarr.json", "attributes.json"):
            if (path / name).is_file():
                facts = json.loads((path / name).read_bytes())
                return isinstance(facts, dict) and (
                    facts.get("node_type") == "group" if name == "zarr.json" else "dimensions" not in facts
                )
    except (OSError, ValueError, RecursionError):
        pass
    return False


def _reason(error: Exception) -> str:
    """The first sentence of TensorStore's error, on one line."""
    return " ".join(str(error).split(" [")[0].split())[:200]


def _scan(store: Any, path: Path) -> tuple[str, float, float]:
    """Sample type, lowest and highest sample, found slice by slice."""
    row = max(1, int(np.prod(store.shape[1:], dtype=object)))
    step = max(1, _SCAN_SAMPLES // row)
    lowest, highest, sample_type = np.inf, -np.inf, ""
    for start in range(0, store.shape[0], step):
        try:
            part = np.asarray(store[start : min(start + step, store.shape[0])].read().result())
        except (ValueError, OSError, RuntimeError) as error:
            raise UnsupportedSignal(f"{path}: its data are damaged: {_reason(error)}") from error
        wide = part.dtype.kind in "iu" and part.dtype.itemsize == 8
        part = part if wide else to_sample_type(part, path)
        if part.dtype.kind == "f" and not (finite := np.isfinite(part)).all():
            first = np.unravel_index(int(finite.ravel().argmin()), part.shape)
            refuse_not_finite(int((~finite).sum()), (int(first[0]) + start, *(int(i) for i in first[1:])), path)
        lowest, highest = min(lowest, part.min()), max(highest, part.max())
        sample_type = type_name(part)
    if sample_type in ("i8", "u8"):
        sample_type = type_name(to_sample_type(np.array([lowest, highest]), path))
    return sample_type, float(lowest), float(highest)


def write_store(path: Path, spec: Spec, parts: Iterable[Shaped[ndarray, "_ *rest c"]]) -> None:
    """Writes a volume as a Zarr 3 folder, or as an N5 one if `path` ends so, in compressed chunks of 64 along each
    axis.
    """
    import tensorstore

    channels = (spec.channels,) if spec.channels > 1 else ()
    shape = (*spec.shape, *channels)
    driver = "n5" if path.suffix.lower() == ".n5" else "zarr3"
    metadata = (_n5_metadata if driver == "n5" else _zarr_metadata)(list(shape), _STORED_TYPES[spec.sample_type])
    target = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path.absolute()}/"}, "metadata": metadata}
    try:
        store = tensorstore.open(target, create=True, delete_existing=True).result()
        start = 0
        for part in _chunk_aligned(parts):
            store[start : start + len(part)].write(part.reshape(len(part), *shape[1:])).result()
            start += len(part)
    except (ValueError, RuntimeError) as error:
        raise InrzipError(f"{path}: cannot be written as {driver}: {_reason(error)}") from error


def _zarr_metadata(shape: list[int], data_type: str) -> dict[str, Any]:
    return {
        "shape": shape,
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [min(_CHUNK_EDGE, n) for n in shape]}},
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": 5}},
        ],
    }


def _n5_metadata(shape: list[int], data_type: str) -> dict[str, Any]:
    return {
        "dimensions": shape,
        "blockSize": [min(_CHUNK_EDGE, n) for n in shape],
        "dataType": data_type,
        "compression": {"type": "gzip"},
    }


def _chunk_aligned(parts: Iterable[Shaped[ndarray, "_ *rest c"]]) -> Iterable[Shaped[ndarray, "m *rest c"]]:
    """The parts joined and cut again into whole chunks, so that none is written twice."""
    held: list[Shaped[ndarray, "*_"]] = []
    for part in parts:
        held.append(np.asarray(part))
        if sum(map(len, held)) >= _CHUNK_EDGE:
            joined = np.concatenate(held)
            whole = len(joined) // _CHUNK_EDGE * _CHUNK_EDGE
            yield joined[:whole]
            held = [joined[whole:]]
    rest = np.concatenate(held) if held else None
    if rest is not None and len(rest):
        yield rest
