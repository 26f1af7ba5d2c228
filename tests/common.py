"""What several test files need: the contract of an architecture as one function, and small signals of every kind."""

from __future__ import annotations

import contextlib
import functools
import json
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float, Shaped
from numpy import ndarray

ROOT = Path(__file__).resolve().parent.parent
QUICK_STEPS = 24
QUICK_SDF_SAMPLES = 4_000
QUICK_GRID = 24

HOSTILE_SECONDS = 2.0
HOSTILE_BYTES = 64 << 20


def make_quick(set_attribute: Callable[[Any, str, Any], None]) -> None:
    """Makes fits so short that they only show that everything works."""
    import functools

    from inrzip import compression, motion_fit, plan, shape_metrics
    from inrzip.media import meshes

    set_attribute(plan, "STEPS_AT_EFFORT_1", QUICK_STEPS)
    set_attribute(plan, "EPOCHS_AT_EFFORT_1", 4.0)
    set_attribute(plan, "FILM_STEPS", (QUICK_STEPS,) * 9)
    set_attribute(plan, "FILM_STEPS_RANGE", (1.0, 1.0))
    set_attribute(motion_fit, "STEPS", 5)
    set_attribute(compression, "SDF_SAMPLES", QUICK_SDF_SAMPLES)
    set_attribute(meshes, "RESOLUTION", QUICK_GRID)
    set_attribute(shape_metrics, "IOU_GRID", 8)
    set_attribute(shape_metrics, "compare", functools.partial(shape_metrics.compare, n=500))


def slow(*values: Any) -> Any:
    """A case of a test that only runs by hand, with `-m slow`: much like others that always run."""
    return pytest.param(*values, marks=pytest.mark.slow)


# ---- architectures ----


def check_architecture(architecture: Any, shape: tuple[int, ...], channels: int = 2, n_parameters: int = 300) -> None:
    """What every architecture promises (`inrzip/architectures/base.py`), on one grid."""
    import jax

    from inrzip.architectures.base import Grid, parameters

    grid = Grid(shape, channels)
    config = architecture.solve(grid, n_parameters)
    config.check(grid)
    check_config_bytes(config, grid)
    module = config.build(grid, jax.random.key(1))
    assert config.n_parameters(grid) == sum(leaf.size for leaf in parameters(module))
    assert [leaf.shape for leaf in parameters(config.structure(grid))] == [leaf.shape for leaf in parameters(module)]
    decoded = check_network_bytes(config, module, grid)
    full = decoded.render(grid.axes())
    assert full.shape == (*shape, channels) and full.dtype == np.float32 and np.isfinite(full).all()
    check_regions(decoded, grid, full)


def check_config_bytes(config: Any, grid: Any) -> None:
    """A configuration survives the file format, and takes no more bytes than it needs."""
    from inrzip import wire
    from inrzip.configuration import decode_config, encode_config

    encoded = encode_config(config)
    cursor = wire.Cursor(encoded + b"rest")
    assert decode_config(type(config), cursor, grid) == config
    assert cursor.position == len(encoded) <= 40


def check_network_bytes(config: Any, module: Any, grid: Any) -> Any:
    """Coding gives back every weight bit by bit; returns the decoded network."""
    from inrzip.architectures.base import parameters
    from inrzip.codecs.uniform import nearest_step_index
    from inrzip.network import decode_network, dequantise_network, encode_network, quantise_network

    steps = [nearest_step_index(0.01 * (1 + i % 3)) for i in range(len(parameters(module)))]
    quantised = quantise_network(module, steps)
    payload = encode_network(config, quantised)
    decoded = decode_network(payload, config.number, grid)
    expected = dequantise_network(module, quantised)
    for mine, theirs in zip(parameters(decoded), parameters(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(mine).view(np.uint32), np.asarray(theirs).view(np.uint32))
    assert encode_network(config, quantise_network(decoded, steps)) == payload
    return decoded


def check_regions(module: Any, grid: Any, full: Float[ndarray, "..."]) -> None:
    """Regions, single samples and single lines come out as they do in the full rendering."""
    axes = grid.axes()
    regions = [tuple(slice(n // 3, n // 3 + max(1, n // 2)) for n in grid.shape)]
    regions += [tuple(slice(n - 1, n) for n in grid.shape), (slice(0, 1), *[slice(None)] * (len(axes) - 1))]
    for region in regions:
        part = module.render(tuple(axis[piece] for axis, piece in zip(axes, region, strict=True)))
        np.testing.assert_allclose(part, full[region], atol=1e-5, rtol=0)


@functools.cache
def warm_up() -> None:
    """Has the entropy decoder compiled, which is no part of what a hostile file takes."""
    from inrzip.architectures.base import Grid
    from inrzip.architectures.siren import SirenConfig
    from inrzip.configuration import encode_config
    from inrzip.errors import CorruptFile
    from inrzip.network import decode_network

    with contextlib.suppress(CorruptFile):
        decode_network(encode_config(SirenConfig(2, 1, (8,))) + bytes(40), SirenConfig.number, Grid((3,), 1))


def check_hostile_config(architecture: Any, fields: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """A configuration that no encoder writes is refused at once, before anything is allocated."""
    from inrzip.architectures.base import Grid
    from inrzip.configuration import encode_config
    from inrzip.errors import CorruptFile
    from inrzip.network import decode_network

    warm_up()
    payload = encode_config(architecture(**fields)) + bytes(40)
    tracemalloc.start()
    begun = time.monotonic()
    try:
        with pytest.raises(CorruptFile) as caught:
            decode_network(payload, architecture.number, Grid(shape, 3))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < HOSTILE_SECONDS and peak < HOSTILE_BYTES


# ---- signals ----


def drawing(height: int, width: int) -> Shaped[ndarray, "h w 3"]:
    """Boxes and signs of flat colours, as on a screen."""
    rng = np.random.default_rng(3)
    signs = rng.integers(0, 2, (4, 5, 4)).astype(bool)
    pixels = np.full((height, width, 3), (240, 240, 245), np.uint8)
    pixels[2 : height // 4, 2:-2] = (60, 90, 160)
    for i, (y, x) in enumerate((y, x) for y in range(height // 4 + 3, height - 6, 7) for x in range(3, width - 6, 6)):
        pixels[y : y + 5, x : x + 4][signs[i * i % 4]] = (30, 30, 30)
    return pixels


def picture(height: int, width: int, channels: int, top: int = 255) -> Shaped[ndarray, "h w c"]:
    """A smooth picture with one edge, values 0 to `top`."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width, 2)
    waves = [np.sin(5 * x + c) * np.cos(4 * y - c) + (x > y) * 0.3 for c in range(channels)]
    unit = (np.stack(waves, -1) + 1.1) / 2.5
    return np.rint(unit.clip(0, 1) * top).astype("u1" if top < 256 else "u2")


def write_png(path: Path, pixels: Shaped[ndarray, "h w c"]) -> Path:
    """Writes 8-bit or 16-bit (grey) pixels with an image library, not with the code that is tested."""
    from PIL import Image

    if pixels.dtype == np.uint16 and pixels.shape[-1] > 1:
        import imageio.v3 as iio

        iio.imwrite(path.with_suffix(".tiff"), pixels)
        return path.with_suffix(".tiff")
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
    return path


def tone(count: int, channels: int = 1, rate: int = 8000) -> Float[ndarray, "count channels"]:
    """A chord that swells, from -0.8 to 0.8."""
    t = np.arange(count)[:, None] / rate
    pitch = 220 * 1.5 ** np.arange(channels)
    return 0.4 * (np.sin(2 * np.pi * pitch * t) + np.sin(3.1 * np.pi * pitch * t)) * np.linspace(0.3, 1, count)[:, None]


def write_wav(
    path: Path, samples: Shaped[ndarray, "count channels"], rate: int = 8000, subtype: str = "PCM_16"
) -> Path:
    import soundfile

    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def write_film(
    path: Path,
    n_frames: int = 5,
    size: tuple[int, int] = (18, 22),
    rate: Fraction = Fraction(12),
    sound: bool = True,
    speed: float = 2,
    cut: int | None = None,
) -> Path:
    """A video with a moving blob, `speed` samples a frame, in lossless H.264 and, on request, AAC sound of the same
    length. From frame `cut` on it is another scene.
    """
    import av

    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    with av.open(str(path), "w") as file:
        picture = file.add_stream("libx264", rate=rate, options={"crf": "0"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv444p"
        speech = file.add_stream("aac", rate=16000, layout="mono", bit_rate=16000) if sound else None
        for i in range(n_frames):
            blob = np.exp(-((x - 4 - speed * i) ** 2 + (y - 8) ** 2) / 20)
            frame = np.stack([40 + 180 * blob, 60 + 4.0 * y, 200 - 5.0 * x], -1).clip(0, 255).astype("u1")
            frame = frame if cut is None or i < cut else 255 - frame[:, ::-1]
            file.mux(picture.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        file.mux(picture.encode())
        if speech is not None:
            samples = tone(int(16000 * n_frames / rate), rate=16000).T.astype("f4")
            heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", "mono")
            heard.sample_rate = 16000
            file.mux(speech.encode(heard))
            file.mux(speech.encode())
    return path


def sound_packets(source: Any) -> list[bytes]:
    """The packets of the first sound stream of a file, as they are."""
    import av

    with av.open(source) as file:
        return [bytes(packet) for packet in file.demux(audio=0) if packet.size]


def write_ball(path: Path) -> Path:
    """An icosphere as an OBJ file."""
    import trimesh

    trimesh.creation.icosphere(subdivisions=2, radius=2.0).export(path)
    return path


def write_pdb(path: Path, n_residues: int) -> Path:
    """A helix of C-alpha atoms as a PDB file."""
    turns = 1.745 * np.arange(n_residues)
    places = np.stack([2.3 * np.cos(turns), 2.3 * np.sin(turns), 1.5 * np.arange(n_residues)], 1)
    names = ("ALA", "LEU", "LYS", "GLU")
    lines = [
        f"ATOM  {i + 1:5d}  CA  {names[i % 4]} A{i + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"
        for i, (x, y, z) in enumerate(places)
    ]
    path.write_text("".join(lines) + "END\n")
    return path


def reference_psnr(a: Shaped[ndarray, "..."], b: Shaped[ndarray, "..."], peak: float) -> float:
    """PSNR in dB, computed apart from the code that is tested."""
    assert a.shape == b.shape and a.dtype == b.dtype
    error = np.mean(np.square(a.astype(np.longdouble) - b.astype(np.longdouble)))
    return float(10 * np.log10(np.longdouble(peak) ** 2 / error)) if error else float("inf")


def leftovers(folder: Path, known: Sequence[str]) -> list[str]:
    """Files in `folder` that are not `known`."""
    return sorted(p.name for p in folder.iterdir() if p.name not in known)


def random_file(spec: Any, architecture: Any, n_parameters: int = 300, segment_length: int = 1 << 40) -> bytes:
    """A whole file whose networks are random: what readers need, without a fit."""
    import jax

    from inrzip.architectures.base import Grid, parameters
    from inrzip.codecs.uniform import nearest_step_index
    from inrzip.container import write_container
    from inrzip.header import Header
    from inrzip.network import encode_network, quantise_network

    header = Header(spec, architecture.number, segment_length)
    payloads = []
    for i in range(header.n_segments):
        start, stop = header.segment_bounds(i)
        grid = Grid((stop - start, *spec.shape[1:]), spec.channels)
        config = architecture.solve(grid, n_parameters)
        module = config.build(grid, jax.random.key(i))
        steps = [nearest_step_index(0.02)] * len(parameters(module))
        payloads.append(encode_network(config, quantise_network(module, steps)))
    return write_container(header, payloads)


def uniform_tensors(integers: Any, steps: Any) -> list[Any]:
    """Quantised tensors of these integers and step indices."""
    from inrzip.codecs.levels import UniformSteps
    from inrzip.codecs.weights import QuantisedTensor

    return [QuantisedTensor(values, UniformSteps(step)) for values, step in zip(integers, steps, strict=True)]


def step_indices(tensors: Any) -> list[int]:
    """The step index of each of these quantised tensors."""
    return [tensor.levels.step_index for tensor in tensors]


def check_fitted_together(
    folder: Path, capsys: pytest.CaptureFixture[str], pictures: list[ndarray], recipe: str, prior: str
) -> None:
    """Members are files; each decodes alone; what is told of them is what the file holds. Lossless ones are that."""
    import imageio.v3 as iio

    import inrzip
    from inrzip import cli

    paths = []
    for i, picture in enumerate(pictures):
        paths.append(str(folder / f"p{i}.png"))
        iio.imwrite(paths[-1], picture)
    whole, exact = folder / "all.inrz", folder / "exact.inrz"
    how = ["--recipe", recipe, "--prior", prior, "--json"]
    assert cli.main(["compress", *paths, "-o", str(whole), *how]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == whole.stat().st_size
    with inrzip.open_all(whole) as members:
        assert members.names == [f"p{i}" for i in range(len(pictures))]
        for member, picture, facts in zip(members, pictures, told["members"], strict=True):
            error = np.mean((member[...].astype(float) - picture) ** 2)
            assert abs(-10 * np.log10(error / 255**2) - facts["quality"]["psnr_db"]) < 0.01
    assert cli.main(["compress", *paths[:2], "-o", str(exact), *how, "--lossless"]) == 0
    with inrzip.open_all(exact) as members:
        for member, picture in zip(members, pictures[:2], strict=True):
            np.testing.assert_array_equal(member[...], picture)
