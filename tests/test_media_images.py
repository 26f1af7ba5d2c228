"""Still images: every sample survives reading, and writing where the format is lossless; bad files give one line."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from inrzip.errors import InrzipError, UnsupportedSignal
from inrzip.media import check_output, output_extension, read_signal, write_signal
from inrzip.signal import Kind, Signal, Spec


def noise(shape: tuple[int, ...], kind: str = "u1", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)


def everything(signal: Signal) -> np.ndarray:
    return signal.read(0, signal.spec.shape[0])


def spec_of(pixels: np.ndarray) -> Spec:
    height, width, channels = pixels.shape
    high = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else 1.0
    return Spec(Kind.IMAGE, (height, width), channels, f"{pixels.dtype.kind}{pixels.dtype.itemsize}", 0.0, high)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (31, 17)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_lossless_round_trip(tmp_path, size, channels, kind, extension):
    pixels = noise((*size, channels), kind)
    path = tmp_path / f"a{extension}"
    write_signal(path, spec_of(pixels), [pixels[: size[0] // 2], pixels[size[0] // 2 :]])
    signal = read_signal(path)
    np.testing.assert_array_equal(everything(signal), pixels)
    assert signal.spec.kind == Kind.IMAGE and signal.spec.shape == size
    assert signal.spec.sample_type == kind and signal.spec.meta["format"] == extension
    assert signal.source_bytes == os.path.getsize(path)


def test_range_is_the_types_for_8_bits_and_the_datas_for_16(tmp_path):
    for kind, expected in (("u1", (0.0, 255.0)), ("u2", (1000.0, 4000.0))):
        pixels = np.clip(noise((8, 8, 3), kind), 10 if kind == "u1" else 1000, 200 if kind == "u1" else 4000)
        write_signal(tmp_path / "a.png", spec_of(pixels), [pixels])
        spec = read_signal(tmp_path / "a.png").spec
        assert (spec.low, spec.high) == expected


@pytest.mark.parametrize(
    ("extension", "channels"), [(".webp", 3), (".webp", 4), (".bmp", 3), (".bmp", 1), (".ppm", 3), (".pgm", 1)]
)
def test_other_lossless_formats(tmp_path, extension, channels):
    pixels = noise((9, 14, channels))
    write_signal(tmp_path / f"a{extension}", spec_of(pixels), [pixels])
    np.testing.assert_array_equal(everything(read_signal(tmp_path / f"a{extension}")), pixels)


@pytest.mark.parametrize(("extension", "channels"), [(".ppm", 3), (".pgm", 1)])
def test_16_bit_netpbm(tmp_path, extension, channels):
    pixels = noise((9, 14, channels), "u2")
    write_signal(tmp_path / f"a{extension}", spec_of(pixels), [pixels])
    np.testing.assert_array_equal(everything(read_signal(tmp_path / f"a{extension}")), pixels)


def test_jpeg_is_close(tmp_path):
    ramp = np.add.outer(np.arange(64), np.arange(48)).astype("u1")
    pixels = np.stack([ramp, ramp, 255 - ramp], -1)
    write_signal(tmp_path / "a.jpg", spec_of(pixels), [pixels])
    assert np.abs(everything(read_signal(tmp_path / "a.jpg")).astype(int) - pixels).mean() < 3


def test_float_tiff(tmp_path):
    pixels = np.random.default_rng(0).normal(size=(7, 5)).astype("f4")
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    signal = read_signal(tmp_path / "a.tif")
    assert (
        signal.spec.sample_type == "f4" and signal.spec.low == pixels.min() and output_extension(signal.spec) == ".tif"
    )
    np.testing.assert_array_equal(everything(signal)[..., 0], pixels)


def test_modes_are_expanded(tmp_path):
    rgb = Image.fromarray(noise((6, 8, 3)))
    palette = rgb.quantize(16)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(everything(read_signal(tmp_path / "palette.png")), np.asarray(palette.convert("RGB")))
    bits = noise((6, 8)) > 127
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(everything(read_signal(tmp_path / "bits.png"))[..., 0], bits * np.uint8(255))
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg")
    assert read_signal(tmp_path / "cmyk.jpg").spec.channels == 3
    rgb.convert("LA").save(tmp_path / "la.png")
    assert read_signal(tmp_path / "la.png").spec.channels == 2
    palette.save(tmp_path / "clear.png", transparency=3)
    assert read_signal(tmp_path / "clear.png").spec.channels == 4
    palette.save(tmp_path / "palette.tif")
    np.testing.assert_array_equal(everything(read_signal(tmp_path / "palette.tif")), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", [".png", ".tif", ".jpg"])
def test_exif_orientation(tmp_path, orientation, extension):
    from PIL import ImageOps

    base = np.zeros((24, 40, 3), "u1")
    base[:8, :8] = (255, 0, 0)
    base[:8, -8:] = (0, 255, 0)
    base[-8:, :8] = (0, 0, 255)
    image = Image.fromarray(base)
    exif = Image.Exif()
    exif[274] = orientation
    image.save(tmp_path / f"a{extension}", exif=exif)
    with Image.open(tmp_path / f"a{extension}") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    np.testing.assert_array_equal(everything(read_signal(tmp_path / f"a{extension}")), expected)
    palette = tmp_path / "palette.tif"
    image.quantize(8).save(palette, exif=exif)
    assert read_signal(palette).spec.shape == expected.shape[:2]


def test_interlaced_16_bit_png_header_is_not_enough(tmp_path):
    pixels = noise((16, 16, 3), "u2")
    write_signal(tmp_path / "a.png", spec_of(pixels), [pixels])
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[:60])
    with pytest.raises(UnsupportedSignal, match=r"cut\.png"):
        read_signal(tmp_path / "cut.png")


def test_decompression_bomb(tmp_path):
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    for depth in (8, 16):
        header = struct.pack(">IIBBBBB", 100_000, 100_000, depth, 2, 0, 0, 0)
        data = (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
            + chunk(b"IEND", b"")
        )
        (tmp_path / "bomb.png").write_bytes(data)
        with pytest.raises(UnsupportedSignal, match="million pixels"):
            read_signal(tmp_path / "bomb.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp", "a.bmp", "a.gif", "a.ppm"])
def test_text_renamed_and_empty(tmp_path, name):
    (tmp_path / name).write_text("this is no picture at all\n" * 9)
    with pytest.raises(UnsupportedSignal, match=name.replace(".", r"\.")):
        read_signal(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UnsupportedSignal, match="is empty"):
        read_signal(tmp_path / name)


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".webp", ".bmp", ".gif", ".ppm"])
def test_damage_never_escapes(tmp_path, extension):
    """Cut and overwritten files give a signal or one clear line, never another exception."""
    pixels = noise((40, 30, 3))
    write_signal(tmp_path / f"a{extension}", spec_of(pixels), [pixels])
    data = (tmp_path / f"a{extension}").read_bytes()
    random = np.random.default_rng(1)
    for trial in range(25):
        mutant = bytearray(data[: random.integers(1, len(data))] if trial % 2 else data)
        for position in random.integers(0, len(mutant), trial % 5):
            mutant[position] = random.integers(256)
        path = tmp_path / f"mutant{extension}"
        path.write_bytes(bytes(mutant))
        try:
            everything(read_signal(path))
        except UnsupportedSignal as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_missing_folder_and_unreadable(tmp_path):
    with pytest.raises(UnsupportedSignal, match="no such file"):
        read_signal(tmp_path / "nothing.png")
    with pytest.raises(UnsupportedSignal, match="neither of image frames"):
        read_signal(tmp_path)
    with pytest.raises(UnsupportedSignal, match="no ordinary file"):
        read_signal(Path("/dev/null"))
    if os.geteuid() != 0:
        (tmp_path / "secret.png").write_bytes(b"x")
        (tmp_path / "secret.png").chmod(0)
        with pytest.raises(UnsupportedSignal, match="permission"):
            read_signal(tmp_path / "secret.png")


def test_outputs_that_cannot_hold_it(tmp_path):
    rgba, deep = spec_of(noise((4, 4, 4))), spec_of(noise((4, 4, 3), "u2"))
    with pytest.raises(InrzipError, match=r"transparency; use \.png"):
        check_output(Path("a.jpg"), rgba)
    with pytest.raises(InrzipError, match=r"16-bit samples; use \.png"):
        write_signal(tmp_path / "a.jpg", deep, [])
    with pytest.raises(InrzipError, match="cannot hold an image"):
        check_output(Path("a.wav"), rgba)
    check_output(Path("a.PNG"), deep)
    jpeg = Spec(Kind.IMAGE, (4, 4), 3, "u2", 0.0, 9.0, {"format": ".jpg"})
    assert output_extension(jpeg) == ".png"
    assert output_extension(Spec(Kind.IMAGE, (4, 4), 3, "u1", 0.0, 255.0, {"format": ".jpg"})) == ".jpg"
    assert output_extension(Spec(Kind.SHAPE, (8, 8, 8), 1, "f4", -1.0, 1.0, {"format": ".x"})) == ".obj"


def test_image_as_other_kinds(tmp_path):
    grey, colour = noise((5, 6, 1)), noise((5, 6, 3))
    write_signal(tmp_path / "g.png", spec_of(grey), [grey])
    write_signal(tmp_path / "c.png", spec_of(colour), [colour])
    assert read_signal(tmp_path / "g.png", kind=Kind.VOLUME).spec.shape == (5, 6)
    assert read_signal(tmp_path / "c.png", kind=Kind.VIDEO).spec.shape == (1, 5, 6)
    with pytest.raises(UnsupportedSignal, match="cannot be read as audio"):
        read_signal(tmp_path / "c.png", kind=Kind.AUDIO)


def test_animated_webp_is_a_video(tmp_path):
    frames = [Image.fromarray(noise((8, 10, 3), seed=k)) for k in range(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=[40, 80, 40], lossless=True)
    signal = read_signal(tmp_path / "a.webp")
    assert signal.spec.kind == Kind.VIDEO and signal.spec.shape == (3, 8, 10)
    assert signal.spec.meta["times"] == (0, 3600, 10800)
    np.testing.assert_array_equal(everything(signal)[..., :3], np.stack([np.asarray(frame) for frame in frames]))


def test_importing_media_loads_nothing_heavy():
    code = (
        "import sys, inrzip.media; heavy = 'av jax PIL imageio tifffile tensorstore soundfile'.split(); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
