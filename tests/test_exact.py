"""Lossless files: every bit back, from predictions that differ a little, and never silently another."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from numpy import ndarray

import inrzip
from inrzip import cli, exact
from inrzip.architectures.base import Grid, Representation
from inrzip.architectures.bits import Bits, BitsConfig, bit_planes
from inrzip.architectures.siren import SirenConfig
from inrzip.checks import CRC_BYTES
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.residual import decode_numbers, decode_samples, encode_numbers, encode_samples
from inrzip.container import Container, write_container
from inrzip.errors import CorruptFile, InrzipError
from inrzip.network import decode_network
from inrzip.recipes import RECIPES
from inrzip.signal import Kind, Spec
from tests.common import picture, slow, tone, write_ball, write_png

RANGES = {"u1": (0, 255), "u2": (0, 65535), "i2": (-32768, 32767), "i3": (-(2**23), 2**23 - 1), "i1": (-128, 127)}
RANGES |= {"b1": (0, 1), "i4": (-(2**31), 2**31 - 1), "u4": (0, 2**32 - 1)}


class Given(Representation):
    """A network that has these values, and in single precision about these."""

    values: Any
    grid: Grid

    def predict(self, inputs: Any) -> Any:
        raise NotImplementedError

    def render(self, axes: Any) -> Any:
        return self.values.astype(np.float32)

    def precise(self) -> Float[ndarray, "..."]:
        return self.values


def given_network(values: Float[ndarray, "*grid channels"]) -> Given:
    network = object.__new__(Given)
    object.__setattr__(network, "values", values)
    object.__setattr__(network, "grid", Grid(values.shape[:-1], values.shape[-1]))
    return network


def signal(seed: int, shape: tuple[int, ...], sample_type: str, noise: float) -> tuple[Spec, ndarray, ndarray]:
    """A description, samples, and values that are about as good as a network's."""
    rng = np.random.default_rng(seed)
    low, high = RANGES[sample_type]
    kind = {1: Kind.AUDIO, 2: Kind.IMAGE}.get(len(shape) - 1, Kind.VOLUME)
    spec = Spec(kind, shape[:-1], shape[-1], sample_type, low, high)
    places = np.indices(shape)[:-1].sum(0)
    values = np.sin(places / 5 + np.arange(shape[-1])) * 0.6 + 0.5
    clean = values.clip(0, 1) + rng.normal(0, noise, shape)
    samples = np.rint(clean.clip(0, 1) * (high - low) + low).astype(np.int64).clip(low, high)
    return spec, samples.astype(spec.dtype), values


@given(
    st.integers(0, 2**32),
    st.lists(st.integers(1, 9), min_size=1, max_size=4).flatmap(
        lambda grid: st.tuples(st.just(grid), st.integers(1, 4))
    ),
    st.sampled_from(sorted(RANGES)),
    st.sampled_from([0.0, 0.003, 0.3]),
)
@settings(max_examples=200, deadline=None)
def test_every_size_and_depth(seed: int, shape: tuple[list[int], int], sample_type: str, noise: float) -> None:
    """What is coded comes back, also from values that are off by nearly the tolerance."""
    spec, samples, values = signal(seed, (*shape[0], shape[1]), sample_type, noise)
    part = exact.encode_part(samples, given_network(values), SirenConfig, spec)
    found = exact.decode_part(part, given_network(values), SirenConfig, spec)
    assert found.dtype == spec.dtype
    np.testing.assert_array_equal(found, samples)
    unit = 2.0 ** (part[4] - part[5]) / (spec.high - spec.low)
    shaken = values + np.random.default_rng(seed).uniform(-0.999, 0.999, values.shape) * unit
    np.testing.assert_array_equal(exact.decode_part(part, given_network(shaken), SirenConfig, spec), samples)


def test_near_ties() -> None:
    """Values that lie on a change of rounding are listed, and those beside it are the same on both sides."""
    spec = Spec(Kind.IMAGE, (40, 50), 1, "u1", 0, 255)
    values = (np.arange(2000).reshape(40, 50, 1) % 255 + 0.5) / 255
    samples = np.rint(values * 255).astype(np.uint8)
    part = exact.encode_part(samples, given_network(values), SirenConfig, spec)
    for shift in (-(2.0**-17), 2.0**-17):
        moved = given_network(values + shift / 255)
        np.testing.assert_array_equal(exact.decode_part(part, moved, SirenConfig, spec), samples)
    with pytest.raises(CorruptFile, match=r"not those of the original|damaged"):
        exact.decode_part(part, given_network(values + 0.7 / 255), SirenConfig, spec)


def test_inexact_networks_have_coarse_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where single precision is all there is, predictions are coarser, and survive eight times what it differs by."""
    monkeypatch.setattr(Given, "in_single", lambda self: {"mul"})
    spec, samples, values = signal(1, (30, 30, 1), "u2", 0.01)
    monkeypatch.setattr(Given, "render", lambda self, axes: self.values + 1e-5)
    part = exact.encode_part(samples, given_network(values), SirenConfig, spec)
    assert part[4] >= 6
    shaken = values + np.random.default_rng(0).uniform(-8e-5, 8e-5, values.shape) * 0.99
    np.testing.assert_array_equal(exact.decode_part(part, given_network(shaken), SirenConfig, spec), samples)


@pytest.mark.parametrize(
    ("shape", "sample_type", "noise"),
    [((17, 15, 3), "u1", 0.02), ((45, 46, 2), "u2", 0.01), ((200, 2), "i2", 0.01), ((3, 6, 5, 1), "i3", 0.001)],
)
def test_the_page_decodes_the_same(shape: tuple[int, ...], sample_type: str, noise: float) -> None:
    """tests/page_exact.py was written from docs/format.md alone."""
    from tests import page_exact

    spec, samples, values = signal(9, shape, sample_type, noise)
    values.flat[::7] = (np.floor(values.flat[::7].clip(0.1, 0.9) * 100) + 0.5) / (spec.high - spec.low)
    part = exact.encode_part(samples, given_network(values), SirenConfig, spec)
    bits = exact.sample_bits(spec)
    found = page_exact.decode(part, values, spec.low, spec.high, bits, sample_type.startswith("u"))
    np.testing.assert_array_equal(found, samples)
    assert page_exact.crc(found, "i4" if sample_type == "i3" else sample_type) == part[:4]


def test_damage_is_told() -> None:
    spec, samples, values = signal(3, (12, 11, 3), "u1", 0.01)
    network = given_network(values)
    part = exact.encode_part(samples, network, SirenConfig, spec)
    rng = np.random.default_rng(0)
    for i in range(150):
        damaged = bytearray(part)
        place = i if i < 24 else int(rng.integers(len(part)))
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(CorruptFile) as caught:
            exact.decode_part(bytes(damaged), network, SirenConfig, spec)
        assert "\n" not in str(caught.value)
    for cut in (0, 3, 6, 7, len(part) // 2, len(part) - 3):
        with pytest.raises(CorruptFile):
            exact.decode_part(part[:cut], network, SirenConfig, spec)


def test_a_good_prediction_costs_little() -> None:
    """Noise costs about its entropy, and what is predicted perfectly next to nothing."""
    rng = np.random.default_rng(0)
    shape = (96, 96, 3)
    prediction = rng.integers(-100, 100, shape)
    noise = np.rint(rng.laplace(0, 2, shape)).astype(int).clip(-28, 28)
    _, counts = np.unique(noise, return_counts=True)
    entropy = -(counts * np.log2(counts / noise.size)).sum() / 8
    for difference, most in ((noise, 1.03 * entropy + 200), (np.zeros(shape, int), 60)):
        encoder, samples = RangeEncoder(), prediction + difference
        encode_samples(encoder, samples, prediction, 8)
        data = encoder.finish()
        assert len(data) <= most
        np.testing.assert_array_equal(decode_samples(RangeDecoder(data), prediction, 8), samples)


def test_numbers_come_back() -> None:
    numbers = np.concatenate([np.arange(-40000, 40000), [2**32, -(2**32), 0]])
    encoder = RangeEncoder()
    encode_numbers(encoder, numbers)
    np.testing.assert_array_equal(decode_numbers(RangeDecoder(encoder.finish()), len(numbers)), numbers)


# ---- bit planes ----


class GivenBits(Bits):
    """A network of bits that has these values, in double precision and about these in single."""

    def precise(self) -> Float[ndarray, "..."]:
        return self.config.values  # type: ignore[attr-defined, no-any-return]

    single = precise

    def in_single(self) -> set[str]:
        return set()


def given_bits(values: Float[ndarray, "*grid bits channels"], span: int) -> GivenBits:
    config = BitsConfig(span, ())
    object.__setattr__(config, "values", values)
    network = object.__new__(GivenBits)
    for name, value in (
        ("network", "given"),
        ("config", config),
        ("grid", Grid((*values.shape[:-2],), values.shape[-1])),
    ):
        object.__setattr__(network, name, value)
    return network


@pytest.mark.parametrize(
    ("shape", "sample_type", "wrong"),
    [((15, 14, 3), "u1", 0.01), ((25, 24, 1), "u1", 0.0), ((70, 2), "i2", 0.2), ((6, 5, 4, 1), "u2", 0.6)],
)
def test_bit_planes(shape: tuple[int, ...], sample_type: str, wrong: float) -> None:
    """Wrong bits and unsure ones are listed, or their planes coded otherwise; a decoder made from the page agrees."""
    from tests import page_exact

    spec, samples, _ = signal(2, shape, sample_type, 0.01)
    rng = np.random.default_rng(0)
    truth = bit_planes(samples, spec.low, spec.high)
    flipped = truth ^ (rng.random(truth.shape) < wrong * 2.0 ** -np.arange(truth.shape[-2])[:, None])
    values = 0.5 + (flipped - 0.5) * rng.uniform(0, 1, truth.shape)
    values = 0.5 + np.where(np.abs(values - 0.5) < 2.0**-20, flipped - 0.5, values - 0.5)
    if wrong:
        values.flat[::11] = 0.5 + rng.uniform(-1, 1, values.flat[::11].shape) * 2.0**-25
    span = round(spec.high - spec.low)
    part = exact.encode_part(samples, given_bits(values, span), BitsConfig, spec)
    for moved in (values, values + 2.0**-25, values - 2.0**-25):
        found = exact.decode_part(part, given_bits(moved, span), BitsConfig, spec)
        np.testing.assert_array_equal(found, samples)
    np.testing.assert_array_equal(page_exact.decode_bits(part, values, spec.low), samples)
    if wrong == 0:
        assert part[5] == 0 and len(part) < 50
    for i in range(40):
        damaged = bytearray(part)
        damaged[i if i < 20 else int(rng.integers(20, len(part)))] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(CorruptFile):  # some bits say nothing to a decoder: last ones of streams, the fineness
            found = exact.decode_part(bytes(damaged), given_bits(values, span), BitsConfig, spec)
            np.testing.assert_array_equal(found, samples)


# ---- files ----


def samples_of(kind: str) -> ndarray:
    rng = np.random.default_rng(5)
    if kind == "audio":
        return np.rint(tone(400, 2) * 20000 + rng.normal(0, 30, (400, 2))).astype(np.int16)
    if kind == "volume":
        return (np.indices((5, 9, 8)).sum(0) * 150 + rng.integers(0, 40, (5, 9, 8))).astype(np.uint16)
    if kind == "video":
        return np.stack([np.roll(picture(16, 20, 3), i, 1) for i in range(3)])
    return picture(18, 15, 4) ^ rng.integers(0, 3, (18, 15, 4), np.uint8)


def check_lossless(kind: str, recipe: str | None) -> None:
    samples = samples_of(kind)
    found = inrzip.fit(samples, recipe, kind=kind, effort=1, lossless=True)
    assert found.reader.lossless and found.quality["psnr_db"] == 999
    reader = inrzip.Reader(found.data)
    np.testing.assert_array_equal(np.asarray(reader), samples)
    part = tuple(slice(n // 3, n // 3 + 2) for n in samples.shape[:-1])
    np.testing.assert_array_equal(reader[part], samples[part])
    np.testing.assert_array_equal(reader[::-2], samples[::-2])


@pytest.mark.parametrize(
    ("kind", "recipe"),
    [
        ("image", "siren"),
        ("image", "bits"),
        slow("volume", "siren"),
        slow("audio", "siren"),
        slow("audio", "bits"),
        slow("volume", "bits"),
        slow("image", "grid"),
        slow("video", "motion"),
        *[
            slow("image", name)
            for name, recipe in RECIPES.items()
            if Kind.IMAGE in recipe.kinds[:1] and name not in ("siren", "bits")
        ],
        *[
            slow("video", name)
            for name, recipe in RECIPES.items()
            if recipe.kinds == (Kind.VIDEO,) and name != "motion"
        ],
    ],
)
def test_every_recipe(kind: str, recipe: str, quick: None) -> None:
    check_lossless(kind, recipe)


@pytest.mark.parametrize(
    ("recipe", "shape"),
    [
        ("combiner", (33, 35, 3)),
        ("vc-inr", (18, 15, 3)),
        ("coin++", (40, 15, 1)),
        slow("combiner", (90, 40, 3)),
        slow("combiner", (1500, 2)),
    ],
)
def test_learned_priors(recipe: str, shape: tuple[int, ...]) -> None:
    """Several patches, planes and kinds; the network computes in double precision throughout."""
    samples = np.rint(tone(*shape) * 20000).astype(np.int16) if len(shape) == 2 else picture(*shape)
    found = inrzip.fit(samples, recipe, effort=1, lossless=True, kind="audio" if len(shape) == 2 else "image")
    with inrzip.Reader(found.data) as reader:
        np.testing.assert_array_equal(np.asarray(reader).reshape(shape), samples)
        network = reader.segment(0)
    precise, single = network.precise(), network.render(network.grid.axes())
    assert precise.dtype == np.float64 and not network.in_single()
    assert 0 < np.abs(precise - single).max() < 1e-5
    values = precise[..., 0].ravel()
    assert (values.astype(np.float32) != values).mean() > 0.9


def test_the_command_line(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = samples_of("image")
    write_png(Path("photo.png"), pixels)
    packed = ["compress", "photo.png", "--lossless", "--recipe", "siren", "-e", "1"]
    assert cli.main(packed) == 0
    assert "lossless, checked" in capsys.readouterr().out
    assert cli.main(["info", "photo.inrz"]) == 0
    assert "lossless:" in capsys.readouterr().out and "yes" in inrzip_line(cli, capsys)
    assert cli.main(["decompress", "photo.inrz", "-o", "copy.png"]) == 0
    np.testing.assert_array_equal(inrzip.read_signal(Path("copy.png")).read(0, 18), pixels)
    assert cli.main(["verify", "photo.inrz", "--against", "photo.png"]) == 0
    capsys.readouterr()
    for size in (["--target-size", "1kB"], ["--target-bpp", "2"]):
        assert cli.main([*packed, "-f", *size]) == 1
        assert "as large as it has to be" in capsys.readouterr().err


def inrzip_line(command: Any, capsys: pytest.CaptureFixture[str]) -> str:
    assert command.main(["info", "photo.inrz", "--json"]) == 0
    return "yes" if '"lossless": true' in capsys.readouterr().out else "no"


@pytest.mark.parametrize("kind", ["image", slow("audio"), slow("volume")])
def test_no_network_that_does_not_pay(kind: str, quick: None) -> None:
    """No network tells noise: none is kept, and between samples lies what is between them."""
    from tests import page_exact

    rng = np.random.default_rng(1)
    if kind == "image":
        samples = rng.integers(0, 256, (12, 10, 3), np.uint8)
    else:
        samples = rng.integers(-300, 300, (90, 1) if kind == "audio" else (4, 5, 6)).astype(np.int16)
    found = inrzip.fit(samples, "bits", kind=kind, effort=1)
    with inrzip.Reader(found.data) as reader:
        network = reader.segment(0)
        assert isinstance(network, Bits) and network.config.inner == ()
        np.testing.assert_array_equal(np.asarray(reader).reshape(samples.shape), samples)
        if kind == "image":
            means = samples.reshape(6, 2, 5, 2, 3).mean((1, 3))
            assert np.abs(reader.render(scale=0.5) - means).max() <= 0.51
        payload = reader.container.segment(0)
    coded, part = exact.split(payload)
    assert len(coded) <= 4
    no_values = np.zeros((*network.grid.shape, network.config.bits, network.grid.channels))
    decoded = page_exact.decode_bits(part, no_values, reader.spec.low)
    np.testing.assert_array_equal(decoded.reshape(samples.shape), samples)
    telling = CRC_BYTES + 1  # the place of the first plane that a network tells
    with pytest.raises(CorruptFile, match="no network"):
        exact.decode_part(part[:telling] + b"\0" + part[telling + 1 :], network, BitsConfig, reader.spec)
    with pytest.raises(CorruptFile, match="follow a network"):
        decode_network(coded + b"\0", BitsConfig.number, network.grid)


@pytest.mark.parametrize("recipe", ["siren", "bits"])
def test_more_bits(recipe: str, tmp_path: Path, quick: None) -> None:
    """8-bit files written with 16: near the function's value; of bit planes, the high bits are the exact ones."""
    pixels = picture(20, 16, 3)
    photo = write_png(tmp_path / "photo.png", pixels)
    inrzip.compress(photo, tmp_path / "p.inrz", recipe=recipe, effort=1)
    inrzip.decompress(tmp_path / "p.inrz", tmp_path / "deep.tiff", bits=16)
    deep = inrzip.read_signal(tmp_path / "deep.tiff").read(0, 20)
    reader = inrzip.open(tmp_path / "p.inrz")
    assert deep.dtype == np.uint16
    if recipe == "bits":
        np.testing.assert_array_equal(deep >> 8, pixels)
    else:
        assert np.abs(deep / 257 - np.asarray(reader)).max() <= 0.51 and (deep % 257).any()
    assert reader.output_shape() == (20, 16)
    found = inrzip.fit(np.arange(60, dtype=np.int16).reshape(5, 12), recipe, kind="volume", effort=1)
    (tmp_path / "v.inrz").write_bytes(found.data)
    with pytest.raises(InrzipError, match="cannot be written with 16 bits"):
        inrzip.decompress(tmp_path / "v.inrz", tmp_path / "v.npy", bits=16)


def test_what_cannot_be_lossless(tmp_path: Path) -> None:
    with pytest.raises(InrzipError, match="a shape cannot"):
        inrzip.compress(write_ball(tmp_path / "ball.obj"), lossless=True)
    with pytest.raises(InrzipError, match="only whole numbers"):
        inrzip.fit(np.linspace(0, 1, 20), "siren", kind="volume", lossless=True)
    assert [path.name for path in tmp_path.iterdir()] == ["ball.obj"]


def test_a_file_that_is_not_the_original_is_not_kept(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If what was written decodes to anything else, there is an error and no file, and what was there stays."""
    photo, out = write_png(tmp_path / "photo.png", samples_of("image")), tmp_path / "photo.inrz"
    out.write_bytes(b"before")
    decode = exact.decode_part

    def wrong(*arguments: Any) -> ndarray:
        samples = decode(*arguments).copy()
        samples.flat[7] ^= 1
        return samples

    monkeypatch.setattr(exact, "decode_part", wrong)
    with pytest.raises(InrzipError, match="does not decode to the original"):
        inrzip.compress(photo, recipe="siren", effort=1, lossless=True, overwrite=True)
    assert out.read_bytes() == b"before"


def test_other_networks_are_told() -> None:
    """A file whose exact part belongs to another network, with checksums that are right."""
    found = inrzip.fit(samples_of("image"), "siren", effort=1, lossless=True, settings={"width": 8})
    container = Container.open(found.data)
    network, part = exact.split(container.segment(0))
    middle = len(network) // 2
    other = network[:middle] + bytes([network[middle] ^ 0x55]) + network[middle + 1 :]
    data = write_container(container.header, [exact.join(other, part)])
    with pytest.raises(CorruptFile):
        np.asarray(inrzip.Reader(data))
    header = dataclasses.replace(container.header, lossless=False)
    lossy = np.asarray(inrzip.Reader(write_container(header, [network])))
    assert lossy.shape == (18, 15, 4)


@pytest.mark.slow
def test_other_threads_and_flags(tmp_path: Path) -> None:
    """Processes that compile otherwise, and with other numbers of threads, decode the same bits."""
    import os
    import subprocess
    import sys

    data = inrzip.fit(picture(60, 50, 3), "siren", effort=1, lossless=True).data
    path = tmp_path / "x.inrz"
    path.write_bytes(data)
    code = "import inrzip, numpy, sys, zlib; print(zlib.crc32(numpy.asarray(inrzip.open(sys.argv[1])).tobytes()))"
    flags = [
        "",
        "--xla_backend_optimization_level=0",
        "--xla_cpu_multi_thread_eigen=false",
        "--xla_cpu_enable_fast_math=true",
    ]
    found = set()
    for flag, threads in zip(flags, ("1", "2", "4", "1"), strict=True):
        environment = os.environ | {"XLA_FLAGS": flag, "OMP_NUM_THREADS": threads, "NPROC": threads}
        done = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, capture_output=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1
