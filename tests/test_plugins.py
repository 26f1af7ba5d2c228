"""imageio and Pillow open `.inrz` files once `inrzip.plugins` is imported."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

import inrzip
import inrzip.plugins
from inrzip import Kind, Spec, research
from inrzip.architectures.siren import SirenConfig
from inrzip.errors import CorruptFile
from inrzip.reader import Reader
from tests.common import picture, random_file

GOLDEN = Path(__file__).parent / "golden" / "v1"
IMAGE = Spec(Kind.IMAGE, (40, 30), 3, "u1", 0.0, 255.0, {"format": ".png"})
FILM = Spec(Kind.VIDEO, (5, 8, 10), 3, "u1", 0.0, 255.0, {"rate": (25, 2)})
STACK = Spec(Kind.VOLUME, (7, 9, 8), 1, "f4", -3.0, 5.0)
SOUND = Spec(Kind.AUDIO, (100,), 1, "i2", -30000.0, 30000.0, {"rate": (8000, 1)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, spec in (("image", IMAGE), ("film", FILM), ("stack", STACK), ("sound", SOUND)):
        (tmp_path / f"{name}.inrz").write_bytes(random_file(spec, SirenConfig, 300, 1 if name == "film" else 1 << 40))
    return tmp_path


# ---- imageio ----


def test_imageio_reads_images(folder: Path) -> None:
    path = folder / "image.inrz"
    whole = np.asarray(inrzip.open(path))
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        np.testing.assert_array_equal(iio.imread(source), whole)
    np.testing.assert_array_equal(iio.imread(path, index=0), whole)
    np.testing.assert_array_equal(iio.imread(path, index=...), whole[None])
    assert iio.imread(path, scale=0.5).shape == (20, 15, 3)
    assert [image.shape for image in iio.imiter(path)] == [(40, 30, 3)]
    found = iio.improps(path)
    assert (found.shape, found.dtype, found.n_images, found.is_batch) == ((40, 30, 3), np.uint8, None, False)
    assert iio.improps(path, index=...).shape == (1, 40, 30, 3) and iio.improps(path, index=...).n_images == 1
    assert iio.immeta(path)["kind"] == "image" and iio.immeta(path)["format"] == ".png"
    with pytest.raises(IndexError):
        iio.imread(path, index=1)


def test_imageio_reads_frames(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "film.inrz"
    whole = np.asarray(inrzip.open(path))
    decoded: list[int] = []
    decode = Reader._decode
    monkeypatch.setattr(Reader, "_decode", lambda self, index: (decoded.append(index), decode(self, index))[1])
    np.testing.assert_array_equal(iio.imread(path, index=3), whole[3])
    np.testing.assert_array_equal(iio.imread(path, index=-1), whole[4])
    assert decoded == [3, 4]
    np.testing.assert_array_equal(iio.imread(path), whole)
    np.testing.assert_array_equal(np.stack(list(iio.imiter(path))), whole)
    found = iio.improps(path)
    assert found.shape == (5, 8, 10, 3) and found.n_images == 5 and found.is_batch
    assert iio.improps(path, index=2).shape == (8, 10, 3) and not iio.improps(path, index=2).is_batch
    facts = iio.immeta(path)
    assert facts["fps"] == 12.5 and facts["duration"] == 0.4 and facts["bytes"] == path.stat().st_size


def test_imageio_reads_slices(folder: Path) -> None:
    whole = np.asarray(inrzip.open(folder / "stack.inrz"))
    np.testing.assert_allclose(iio.imread(folder / "stack.inrz"), whole)
    np.testing.assert_allclose(iio.imread(folder / "stack.inrz", index=2), whole[2], atol=1e-5)
    assert iio.improps(folder / "stack.inrz").shape == (7, 9, 8)


def test_imageio_declines_what_has_no_pictures(folder: Path) -> None:
    (folder / "text.inrz").write_bytes(b"no such thing")
    for name in ("sound", "text"):
        with pytest.raises(OSError):
            iio.imread(folder / f"{name}.inrz")


def test_imageio_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits are tested elsewhere; here, what is asked for, and what lies on the disk."""
    asked: list[tuple[tuple[int, ...], dict[str, object]]] = []

    def fit(array: np.ndarray, **wishes: object) -> SimpleNamespace:
        asked.append((array.shape, wishes))
        return SimpleNamespace(data=random_file(IMAGE, SirenConfig))

    monkeypatch.setattr(research, "fit", fit)
    pixels = picture(40, 30, 3)
    iio.imwrite(tmp_path / "a.inrz", pixels, effort=1, target_size=600)
    iio.imwrite(tmp_path / "b.inrz", [pixels] * 2)
    data = iio.imwrite("<bytes>", pixels[..., 0], extension=".inrz", recipe="siren")
    assert asked == [
        ((40, 30, 3), {"kind": Kind.IMAGE, "effort": 1, "target_size": 600}),
        ((2, 40, 30, 3), {"kind": Kind.VIDEO}),
        ((40, 30), {"kind": Kind.IMAGE, "recipe": "siren"}),
    ]
    assert (tmp_path / "a.inrz").read_bytes() == data == random_file(IMAGE, SirenConfig)


# ---- Pillow ----


def test_pillow_reads_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "image.inrz"
    whole = np.asarray(inrzip.open(path))
    decoded: list[int] = []
    decode = Reader._decode
    monkeypatch.setattr(Reader, "_decode", lambda self, index: (decoded.append(index), decode(self, index))[1])
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size, image.info["format"]) == ("INRZ", "RGB", (30, 40), ".png")
        assert not decoded  # until it is looked at
        np.testing.assert_array_equal(np.asarray(image), whole)
        np.testing.assert_array_equal(np.asarray(image.crop((3, 4, 9, 20))), whole[4:20, 3:9])
    with open(path, "rb") as file:
        np.testing.assert_array_equal(np.asarray(Image.open(file)), whole)
    assert len(decoded) == 2


def test_pillow_goes_to_frames(folder: Path) -> None:
    whole = np.asarray(inrzip.open(folder / "film.inrz"))
    with Image.open(folder / "film.inrz") as film:
        assert film.n_frames == 5 and film.is_animated and film.info["duration"] == 80
        for frame in (2, 4, 0, 2):
            film.seek(frame)
            assert film.tell() == frame
            np.testing.assert_array_equal(np.asarray(film), whole[frame])
        with pytest.raises(EOFError):
            film.seek(5)


@pytest.mark.parametrize(
    ("sample_type", "channels", "mode"),
    [("u1", 1, "L"), ("u1", 2, "LA"), ("u1", 4, "RGBA"), ("u2", 1, "I;16"), ("f4", 1, "F")],
)
def test_pillow_modes(tmp_path: Path, sample_type: str, channels: int, mode: str) -> None:
    top = {"u1": 255.0, "u2": 65535.0, "f4": 1.5}[sample_type]
    (tmp_path / "a.inrz").write_bytes(
        random_file(Spec(Kind.IMAGE, (7, 9), channels, sample_type, 0.0, top), SirenConfig)
    )
    with Image.open(tmp_path / "a.inrz") as image:
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image), np.asarray(inrzip.open(tmp_path / "a.inrz")))


def test_pillow_declines(folder: Path) -> None:
    (folder / "deep.inrz").write_bytes(random_file(Spec(Kind.IMAGE, (7, 9), 3, "u2", 0.0, 65535.0), SirenConfig))
    (folder / "cut.inrz").write_bytes((folder / "image.inrz").read_bytes()[:40])
    for name in ("deep", "cut", "sound"):
        with pytest.raises(Image.UnidentifiedImageError):
            Image.open(folder / f"{name}.inrz")


def test_pillow_tells_damage(tmp_path: Path) -> None:
    data = bytearray(random_file(FILM, SirenConfig, 300, 1))
    data[-9] ^= 0xFF
    film = Image.open(io.BytesIO(bytes(data)))
    film.load()
    film.seek(4)
    with pytest.raises(CorruptFile):
        film.load()


def test_thumbnails_decode_less(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    at = Reader.at
    monkeypatch.setattr(Reader, "at", lambda self, scale: (asked.append(scale), at(self, scale))[1])
    whole = Image.fromarray(np.asarray(inrzip.open(folder / "image.inrz")))
    asked.clear()
    image = Image.open(folder / "image.inrz")
    image.thumbnail((3, 3))
    whole.thumbnail((3, 3))
    assert image.size == whole.size == (2, 3) and asked == [0.25]
    assert np.abs(np.asarray(image, float) - np.asarray(whole)).mean() < 4


def test_importing_the_package_alone_registers_nothing() -> None:
    code = "import inrzip, sys; from PIL import Image; Image.init(); assert 'INRZ' not in Image.OPEN"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)
