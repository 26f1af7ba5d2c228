"""`inrzip view` and exported pages in a real browser: what is on their canvases is what the reader decodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

import inrzip
from tests.common import picture, random_file
from tests.viewing import GOLDEN, browser, page_at, seen, served, settled, wait, zoom_to


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


def whole(path: Path, scale: float) -> np.ndarray:
    with inrzip.open(path) as reader:
        return reader.render(scale=scale)


@pytest.mark.parametrize("recipe", ["siren", "grid"])
def test_zooming_evaluates_anew(chromium: Any, recipe: str) -> None:
    """At 1, 8 and 16 pixels for a sample the canvas has what the reader renders at that scale, to the bit."""
    path = GOLDEN / f"image_{recipe}.inrz"
    with served([path]) as (address, _), page_at(chromium, address) as page:
        settled(page)
        for zoom in (1, 8):
            zoom_to(page, zoom)
            np.testing.assert_array_equal(seen(page)[..., :3], whole(path, zoom))
        page.keyboard.press("+")
        settled(page)
        assert page.evaluate("stage.view.zoom()") == pytest.approx(16)
        np.testing.assert_array_equal(seen(page)[..., :3], whole(path, 16))
        assert "1600 %" in page.inner_text(".readout")


def test_wheel_and_dragging(chromium: Any) -> None:
    """What is under the mouse stays there while zooming; a part is evaluated, not the whole."""
    path = GOLDEN / "image_siren.inrz"
    with served([path]) as (address, _), page_at(chromium, address) as page:
        settled(page)
        zoom_to(page, 16)
        box = page.locator("canvas").bounding_box()
        page.mouse.move(box["x"] + 300, box["y"] + 250)
        under = page.evaluate("stage.view.under")
        page.mouse.wheel(0, -400 * 2)
        settled(page)
        assert page.evaluate("stage.view.zoom()") == pytest.approx(64)
        page.mouse.move(box["x"] + 300, box["y"] + 250)
        assert page.evaluate("stage.view.under") == under
        before = page.evaluate("[stage.view.look.x, stage.view.look.y]")
        page.mouse.down()
        page.mouse.move(box["x"] + 428, box["y"] + 250, steps=3)
        page.mouse.up()
        after = page.evaluate("[stage.view.look.x, stage.view.look.y]")
        assert (before[0] - after[0]) * 17 == pytest.approx(2) and before[1] == after[1]
        settled(page)
        tiles = page.evaluate("[...stage.view.layer('decoded').tiles.values()].map((tile) => tile.bounds)")
        sizes = [(b - a) * (d - c) for a, b, c, d in tiles]
        assert max(sizes) <= 16 < 21 * 17


def test_comparing(chromium: Any, tmp_path: Path) -> None:
    """Original, wipe, side by side and error map beside a picture some of whose samples were changed."""
    path = GOLDEN / "image_siren.inrz"
    samples = whole(path, 1)
    samples[5:9, 4:8] ^= 64
    original = tmp_path / "original.png"
    iio.imwrite(original, samples)
    with served([path], against=original) as (address, _), page_at(chromium, address) as page:
        settled(page)
        page.select_option("[aria-label=Compare]", "original")
        zoom_to(page, 8)
        np.testing.assert_array_equal(seen(page)[..., :3], samples.repeat(8, 0).repeat(8, 1))
        page.keyboard.press("c")
        assert page.input_value("[aria-label=Compare]") == "side"
        page.keyboard.press("c")
        settled(page)
        half = seen(page)[..., :3]
        np.testing.assert_array_equal(half[:, :64], samples.repeat(8, 0).repeat(8, 1)[:, :64])
        np.testing.assert_array_equal(half[:, 72:], whole(path, 8)[:, 72:])
        page.keyboard.press("c")
        settled(page)
        errors = seen(page)[..., :3].sum(-1)
        assert errors[5 * 8 : 9 * 8, 4 * 8 : 8 * 8].min() > 600
        assert errors[: 5 * 8].max() < 20
        page.click("text=Measure quality")
        wait(page, "document.body.innerText.includes('psnr db')")


def test_videos(chromium: Any) -> None:
    """Frames by keys and slider, playing with sound to the end, muting."""
    path = GOLDEN / "video_hnerv_copied_sound.inrz"
    with inrzip.open(path) as reader:
        frames = reader.render()
    with served([path]) as (address, _), page_at(chromium, address) as page:
        wait(page, "stage.shownFrame === 0")
        zoom_to(page, 1)
        np.testing.assert_array_equal(seen(page)[..., :3], frames[0])
        page.keyboard.press(".")
        wait(page, "stage.shownFrame === 1")
        settled(page)
        np.testing.assert_array_equal(seen(page)[..., :3], frames[1])
        zoom_to(page, 4)
        with inrzip.open(path) as reader:
            np.testing.assert_array_equal(seen(page)[..., :3], reader.render(frames=(1, 2), scale=4)[0])
        page.locator("[aria-label=Position]").fill(str(len(frames) - 1))
        wait(page, f"stage.shownFrame === {len(frames) - 1}")
        wait(page, "stage.samples && stage.samples.whole")
        page.keyboard.press("m")
        assert page.evaluate("stage.player.muted")
        page.keyboard.press("m")
        page.keyboard.press("Home")
        page.keyboard.press(" ")
        wait(page, "stage.player.context && stage.player.context.state === 'running' && stage.player.began !== null")
        wait(page, "!stage.transport.playing")
        assert page.evaluate("stage.transport.time") == pytest.approx(page.evaluate("stage.transport.length"))
        wait(page, f"stage.shownFrame === {len(frames) - 1}")


def test_sounds(chromium: Any) -> None:
    """The wave as it is decoded, between its samples when seen closely, and heard."""
    path = GOLDEN / "audio_siren.inrz"
    with inrzip.open(path) as reader:
        full, n = (reader.spec.peak + 1) / 2, reader.spec.shape[0]
        samples = reader.render() / full
    with served([path]) as (address, _), page_at(chromium, address) as page:
        wait(page, "stage.complete && !stage.drawing")
        found = page.evaluate(f"[...stage.samples('decoded').channel(0, 0, {n})]")
        np.testing.assert_allclose(found, samples[:, 0], atol=1e-6)
        heard = page.evaluate("[...stage.context.getImageData(0, 0, 400, 200).data]")
        assert len({tuple(heard[i : i + 3]) for i in range(0, len(heard), 4)}) > 2
        page.evaluate("stage.see(100, 130)")
        fine = wait(page, "stage.fine && stage.fine.start === 100 && [...stage.fine.values]")
        scale = page.evaluate("stage.fine.scale")
        assert scale > 1
        with inrzip.open(path) as reader:
            closely = reader.render([(100, 131)], scale=scale) / full
        np.testing.assert_allclose(fine, closely.ravel(), atol=1e-6)
        page.keyboard.press("5")
        assert page.evaluate("stage.transport.time") == pytest.approx(n / 2 / page.evaluate("stage.rate"), rel=1e-3)
        page.keyboard.press(" ")
        peak = """() => { const node = stage.player.analyser, data = new Float32Array(node.fftSize);
          node.getFloatTimeDomainData(data); return Math.max(...data.map(Math.abs)); }"""
        assert wait(page, f"({peak})()") > 0
        wait(page, "!stage.transport.playing")


def test_shapes(chromium: Any) -> None:
    """A surface is drawn, turns, and is refined."""
    path = GOLDEN / "shape_siren.inrz"
    with inrzip.open(path) as reader:
        mesh = reader.mesh()
    drawn = """() => { const {gl} = stage.solid, {width, height} = stage.solid.canvas;
      const data = new Uint8Array(4 * width * height);
      gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, data); let n = 0, sum = 0;
      for (let i = 0; i < data.length; i += 4) if (data[i] > 40) { n++; sum += data[i] * (i % 1009); }
      return [n, sum]; }"""
    with served([path]) as (address, _), page_at(chromium, address) as page:
        wait(page, "stage.complete && !stage.solid.drawing")
        assert f"{len(mesh.faces):,} faces" in page.inner_text(".readout")
        count, before = page.evaluate(drawn)
        assert count > 2000
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(300)
        assert page.evaluate(drawn)[1] != before
        page.keyboard.press("+")
        page.wait_for_timeout(300)
        assert page.evaluate(drawn)[0] > count


def test_volumes(chromium: Any) -> None:
    """Slices along each axis, and all of it from outside."""
    path = GOLDEN / "volume_4d_siren.inrz"
    with inrzip.open(path) as reader:
        spec, samples = (
            reader.spec,
            np.asarray(reader).astype(float).reshape((*reader.spec.shape, reader.spec.channels)),
        )
    shown = np.rint(np.clip((samples - spec.low) / (spec.high - spec.low) * 255, 0, 255))
    with served([path]) as (address, _), page_at(chromium, address) as page:
        for axis in (1, 3):
            page.select_option("[aria-label=View]", str(axis))
            page.locator("[aria-label=Position]").fill("1")
            wait(page, "stage.shownSlice === 1")
            zoom_to(page, 1)
            expected = np.take(shown[0], 1, axis - 1)
            found = seen(page)[..., : 3 if spec.channels > 2 else 1]
            np.testing.assert_array_equal(found[..., : expected.shape[-1]], expected[..., : found.shape[-1]])
        page.select_option("[aria-label=View]", "max")
        wait(page, "stage.complete && !stage.solid.drawing")
        lit = """() => { const {gl} = stage.solid, data = new Uint8Array(4 * 100 * 100);
          const x = gl.drawingBufferWidth / 2 - 50, y = gl.drawingBufferHeight / 2 - 50;
          gl.readPixels(x, y, 100, 100, gl.RGBA, gl.UNSIGNED_BYTE, data);
          return Math.max(...data.filter((_, i) => i % 4 === 0)); }"""
        assert page.evaluate(lit) > 60


def test_several_files_and_broken_ones(chromium: Any, tmp_path: Path) -> None:
    """Tabs keep the place that is looked at; a grid shows all; damage is told where the picture would be."""
    data = bytearray((GOLDEN / "image_siren.inrz").read_bytes())
    broken = tmp_path / "<img src=x onerror=alert(1)>.inrz"
    broken.write_bytes(data[:-9])
    paths = [GOLDEN / "image_siren.inrz", GOLDEN / "image_grid.inrz", broken]
    with served(paths) as (address, _), page_at(chromium, address) as page:
        settled(page)
        zoom_to(page, 8)
        page.evaluate("stage.view.lookAt(0.25, 0.5)")
        page.keyboard.press("]")
        settled(page)
        assert "image_grid" in page.title()
        assert page.evaluate("[stage.view.look.x, stage.view.zoom()]") == [0.25, 8]
        page.keyboard.press("g")
        wait(page, "document.querySelectorAll('.stage').length === 3")
        told = page.inner_text(".error")
        assert "cannot be shown" in told and "<img src=x" in told
        assert page.evaluate("document.querySelectorAll('main img').length") == 0
        for size in ({"width": 360, "height": 640}, {"width": 1280, "height": 800}):
            page.set_viewport_size(size)
            page.wait_for_timeout(100)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# ---- exported pages ----


def integers_of(path: Path) -> list[list[np.ndarray]]:
    """Latents of each plane, or the integers of each tensor, of a plain file."""
    from inrzip import wire
    from inrzip.architectures.base import Grid, parameters
    from inrzip.architectures.grid import GridConfig
    from inrzip.codecs.weights import decode_tensors
    from inrzip.configuration import decode_config
    from inrzip.grid_payload import Picture
    from inrzip.recipes import ARCHITECTURES

    with inrzip.open(path) as reader:
        header, payload = reader.container.header, reader.container.segment(0)
        height, width = reader.spec.shape
        grid = Grid((height, width), reader.spec.channels)
    cursor = wire.Cursor(payload)
    config = decode_config(ARCHITECTURES[header.architecture], cursor, grid)
    rest = payload[cursor.position :]
    if isinstance(config, GridConfig):
        coded = Picture(config, rest, (height, width), grid.channels)
        coded.render((0, height), (0, width))
        return [[np.asarray(g).ravel() for g in plane.grids.grids] for _, plane in sorted(coded._planes.items())]
    shapes = [leaf.shape for leaf in parameters(config.structure(grid))]
    return [[tensor.integers.ravel() for tensor in decode_tensors(rest, shapes, header.version)]]


def check_exported(chromium: Any, source: Path, page_path: Path) -> None:
    """Equal integers, and pixels within one level, at a larger scale too."""
    from inrzip.viewer.export import export_page

    export_page(source, page_path)
    with page_at(chromium, page_path.as_uri(), 400, 300) as page:
        wait(page, "window.view && !view.drawing")
        answer = page.evaluate(
            "decoders.ask({ integers: true }).then(({ integers }) =>"
            " JSON.stringify(integers, (_, v) => ArrayBuffer.isView(v) ? [...v] : v))"
        )
        [found] = json.loads(answer)
        expected = integers_of(source)
        for mine, theirs in zip(expected, found if isinstance(found[0][0], list) else [found], strict=True):
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(a, b)
        for zoom in (1, 4):
            page.evaluate(f"view.zoomAt({zoom} / view.zoom())")
            page.wait_for_timeout(80)
            wait(page, "view.idle && !view.drawing")
            page.wait_for_timeout(40)
            pixels, decoded = seen(page, "view"), whole(source, zoom)
            if decoded.dtype == np.uint16:
                decoded = np.rint(decoded / 257)
            if decoded.shape[-1] in (1, 3):
                shown = pixels[..., : decoded.shape[-1]].astype(int)
                assert np.abs(shown - decoded).max() <= 1


@pytest.mark.parametrize(
    "name", ["grid", "siren", "finer", "gauss", "relu", "wire", "bacon", "poly", "16bit_grid", "alpha_grid"]
)
def test_exported_pages_decode_golden_files(chromium: Any, tmp_path: Path, name: str) -> None:
    check_exported(chromium, GOLDEN / f"image_{name}.inrz", tmp_path / "page.html")


@pytest.mark.parametrize(("mode", "rows"), [(1, 40), (2, 40), (3, 12)])
def test_exported_pages_decode_finr(chromium: Any, tmp_path: Path, mode: int, rows: int) -> None:
    import dataclasses

    from inrzip.architectures.finr import FinrConfig
    from inrzip.signal import Kind, Spec

    class Wanted(FinrConfig):
        @classmethod
        def solve(cls, grid: Any, n_parameters: int, **settings: int) -> Any:
            return FinrConfig.solve(grid, n_parameters, mode=mode, **settings)

    assert dataclasses.is_dataclass(Wanted)
    spec = Spec(Kind.IMAGE, (rows, 23), 3, "u1", 0, 255)
    source = tmp_path / "finr.inrz"
    source.write_bytes(random_file(spec, Wanted))
    check_exported(chromium, source, tmp_path / "page.html")


@pytest.mark.parametrize("codec", ["tables", "cabac", "trellis"])
def test_exported_pages_decode_codecs(chromium: Any, tmp_path: Path, quick: None, codec: str) -> None:
    found = inrzip.fit(picture(20, 24, 3), "siren", codec=codec, target_size=700, effort=1)
    source = tmp_path / "coded.inrz"
    source.write_bytes(found.data)
    check_exported(chromium, source, tmp_path / "page.html")
