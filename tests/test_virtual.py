"""Signals as TensorStore arrays: domains, chunks, units, samples, and what goes wrong."""

from __future__ import annotations

import functools
import importlib.util
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts

import inrzip
from inrzip import Kind, Spec
from inrzip.architectures.siren import SirenConfig
from inrzip.errors import InrzipError
from inrzip.reader import Reader
from tests.common import random_file

DOCS = Path(__file__).parent.parent / "docs"
SPECS = {
    "image": Spec(Kind.IMAGE, (300, 270), 3, "u1", 0.0, 255.0),
    "sound": Spec(Kind.AUDIO, (400,), 2, "i2", -30000.0, 30000.0, {"rate": (8000, 1)}),
    "film": Spec(Kind.VIDEO, (5, 8, 10), 1, "u2", 0.0, 65535.0, {"rate": (25, 1)}),
    "volume": Spec(Kind.VOLUME, (70, 9, 8), 1, "f4", -3.0, 5.0),
    "pages": Spec(Kind.VOLUME, (3, 4, 5, 6), 1, "i4", -9.0, 900.0),
    "shape": Spec(Kind.SHAPE, (20, 20, 20), 1, "f4", -1.0, 1.0, {"box": (0.0, 0.0, 0.0, 1.0)}),
}
LABELS = {"image": "yxc", "sound": "tc", "film": "tyx", "volume": "zyx", "pages": "tzyx", "shape": "xyz"}


@pytest.fixture(scope="module")
def readers() -> dict[str, Reader]:
    return {name: inrzip.open(random_file(spec, SirenConfig)) for name, spec in SPECS.items()}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("scale", [1.0, 0.5, 1.7])
def test_reading_is_slicing(readers: dict[str, Reader], name: str, scale: float) -> None:
    reader = readers[name]
    store, whole = inrzip.tensorstore(reader, scale), np.asarray(reader.at(scale))
    assert store.shape == whole.shape and store.dtype.numpy_dtype == whole.dtype
    assert "".join(store.domain.labels) == LABELS[name] and store.domain.inclusive_min == (0,) * whole.ndim
    if scale != 1.7:  # all chunks
        np.testing.assert_allclose(np.asarray(store), whole, atol=1 if whole.dtype.kind in "ui" else 1e-3)
    part = store[1:2].read().result()
    assert part.dtype == whole.dtype
    np.testing.assert_allclose(part, whole[1:2], atol=1 if whole.dtype.kind in "ui" else 1e-3)


def test_chunks_and_units(readers: dict[str, Reader]) -> None:
    image, sound = inrzip.tensorstore(readers["image"]), inrzip.tensorstore(readers["sound"], 0.5)
    assert image.chunk_layout.read_chunk.shape == (256, 256, 3)
    assert sound.chunk_layout.read_chunk.shape == (200, 2)
    assert inrzip.tensorstore(readers["film"]).chunk_layout.read_chunk.shape == (1, 8, 10)
    assert inrzip.tensorstore(readers["volume"], chunk=(7, 8, 9)).chunk_layout.read_chunk.shape == (7, 8, 8)
    assert sound.dimension_units == (ts.Unit(1 / 4000, "s"), None)
    assert inrzip.tensorstore(readers["film"], 0.5).dimension_units[0] == ts.Unit(1 / 25, "s")
    for wrong in ((7, 8), (7, 8, 0)):
        with pytest.raises(InrzipError, match="3 sides"):
            inrzip.tensorstore(readers["volume"], chunk=wrong)
    with pytest.raises(InrzipError, match="scale"):
        inrzip.tensorstore(readers["volume"], 0.0)


def test_a_chunk_is_decoded_once(monkeypatch: pytest.MonkeyPatch, readers: dict[str, Reader]) -> None:
    calls: list[int] = []
    picked = Reader.picked
    monkeypatch.setattr(Reader, "picked", lambda self, *args: (calls.append(0), picked(self, *args))[1])
    store = inrzip.tensorstore(readers["volume"], chunk=(10, 9, 8))
    for _ in range(3):
        store[3:12].read().result()
    assert len(calls) == 2
    calls.clear()
    uncached = inrzip.tensorstore(readers["volume"], chunk=(10, 9, 8), cache_bytes=0)
    for _ in range(3):
        uncached[3:12].read().result()
    assert len(calls) == 6


def test_scales_halve(readers: dict[str, Reader]) -> None:
    levels = inrzip.pyramid(readers["image"])
    assert [level.shape for level in levels] == [(300, 270, 3), (150, 135, 3), (75, 68, 3), (38, 34, 3)]
    assert [level.shape for level in inrzip.pyramid(readers["film"])] == [(5, 8, 10)]


def test_damage_is_told(readers: dict[str, Reader]) -> None:
    data = bytearray(random_file(SPECS["volume"], SirenConfig, 300, 10))
    data[-9] ^= 0xFF
    store = inrzip.tensorstore(bytes(data), chunk=(10, 9, 8))
    assert store[:60].read().result().shape == (60, 9, 8)
    with pytest.raises(ValueError, match="checksum"):
        store[60:].read().result()


@pytest.mark.parametrize("name", ["volume", "image", "film", "shape"])
def test_other_programs_read_what_is_served(readers: dict[str, Reader], name: str, tmp_path: Path) -> None:
    """The example of docs/arrays.md, and TensorStore's own reader of neuroglancer's format in place of a browser."""
    spec = importlib.util.spec_from_file_location("serve_volume", DOCS / "serve_volume.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    (tmp_path / "a.inrz").write_bytes(random_file(SPECS[name], SirenConfig))
    reader = readers[name]
    with example.served(str(tmp_path / "a.inrz")) as server:
        threading.Thread(target=functools.partial(server.serve_forever, 0.02), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        for number, level in enumerate(inrzip.pyramid(reader)):
            source = {"driver": "neuroglancer_precomputed", "kvstore": url, "scale_index": number}
            volume = ts.open(source, read=True).result()
            assert volume.domain.labels == ("x", "y", "z", "channel")
            found = np.asarray(volume).transpose(2, 1, 0, 3)
            wanted = np.asarray(level)
            np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(url + "9/0-64_0-64_0-1")
        server.shutdown()
