"""Pictures of latent grids: payloads against the page, gradients, rendering, and whole fits."""

from pathlib import Path

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from jax import lax
from numpy import ndarray

import inrzip
from inrzip import checkpoint, grid_coding, grid_encoder, grid_fit, grid_payload, grid_windows, plan
from inrzip.architectures import grid_training
from inrzip.architectures.grid import GridConfig, LatentGrid, channel_groups
from inrzip.architectures.grid_layout import HYPER_LEVELS, LEVELS, N_GRIDS, NEIGHBOURS, Networks, flat, places, shapes
from inrzip.architectures.grid_render import render
from inrzip.architectures.grid_training import Layout, cost_and_gradients
from inrzip.codecs import latent_tiles
from inrzip.codecs.latent_model import NEIGHBOURS as OFFSETS
from inrzip.codecs.latent_tiles import TiledGrids
from inrzip.codecs.latents import Tile
from inrzip.errors import CorruptFile
from inrzip.grid_payload import MAIN_GRIDS, CodedPlane, Picture, encode_planes
from inrzip.priors import grid_prior
from tests import page_latents
from tests.common import ROOT, check_hostile_config, slow
from tests.test_latents import random_grids, random_networks


def random_payload(
    shape: tuple[int, int], channels: int, seed: int = 0, step: int = 60
) -> tuple[GridConfig, bytes, list[CodedPlane]]:
    rng = np.random.default_rng(seed)
    config, prior = GridConfig(1, 230, step, 70), grid_prior.load(1)
    planes = []
    for group in channel_groups(channels):
        n = len(flat(prior.networks(0, group.stop - group.start)))
        planes.append(
            CodedPlane(
                group.stop - group.start,
                np.round(rng.laplace(0, 0.7, n)).astype(np.int64),
                random_grids(places(shape), seed),
            )
        )
    return config, encode_planes(config, prior, shape, planes), planes


@pytest.mark.parametrize(("shape", "channels"), [((5, 9), 3), ((1, 1), 1), ((7, 3), 4), ((6, 5), 2)])
def test_payloads_are_as_the_page_says(shape: tuple[int, int], channels: int) -> None:
    config, stream, planes = random_payload(shape, channels)
    picture = Picture(config, stream, shape, channels)
    values = picture.render((0, shape[0]), (0, shape[1]))
    fields = [config.prior, config.tone, config.step, config.spread]
    latents, wanted = page_latents.decode_grids(fields, stream, *shape, channels)
    for read, plane in zip(latents, planes, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(read, plane.grids, strict=True))
    assert values.shape == wanted.shape == (*shape, channels)
    np.testing.assert_allclose(values, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("name", ["image_grid", "image_16bit_grid", "image_alpha_grid"])
def test_fitted_files_are_as_the_page_says(name: str) -> None:
    """The page's decoder, which is NumPy and Python's integers, reads the same latents and samples from real files."""
    with inrzip.Reader(ROOT / "tests" / "golden" / "v1" / f"{name}.inrz") as reader:
        rest, fields, spec, samples = reader.container.segment(0), [], reader.spec, reader[...]
        coded = reader.segment(0)
    for _ in range(4):
        field, rest = page_latents.varint(rest)
        fields.append(field)
    height, width = spec.shape
    latents, values = page_latents.decode_grids(fields, rest, height, width, spec.channels)
    assert isinstance(coded, LatentGrid) and isinstance(coded.picture, Picture)
    for level, number in MAIN_GRIDS.items():
        rows, columns = latents[0][number].shape
        plane = coded.picture._plane(0)
        assert plane is not None
        assert np.array_equal(plane.window(level, (0, rows), (0, columns)) / plane.step, latents[0][number])
    wanted = np.clip(values, 0, 1) * (spec.high - spec.low) + spec.low
    assert np.abs(wanted - samples.reshape(wanted.shape)).max() < 0.51 + 1e-4 * (spec.high - spec.low)


def test_weights_are_limited_as_the_page_says() -> None:
    config, stream, planes = random_payload((4, 5), 1, step=100)
    fields = [config.prior, config.tone, config.step, config.spread]
    latents, _ = page_latents.decode_grids(fields, stream, 4, 5, 1)
    assert all(np.array_equal(a, b) for a, b in zip(latents[0], planes[0].grids, strict=True))


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 8x8 latents in pictures of more than 100 samples."""
    monkeypatch.setattr(latent_tiles, "SIDE", 8)
    monkeypatch.setattr(grid_payload, "UNTILED", 100)


@pytest.mark.parametrize(("shape", "channels"), [((19, 13), 3), ((8, 16), 4), ((2, 61), 1)])
def test_tiles_are_as_the_page_says(shape: tuple[int, int], channels: int, small_tiles: None) -> None:
    config, stream, planes = random_payload(shape, channels)
    picture = Picture(config, stream, shape, channels)
    fields = [config.prior, config.tone, config.step, config.spread]
    latents, wanted = page_latents.decode_grids(fields, stream, *shape, channels, 100, 8)
    for read, plane in zip(latents, planes, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(read, plane.grids, strict=True))
    values = picture.render((0, shape[0]), (0, shape[1]))
    np.testing.assert_allclose(values, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))


def test_a_region_of_tiles_is_that_of_the_whole(small_tiles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (70, 53)
    config, stream, _ = random_payload(shape, 4)
    whole = Picture(config, stream, shape, 4).render((0, 70), (0, 53))
    read: list[Tile] = []

    def spy(self: TiledGrids, tile: Tile) -> bool:
        read.append(tile)
        return decode(self, tile)

    decode = TiledGrids._decode
    monkeypatch.setattr(TiledGrids, "_decode", spy)
    for rows, columns in (((0, 3), (0, 53)), ((20, 21), (30, 31)), ((33, 64), (7, 50)), ((69, 70), (52, 53))):
        picture = Picture(config, stream, shape, 4)
        part = picture.render(rows, columns)
        np.testing.assert_allclose(part, whole[rows[0] : rows[1], columns[0] : columns[1]], atol=1e-5)
        assert len(read) == len(set(read)) * 2  # of two planes, each once
        read.clear()
        picture.render(rows, columns)
        assert not read
    Picture(config, stream, shape, 3 + 1).render((20, 21), (30, 31))
    finest = [tile for tile in read if tile.number == N_GRIDS - 1]
    assert len(finest) == 2 * 2 * 2  # of 63 tiles those that hold something within 4 samples
    np.testing.assert_allclose(picture.render((0, 70), (0, 53)), whole, atol=1e-5)


def test_damaged_tiles(small_tiles: None) -> None:
    shape = (40, 40)
    config, stream, _ = random_payload(shape, 3)
    whole = Picture(config, stream, shape, 3).render((0, 40), (0, 40))
    for bad in (stream[:-1], b"", stream + b"1", b"\x80" + stream, stream[: len(stream) // 2]):
        with pytest.raises(CorruptFile):
            Picture(config, bad, shape, 3).render((0, 40), (0, 40))
    flipped = bytearray(stream)
    flipped[-30:] = b"\xff" * 30
    with pytest.raises(CorruptFile):
        Picture(config, bytes(flipped), shape, 3).render((0, 40), (0, 40))
    cut = Picture(config, stream[: int(0.8 * len(stream))], shape, 3, partial=True)
    values = cut.render((0, 40), (0, 40))
    np.testing.assert_allclose(values[:4, :4], whole[:4, :4], atol=1e-5)
    assert not np.allclose(values[-1, -1], whole[-1, -1], atol=1e-3)
    with pytest.raises(CorruptFile):
        Picture(config, stream[:3], shape, 3, partial=True).render((0, 1), (0, 1))


def test_pictures_of_older_versions_have_no_tiles(small_tiles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (19, 13)
    _, tiled, _ = random_payload(shape, 1)
    monkeypatch.setattr(grid_payload, "UNTILED", 1000)
    config, stream, _ = random_payload(shape, 1)
    assert stream != tiled
    wanted = Picture(config, stream, shape, 1).render((0, 19), (0, 13))
    monkeypatch.setattr(grid_payload, "UNTILED", 100)
    found = Picture(config, stream, shape, 1, version=2).render((0, 19), (0, 13))
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(Picture(config, tiled, shape, 1).render((0, 19), (0, 13)), wanted, atol=1e-5)


def test_a_region_is_that_of_the_whole() -> None:
    shape = (70, 53)
    config, stream, _ = random_payload(shape, 4)
    whole = Picture(config, stream, shape, 4).render((0, 70), (0, 53))
    for rows, columns in (((0, 3), (0, 53)), ((20, 21), (30, 31)), ((33, 64), (7, 50)), ((69, 70), (52, 53))):
        part = Picture(config, stream, shape, 4).render(rows, columns)
        np.testing.assert_allclose(part, whole[rows[0] : rows[1], columns[0] : columns[1]], atol=1e-5)


def test_a_stream_that_was_cut_gives_what_is_there() -> None:
    shape = (70, 53)
    config, stream, _ = random_payload(shape, 4)
    whole = Picture(config, stream, shape, 4)
    cut = Picture(config, stream[: len(stream) // 3], shape, 4, partial=True)
    values = cut.render((0, 70), (0, 53))
    assert values.shape == (70, 53, 4)
    assert np.all(values[..., 3] == 1)
    np.testing.assert_allclose(values[:10, :, :3], whole.render((0, 10), (0, 53))[..., :3], atol=1e-5)
    assert not np.allclose(values[..., :3], whole.render((0, 70), (0, 53))[..., :3], atol=0.01)
    with pytest.raises(CorruptFile):
        Picture(config, stream[:5], shape, 4, partial=True).render((0, 1), (0, 1))


def test_damage_is_told() -> None:
    shape = (40, 40)
    config, stream, _ = random_payload(shape, 3)
    for bad in (stream[: len(stream) // 2], b"", stream + b"123456789"):
        with pytest.raises(CorruptFile):
            Picture(config, bad, shape, 3).render((0, 40), (0, 40))
    config, stream, _ = random_payload(shape, 4)
    picture = Picture(config, stream[: len(stream) // 3], shape, 4)  # ends within the first of two planes
    with pytest.raises(CorruptFile):
        picture.render((0, 3), (0, 3))
    with pytest.raises(CorruptFile, match="prior"):
        Picture(GridConfig(99, 256, 64, 64), stream, shape, 3)


def test_prior_round_trip() -> None:
    prior = grid_prior.load(1)
    again = grid_prior.loads(grid_prior.dumps(prior))
    for one, other in ((prior.mean, again.mean), (prior.spread, again.spread), (prior.steps, again.steps)):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)
    for channels in (1, 3):
        networks = prior.networks(256, channels)
        wanted = jax.tree.leaves(shapes(channels), is_leaf=lambda n: isinstance(n, tuple) and isinstance(n[0], int))
        assert [array.shape for array in jax.tree.leaves(networks)] == list(wanted)
        assert len(prior.scales(64, 64, channels)) == len(flat(networks))


def float_networks(seed: int) -> Networks:
    return jax.tree.map(jnp.asarray, grid_prior.as_floats(random_networks(seed, 0.2)))


def plain_stack(grids: list[jax.Array], networks: Networks) -> jax.Array:
    """All levels at full size; a level's own filters as convolutions."""
    stack = jnp.zeros(())
    for place, grid in zip(places((1, 1)), grids, strict=True):
        if place.hyper:
            continue
        if place.level == LEVELS - 1:
            stack = grid[None]
            continue
        taps = networks.filters[place.level]
        rows, columns = (jnp.concatenate([t[:0:-1], t]) for t in taps)
        padded = jnp.pad(grid, 3, mode="edge")[None, None]
        own = lax.conv_general_dilated(padded, jnp.outer(rows, columns)[None, None], (1, 1), "VALID")[0]
        wider = doubled(doubled(stack, networks.taps[place.level, 1], 2), networks.taps[place.level, 0], 1)
        stack = jnp.concatenate([own, wider[:, : grid.shape[0], : grid.shape[1]]])
    return stack


def doubled(planes: jax.Array, taps: jax.Array, axis: int) -> jax.Array:
    """Twice as many samples along an axis, by a convolution with zeros in between."""
    moved = jnp.moveaxis(planes, axis, -1)
    padded = jnp.pad(moved, [(0, 0), (0, 0), (2, 2)], mode="edge").reshape(-1, 1, moved.shape[-1] + 4)
    # a sample gives, from 3 before its pair to 3 after it: the odd taps to the far, the even to the near
    kernel = jnp.stack([taps[3], taps[2], taps[1], taps[0], taps[0], taps[1], taps[2], taps[3]])
    out = lax.conv_general_dilated(padded, kernel[None, None], (1,), [(7, 7)], lhs_dilation=(2,))
    n = moved.shape[-1]
    start = 4 + 3
    return jnp.moveaxis(out[..., start : start + 2 * n].reshape(*moved.shape[:-1], 2 * n), -1, axis)


def plain_loss(
    layout: Layout, networks: Networks, atlas: jax.Array, target: ndarray, step: float, price: float
) -> tuple[jax.Array, ndarray]:
    """The same cost by plain means, for `jax.grad`; and the samples."""
    grids = layout.split(atlas)
    stack = jnp.pad(plain_stack([grid * step for grid in grids], networks), ((0, 0), (1, 1), (1, 1)), mode="edge")

    def every(weights: jax.Array, planes: jax.Array, bias: jax.Array) -> jax.Array:
        return jnp.einsum("oi,iyx->oyx", weights, planes) + bias[:, None, None]

    def correlate(planes: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(planes[None], kernel, (1, 1), "VALID")[0] + bias[:, None, None]

    wide = jax.nn.relu(every(networks.wide, stack, networks.wide_bias))
    trunk = every(networks.narrow, wide, networks.narrow_bias) + jnp.einsum("oi,iyx->oyx", networks.straight, stack)
    samples = trunk[:, 1:-1, 1:-1] + correlate(trunk, networks.kernel, networks.kernel_bias)

    features = grid_training._features(layout, networks._asdict(), atlas)
    bits = jnp.float32(0)
    for place, (top, left), grid in zip(layout.places, layout.corners, grids, strict=True):
        height, width = place.shape
        padded = jnp.pad(grid, ((4, 0), (4, 4)))
        seen = [padded[4 + y : 4 + y + height, 4 + x : 4 + x + width] for y, x in OFFSETS[:NEIGHBOURS]]
        inputs = jnp.concatenate([jnp.stack(seen), features[:, top : top + height, left : left + width]])
        state = inputs
        for weights, bias in zip(networks.hidden, networks.hidden_bias, strict=True):
            state = jax.nn.relu(every(weights, state, bias) + state)
        out = every(networks.output, state, networks.output_bias) + jnp.einsum("oi,iyx->oyx", networks.linear, inputs)
        bits += jnp.sum(grid_training._bits(out[0], out[1], grid))
    return jnp.sum((samples - target) ** 2) + price * bits, samples


@pytest.mark.parametrize("shape", [(33, 7), slow((1, 5))])
def test_blocked_gradients_are_those_of_plain_code(shape: tuple[int, int]) -> None:
    layout, rng = Layout(shape), np.random.default_rng(1)
    networks = float_networks(2)
    atlas = jnp.asarray(rng.normal(0, 3, (layout.rows, layout.columns)), jnp.float32) * layout.mask
    target = rng.random((3, *shape), np.float32)
    step, price = 0.1, 0.01
    cost, by_networks, by_latents = jax.jit(cost_and_gradients, static_argnums=0)(
        layout, networks, atlas, jnp.asarray(target), jnp.float32(step), jnp.float32(price)
    )
    (loss, samples), wanted = jax.jit(jax.value_and_grad(plain_loss, (1, 2), has_aux=True), static_argnums=0)(
        layout, networks, atlas, target, step, price
    )
    assert float(cost.squares + price * cost.bits) == pytest.approx(float(loss), rel=1e-5)
    for mine, theirs in zip(jax.tree.leaves(by_networks), jax.tree.leaves(wanted[0]), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4 * float(jnp.abs(theirs).max()) + 1e-6)
    np.testing.assert_allclose(by_latents * layout.mask, wanted[1] * layout.mask, atol=1e-4)

    mains = {
        p.level: np.asarray(g) * np.float32(step)
        for p, g in zip(layout.places, layout.split(atlas), strict=True)
        if not p.hyper
    }
    decoded = render(
        jax.tree.map(np.asarray, networks),
        lambda level, rows, columns: mains[level][rows[0] : rows[1], columns[0] : columns[1]],
        shape,
        (0, shape[0]),
        (0, shape[1]),
    )
    np.testing.assert_allclose(np.moveaxis(decoded, -1, 0), samples, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5000), (17, 23), (512, 768), (100, 1)])
def test_layouts_keep_grids_apart(shape: tuple[int, int]) -> None:
    layout = Layout(shape)
    assert layout.mask.sum() == sum(np.prod(place.shape) for place in layout.places)
    for y, x in OFFSETS:
        moved = np.roll(layout.mask, (-y, -x), (0, 1))
        assert moved.shape == layout.mask.shape
    for (top, left), place in zip(layout.corners, layout.places, strict=True):
        around = layout.mask[top - 4 : top, max(left - 4, 0) : left + place.shape[1] + 4]
        assert not around.any()
        assert not layout.mask[top : top + place.shape[0], left + place.shape[1] : left + place.shape[1] + 4].any()
    assert len({place.level for place in layout.places}) == LEVELS and len(HYPER_LEVELS) == 3


def smooth(shape: tuple[int, ...], peak: int, dtype: type) -> ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = [np.sin(x / (5 + c) + y / 9) * 0.3 + 0.5 + 0.1 * ((x + c) // 8 % 2) for c in range(shape[2])]
    return (np.stack(waves, -1) * peak).astype(dtype)


def fit_colours() -> tuple[ndarray, inrzip.Fitted]:
    image = smooth((48, 40, 3), 255, np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "GRID_STEPS", (40,) * 9)
        return image, inrzip.fit(image, "grid", effort=1, target_size=600)


@pytest.fixture(scope="module")
def colours() -> tuple[ndarray, inrzip.Fitted]:
    return fit_colours()


def test_a_fit_reaches_a_size(colours: tuple[ndarray, inrzip.Fitted]) -> None:
    image, fitted = colours
    assert 0.9 * 600 <= fitted.n_bytes <= 600
    decoded = np.asarray(fitted.reader)
    assert decoded.shape == image.shape and decoded.dtype == image.dtype
    error = np.mean((decoded.astype(float) - image) ** 2)
    assert fitted.quality["psnr_db"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-6)
    assert fitted.quality["psnr_db"] > 24
    np.testing.assert_array_equal(fitted.reader[10:20, 5:30], decoded[10:20, 5:30])


def test_a_file_that_was_cut(colours: tuple[ndarray, inrzip.Fitted], tmp_path: Path) -> None:
    image, fitted = colours
    cut, out = tmp_path / "cut.inrz", tmp_path / "cut.png"
    cut.write_bytes(fitted.data[:-200])
    with pytest.raises(CorruptFile, match="cut short"):
        inrzip.decompress(cut, out)
    report = inrzip.decompress(cut, out, partial=True)
    assert report.shape == image.shape and "cut short" in report.note
    whole = tmp_path / "whole.inrz"
    whole.write_bytes(fitted.data)
    assert inrzip.decompress(whole, out, partial=True, overwrite=True).note == ""


def test_the_same_bytes_again(colours: tuple[ndarray, inrzip.Fitted]) -> None:
    assert fit_colours()[1].data == colours[1].data


@pytest.mark.parametrize(("channels", "dtype", "peak"), [(1, np.uint16, 65535), slow(4, np.uint8, 255)])
def test_other_samples(channels: int, dtype: type, peak: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "GRID_STEPS", (40,) * 9)
    image = smooth((24, 40, channels), peak, dtype)
    image = image[..., 0] if channels == 1 else image
    fitted = inrzip.fit(image, effort=1, target_psnr=30)
    decoded = np.asarray(fitted.reader)
    assert decoded.shape == image.shape and decoded.dtype == dtype
    assert fitted.quality["psnr_db"] >= 30
    assert np.mean((decoded.astype(float) - image) ** 2) < (peak / 30) ** 2


def test_windows_cover_a_picture() -> None:
    for shape in ((200, 40_000), (3000, 2000), (4500, 3), (10_000, 10_000)):
        found = grid_windows.windows(shape)
        assert [row for window in found for row in range(*window.own)] == list(range(shape[0]))
        for window in found:
            assert all(row % grid_windows.ALIGNMENT == 0 for row in (window.own[0], window.seen[0]))
            assert window.seen[0] == max(window.own[0] - grid_windows.BESIDE, 0)
            assert window.seen[1] == min(window.own[1] + grid_windows.BESIDE, shape[0])


def test_windows_are_cut_and_pasted() -> None:
    layout = Layout((300, 30))
    whole = np.random.default_rng(0).normal(size=(layout.rows, layout.columns)).astype(np.float32) * layout.mask
    again = np.zeros_like(whole)
    for window in (grid_windows.Window((0, 64), (0, 128)), grid_windows.Window((64, 300), (0, 300))):
        part = Layout((window.seen[1] - window.seen[0], 30))
        atlas = grid_windows.cut(layout, whole, window, part)
        for place, grid, own in zip(part.places, layout.split(whole), part.split(atlas), strict=True):
            first = window.seen[0] >> place.level
            np.testing.assert_array_equal(own, grid[first : first + place.shape[0]])
        grid_windows.paste(layout, again, window, part, atlas)
        free = part.split(grid_windows.free(window, part))
        assert [int((grid[:, 0] == 0).sum()) for grid in free] == [
            (window.own[0] - window.seen[0]) >> place.level for place in part.places
        ]
    np.testing.assert_array_equal(again, whole)


@pytest.mark.slow
def test_large_pictures_have_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    image = skimage.data.astronaut()[:256, 150:230]
    monkeypatch.setattr(plan, "GRID_STEPS", (40,) * 9)
    at_once = inrzip.fit(image, effort=1, quality=60)
    monkeypatch.setattr(grid_windows, "AT_ONCE", 1000)
    monkeypatch.setattr(grid_windows, "SAMPLE_SIDE", 32)
    monkeypatch.setattr(grid_coding, "STEP_OFFSETS", grid_coding.PILOT_OFFSETS)  # this one is small after all
    fitted = inrzip.fit(image, effort=1, quality=60)
    assert fitted.reader.container.header.n_segments == 1
    assert fitted.quality["psnr_db"] > at_once.quality["psnr_db"] - 0.5
    assert fitted.n_bytes < 1.1 * at_once.n_bytes
    decoded = np.asarray(fitted.reader)
    np.testing.assert_array_equal(fitted.reader[60:70, 3:9], decoded[60:70, 3:9])
    squares = np.mean((decoded.astype(float) - image) ** 2, (1, 2))
    seams = [row for row in range(64, 256, 64)]
    at_seams, near = ([squares[row - n : row + n].mean() for row in seams] for n in (1, 16))
    assert np.mean(at_seams) < 1.3 * np.mean(near)


@pytest.mark.parametrize(("at_once", "last_call"), [slow(10**6, 4), (1000, 20)])
def test_a_fit_that_was_broken_off_goes_on(
    at_once: int, last_call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, broken, unbroken = (tmp_path / name for name in ("a.png", "b.inrz", "c.inrz"))
    iio.imwrite(source, skimage.data.astronaut()[:192, 150:190])
    monkeypatch.setattr(plan, "GRID_STEPS", (30,) * 9)
    monkeypatch.setattr(grid_windows, "AT_ONCE", at_once)
    monkeypatch.setattr(grid_windows, "SAMPLE_SIDE", 32)
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(grid_encoder, "SECONDS_BETWEEN_REPORTS", 0.0)
    run, n_calls = grid_fit.run, 0

    def breaking(*given: object) -> object:
        nonlocal n_calls
        n_calls += 1
        if n_calls == last_call:
            raise RuntimeError("broken off")
        return run(*given)

    with monkeypatch.context() as patch:
        patch.setattr(grid_fit, "run", breaking)
        with pytest.raises(RuntimeError, match="broken off"):
            inrzip.compress(source, broken, effort=1, quality=60)
    assert not broken.exists()
    assert inrzip.compress(source, broken, effort=1, quality=60).resumed
    assert not inrzip.compress(source, unbroken, effort=1, quality=60).resumed
    assert broken.read_bytes() == unbroken.read_bytes()


@pytest.mark.slow
def test_large_pictures_reach_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    image = skimage.data.astronaut()[:256, 150:230]
    monkeypatch.setattr(grid_windows, "AT_ONCE", 1000)
    monkeypatch.setattr(grid_windows, "SAMPLE_SIDE", 32)
    assert 0.9 * 2500 <= inrzip.fit(image, effort=1, target_size=2500).n_bytes <= 2500


@pytest.mark.parametrize(
    "fields",
    [{"prior": 2**40}, {"prior": 0}, {"tone": 512}, {"step": 128}, {"spread": 2**40}],
    ids=lambda fields: next(iter(fields)),
)
def test_hostile_configurations(fields: dict[str, int]) -> None:
    sound = {"prior": 1, "tone": 256, "step": 64, "spread": 64}
    check_hostile_config(GridConfig, sound | fields, (20, 30))
    check_hostile_config(GridConfig, sound, (3, 20, 30))
