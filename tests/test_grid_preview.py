"""Previews of large pictures: what small scales decode, and where cut files take their colours from."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import skimage.data
from numpy import ndarray

import inrzip
from inrzip import grid_payload, plan, wire
from inrzip.architectures.base import Grid
from inrzip.architectures.grid import GridConfig, LatentGrid
from inrzip.codecs import latent_tiles
from inrzip.codecs.latent_tiles import TiledGrids
from inrzip.configuration import encode_config
from inrzip.errors import CorruptFile
from inrzip.grid_preview import enlarged, halvings, shrunk, size
from inrzip.network import decode_network
from inrzip.reader import Reader
from tests import page_latents
from tests.common import slow
from tests.test_grid import random_payload

SHAPE = (70, 53)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 16x16 latents in pictures of more than 1,000 samples."""
    monkeypatch.setattr(latent_tiles, "SIDE", 16)
    monkeypatch.setattr(grid_payload, "UNTILED", 1000)


def payload(channels: int) -> tuple[bytes, bytes, GridConfig]:
    """A payload with a preview, the preview's stream, and the configuration of both."""
    config, small, _ = random_payload(size(SHAPE, 3), channels, 1)
    config, stream, _ = random_payload(SHAPE, channels)
    preview = encode_config(config) + small
    return encode_config(config) + wire.varint(len(preview)) + preview + stream, small, config


def decoded(data: bytes, channels: int, **options: int) -> LatentGrid:
    picture = decode_network(data, GridConfig.number, Grid(SHAPE, channels), version=4, **options)
    assert isinstance(picture, LatentGrid)
    return picture


def whole(picture: LatentGrid) -> ndarray:
    return picture.render([np.arange(n, dtype=float) for n in picture.grid.shape])


@pytest.mark.parametrize("channels", [1, slow(3), slow(4)])
def test_payloads_are_as_the_page_says(channels: int) -> None:
    data, small, config = payload(channels)
    picture = decoded(data, channels)
    assert picture.preview is not None and picture.preview.grid.shape == (9, 7)
    fields = [config.prior, config.tone, config.step, config.spread]
    _, wanted = page_latents.decode_grids(fields, small, 9, 7, channels)
    np.testing.assert_allclose(whole(picture.preview), wanted, atol=1e-4 * max(1, np.abs(wanted).max()))
    rest, fields = data, []
    for _ in range(4):
        field, rest = page_latents.varint(rest)
        fields.append(field)
    length, rest = page_latents.varint(rest)
    _, wanted = page_latents.decode_grids(fields, rest[length:], *SHAPE, channels, 1000, 16)
    np.testing.assert_allclose(whole(picture), wanted, atol=1e-4 * max(1, np.abs(wanted).max()))


def test_older_versions_have_none() -> None:
    config, stream, _ = random_payload(SHAPE, 3)
    picture = decode_network(encode_config(config) + stream, GridConfig.number, Grid(SHAPE, 3), version=3)
    assert isinstance(picture, LatentGrid) and picture.preview is None
    with pytest.raises(CorruptFile):
        whole(decoded(encode_config(config) + stream, 3))


@pytest.mark.parametrize(
    ("shape", "n"), [((1024, 1025), 3), ((2000, 3000), 3), ((4000, 6000), 4), ((1, 2**23), 6), ((10_000, 10_000), 5)]
)
def test_previews_are_small(shape: tuple[int, int], n: int) -> None:
    assert halvings(shape) == n
    assert np.prod(size(shape, n)) <= 2**17


def test_means_of_squares() -> None:
    values = np.random.default_rng(0).normal(size=(19, 13, 2)).astype(np.float32)
    small = shrunk(values, 3)
    assert small.shape == (3, 2, 2)
    np.testing.assert_allclose(small[1, 0], values[8:16, :8].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(small[2, 1], values[16:, 8:].mean((0, 1)), rtol=1e-5)
    ramp = np.arange(64, dtype=np.float32)[:, None, None] * np.ones((1, 64, 1), np.float32)
    np.testing.assert_allclose(enlarged(shrunk(ramp, 3), 3, (8, 56), (0, 64)), ramp[8:56], atol=1e-4)


@pytest.mark.parametrize("channels", [3, 4])
def test_what_was_cut_off_is_as_the_preview(channels: int) -> None:
    data, _, _ = payload(channels)
    full = decoded(data, channels)
    assert full.preview is not None
    small, values = whole(full.preview), whole(full)
    np.testing.assert_allclose(whole(decoded(data, channels, partial=True)), values, atol=1e-5)  # nothing is missing
    lengths = [sum(map(len, parts)) for parts in full.picture._parts]  # type: ignore[attr-defined]
    begin = len(data) - sum(lengths)
    nothing = whole(decoded(data[: begin - 5], channels, partial=True))
    np.testing.assert_allclose(nothing, enlarged(small, 3, (0, 70), (0, 53)), atol=1e-5)
    short = data[: begin + int(0.8 * lengths[0])]  # ends in the finest grid of the first plane
    cut = decoded(short, channels, partial=True)
    found = whole(cut)
    lost = cut.picture._lost(0, 3)  # type: ignore[attr-defined]
    assert 0 < lost.mean() < 1
    kept = np.kron(~lost, np.ones((8, 8), bool))[:70, :53]
    kept[8:] &= kept[:-8]  # squares beside lost ones change a little at the border
    kept[:, 8:] &= kept[:, :-8]
    np.testing.assert_allclose(
        found[:30, :40][kept[8:38, 8:48]][:, :3], values[:30, :40][kept[8:38, 8:48]][:, :3], atol=1e-4
    )
    near, far = (np.abs(shrunk(v, 3) - small)[lost][:, :3].mean() for v in (found, values))
    assert near < 0.5 * far
    part = decoded(short, channels, partial=True)
    axes = [np.arange(40.0, 60.0), np.arange(20.0, 50.0)]
    np.testing.assert_allclose(part.render(axes), found[40:60, 20:50], atol=1e-4)


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> tuple[ndarray, Path]:
    image, path = skimage.data.astronaut()[:203, 150:253], tmp_path_factory.mktemp("preview") / "a.inrz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "GRID_STEPS", (40,) * 9)
        patch.setattr(plan, "GRID_STEPS_RANGE", (1.0, 1.0))
        patch.setattr(latent_tiles, "SIDE", 16)
        patch.setattr(grid_payload, "UNTILED", 1000)
        path.write_bytes(inrzip.fit(image, effort=1, quality=60).data)
    return image, path


def test_small_scales_read_the_preview_alone(
    photograph: tuple[ndarray, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image, path = photograph
    read = []
    monkeypatch.setattr(TiledGrids, "_decode", lambda self, tile: read.append(tile) or True)
    reader = Reader(path)
    small = reader.render(scale=1 / 8).astype(float)
    assert small.shape == (25, 13, 3)
    wanted = image[:200, :96].astype(float).reshape(25, 8, 12, 8, 3).mean((1, 3))
    assert np.mean((small[:, :12] - wanted) ** 2) < 0.1 * np.var(wanted)
    part = reader.render([(80, 160), (0, 48)], scale=1 / 16)
    assert part.shape == (5, 3, 3)
    wanted = image[80:160, :48].astype(float).reshape(5, 16, 3, 16, 3).mean((1, 3))
    assert np.mean((part - wanted) ** 2) < 0.1 * np.var(wanted)
    report = inrzip.decompress(path, tmp_path / "small.png", scale=0.1)
    assert "preview" in report.note and iio.imread(tmp_path / "small.png").shape == (20, 10, 3)
    assert not read
    reader.render([(0, 10), (0, 10)], scale=0.2)
    assert read


def test_a_file_that_was_cut_keeps_its_colours(photograph: tuple[ndarray, Path], tmp_path: Path) -> None:
    image, path = photograph
    data, cut = path.read_bytes(), tmp_path / "cut.inrz"
    errors = []
    for part in (0.5, 0.75, 1.0):
        cut.write_bytes(data[: int(part * len(data))])
        report = inrzip.decompress(cut, tmp_path / "cut.png", partial=True, overwrite=True)
        assert ("cut short" in report.note) == (part < 1)
        errors.append(np.mean((iio.imread(tmp_path / "cut.png").astype(float) - image) ** 2))
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] < 0.15 * np.var(image)
    with pytest.raises(CorruptFile, match="damaged or cut short"):
        cut.write_bytes(data[:30])
        inrzip.decompress(cut, tmp_path / "cut.png", partial=True, overwrite=True)
