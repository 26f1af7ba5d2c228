"""Volumes: arrays of one to four axes from .npy, .npz, Zarr, N5 and TIFF stacks, and back."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import tifffile

from inrzip.errors import InrzipError, UnsupportedSignal
from inrzip.media import check_output, output_extension, read_signal, write_signal
from inrzip.signal import Kind, Signal, Spec

TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8", "b1")


def everything(signal: Signal) -> np.ndarray:
    return signal.read(0, signal.spec.shape[0])


def noise(shape: tuple[int, ...], kind: str) -> np.ndarray:
    random = np.random.default_rng(0)
    if kind == "b1":
        return random.random(shape) > 0.5
    if kind[0] == "f":
        return random.normal(size=shape).astype(kind)
    return random.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, kind, endpoint=True)


def spec_of(array: np.ndarray, channels: int = 1) -> Spec:
    shape = array.shape if channels == 1 else array.shape[:-1]
    return Spec(Kind.VOLUME, shape, channels, f"{array.dtype.kind}{array.dtype.itemsize}", 0.0, 1.0)


def write(path: Path, array: np.ndarray) -> None:
    half = len(array) // 2
    write_signal(path, spec_of(array), [part[..., None] for part in (array[:half], array[half:])])


@pytest.mark.parametrize("extension", [".npy", ".npz", ".zarr", ".n5"])
@pytest.mark.parametrize("kind", TYPES)
def test_types_round_trip(tmp_path, extension, kind):
    array = noise((5, 4, 3), kind)
    if extension == ".n5" and kind in ("b1", "f2"):
        with pytest.raises(InrzipError, match=r"use \.zarr"):
            check_output(tmp_path / "a.n5", spec_of(array))
        return
    write(tmp_path / f"a{extension}", array)
    signal = read_signal(tmp_path / f"a{extension}")
    np.testing.assert_array_equal(everything(signal), array[..., None])
    spec = signal.spec
    assert (spec.kind, spec.shape, spec.channels, spec.sample_type) == (Kind.VOLUME, (5, 4, 3), 1, kind)
    assert (spec.low, spec.high) == (float(array.min()), float(array.max()))
    assert output_extension(spec) == extension
    np.testing.assert_array_equal(signal.read(2, 4), array[2:4, ..., None])


@pytest.mark.parametrize("shape", [(7,), (3, 5), (150, 3, 2), (2, 3, 4, 5), (1, 1, 1, 1)])
@pytest.mark.parametrize("extension", [".npy", ".zarr", ".n5", ".tif"])
def test_shapes_round_trip(tmp_path, shape, extension):
    array = noise(shape, "i2")
    if extension == ".tif" and len(shape) < 2:
        with pytest.raises(InrzipError, match=r"use \.npy"):
            check_output(tmp_path / "a.tif", spec_of(array))
        return
    write(tmp_path / f"a{extension}", array)
    signal = read_signal(tmp_path / f"a{extension}", kind=Kind.VOLUME)
    if extension == ".tif":  # TIFF does not keep apart axes of length 1
        assert everything(signal).ravel().tolist() == array.ravel().tolist()
    else:
        np.testing.assert_array_equal(everything(signal), array[..., None])
    assert signal.source_bytes > 0


@pytest.mark.parametrize("kind", ["u1", "u2", "i4", "f4"])
def test_tiff_stack(tmp_path, kind):
    array = noise((6, 5, 4), kind)
    write(tmp_path / "a.tif", array)
    signal = read_signal(tmp_path / "a.tif")
    assert signal.spec.kind == Kind.VOLUME and signal.spec.shape == (6, 5, 4) and signal.spec.sample_type == kind
    np.testing.assert_array_equal(everything(signal)[..., 0], array)
    assert read_signal(tmp_path / "a.tif", kind=Kind.IMAGE).spec.shape == (5, 4)
    if kind in ("u1", "u2"):
        assert read_signal(tmp_path / "a.tif", kind=Kind.VIDEO).spec.shape == (6, 5, 4)


def test_colour_tiff_stack_keeps_its_channels(tmp_path):
    array = noise((6, 5, 4, 3), "u1")
    write_signal(tmp_path / "a.tif", spec_of(array, 3), [array])
    signal = read_signal(tmp_path / "a.tif")
    assert (signal.spec.shape, signal.spec.channels) == ((6, 5, 4), 3)
    np.testing.assert_array_equal(everything(signal), array)


def test_compressed_tiff(tmp_path):
    from PIL import Image

    pages = [Image.fromarray(noise((5, 4), "u1") + np.uint8(k)) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    np.testing.assert_array_equal(
        everything(read_signal(tmp_path / "a.tif"))[..., 0], np.stack([np.asarray(page) for page in pages])
    )


def test_long_integers(tmp_path):
    np.save(tmp_path / "a.npy", np.array([-5, 2**31 - 1]))
    assert read_signal(tmp_path / "a.npy").spec.sample_type == "i4"
    np.save(tmp_path / "a.npy", np.array([5, 2**32 - 1]))
    assert read_signal(tmp_path / "a.npy").spec.sample_type == "u4"
    np.save(tmp_path / "a.npy", np.array([-5, 2**32 - 1]))
    with pytest.raises(UnsupportedSignal, match="do not fit 32 bits"):
        read_signal(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(3, "c8"), "complex64"),
        (np.zeros(3, "f4,i2"), "type"),
        (np.array(["text"]), "type"),
        (np.array([None, {}], object), "Python objects"),
        (np.zeros((2, 0, 3)), "no samples"),
        (np.zeros(()), "1 to 4 axes"),
        (np.zeros((1, 1, 1, 1, 1)), "1 to 4 axes"),
        (np.array([1.0, np.nan, 3.0, -np.inf]), "2 samples are infinite or not a number, the first at index 1"),
    ],
)
@pytest.mark.parametrize("extension", [".npy", ".npz"])
def test_arrays_that_are_refused(tmp_path, array, words, extension):
    path = tmp_path / f"a{extension}"
    np.save(path, array) if extension == ".npy" else np.savez(path, array)
    with pytest.raises(UnsupportedSignal, match=words):
        read_signal(path)


def test_not_finite_position_in_a_large_array(tmp_path):
    array = np.zeros((9, 1 << 20), "f4")
    array[7, 3] = np.nan
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UnsupportedSignal, match=r"1 samples .* index \(7, 3\)"):
        read_signal(tmp_path / "a.npy")


def test_constant_and_foreign_byte_order(tmp_path):
    np.save(tmp_path / "a.npy", np.full((3, 3), 7, ">i2"))
    signal = read_signal(tmp_path / "a.npy")
    assert (signal.spec.low, signal.spec.high) == (7.0, 7.0) and everything(signal).dtype == np.dtype("i2")
    np.save(tmp_path / "a.npy", np.asfortranarray(noise((4, 5), "u1")))
    np.testing.assert_array_equal(everything(read_signal(tmp_path / "a.npy"))[..., 0], noise((4, 5), "u1"))


def test_npy_is_mapped(tmp_path):
    np.save(tmp_path / "a.npy", noise((4, 5), "f4"))
    base = read_signal(tmp_path / "a.npy").samples
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_damaged_arrays(tmp_path):
    np.save(tmp_path / "a.npy", noise((40, 5), "f4"))
    data = (tmp_path / "a.npy").read_bytes()
    claims = data.replace(b"(40, 5), }", b"(99999,9)}")
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    (tmp_path / "cut.npy").write_bytes(data[:300])
    (tmp_path / "head.npy").write_bytes(data[:20])
    (tmp_path / "odd.npy").write_bytes(claims)
    (tmp_path / "text.npy").write_text("hello\n" * 50)
    (tmp_path / "text.npz").write_text("hello\n" * 50)
    for name in ("cut.npy", "head.npy", "odd.npy", "text.npy", "text.npz", "two.npz"):
        with pytest.raises(UnsupportedSignal, match=name.replace(".", r"\.")):
            read_signal(tmp_path / name)


def test_npz_header_that_claims_terabytes(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    body = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", body + bytes(100))
    with pytest.raises(UnsupportedSignal, match="damaged"):
        read_signal(tmp_path / "a.npz")


def test_zip_without_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("text.xml", "<a/>")
    with pytest.raises(UnsupportedSignal, match="zip archive without arrays"):
        read_signal(tmp_path / "a.docx")


@pytest.mark.parametrize("driver", ["zarr", "zarr3", "n5"])
def test_stores_of_other_programs(tmp_path, driver):
    array = noise((30, 7), "u2")
    path = tmp_path / "store"
    tensorstore.open(
        {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}},
        create=True,
        dtype="uint16",
        shape=array.shape,
    ).result().write(array).result()
    signal = read_signal(path)
    np.testing.assert_array_equal(everything(signal)[..., 0], array)
    assert read_signal(path, kind=Kind.IMAGE).spec.kind == Kind.IMAGE


def test_stores_that_are_refused(tmp_path):
    write(tmp_path / "a.zarr", noise((4, 4), "f4"))
    facts = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    cases = {
        "group": {"node_type": "group"},
        "samples": {"shape": [2**40, 2**20]},
        "zarr3": {"codecs": [{"name": "unknown"}]},
    }
    for words, change in cases.items():
        (tmp_path / "a.zarr" / "zarr.json").write_text(json.dumps({**facts, **change}))
        with pytest.raises(UnsupportedSignal, match=words) as caught:
            read_signal(tmp_path / "a.zarr")
        assert "\n" not in str(caught.value)
    (tmp_path / "a.zarr" / "zarr.json").write_text("{")
    with pytest.raises(UnsupportedSignal):
        read_signal(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "zarr.json").unlink()
    with pytest.raises(UnsupportedSignal, match="holds no array itself"):
        read_signal(tmp_path / "a.zarr")


def test_store_with_bad_samples_and_damaged_chunks(tmp_path):
    array = noise((4, 4), "f4")
    array[2, 1] = np.nan
    write(tmp_path / "a.zarr", array)
    with pytest.raises(UnsupportedSignal, match=r"first at index \(2, 1\)"):
        read_signal(tmp_path / "a.zarr")
    write(tmp_path / "b.zarr", noise((4, 4), "f4"))
    chunk = next(file for file in (tmp_path / "b.zarr" / "c").rglob("*") if file.is_file())
    chunk.write_bytes(b"damage")
    with pytest.raises(UnsupportedSignal, match="damaged"):
        read_signal(tmp_path / "b.zarr")


def test_formats_that_are_not_read(tmp_path):
    (tmp_path / "brain.nii.gz").write_bytes(b"\x1f\x8b" + bytes(50))
    with pytest.raises(UnsupportedSignal, match=r"NIfTI is not read; save its array as \.npy"):
        read_signal(tmp_path / "brain.nii.gz")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), "c8"))
    with pytest.raises(UnsupportedSignal, match="complex64"):
        read_signal(tmp_path / "a.tif")
