"""Exact samples: every signal comes back, damaged ones are told, and the page says how."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import Int
from numpy import ndarray

import inrzip
from inrzip.architectures.base import Grid
from inrzip.architectures.context import ContextConfig, ExactSamples
from inrzip.codecs import context
from inrzip.codecs.context_kernels import FLAT, MIXED, RECALLED
from inrzip.context_coding import compact, expand, plane_order
from inrzip.context_encoder import choose_modes
from inrzip.context_payload import NO_CHANGES, Changes, encode, encode_smallest, priors_of
from inrzip.errors import CorruptFile, InrzipError
from inrzip.network import decode_network
from tests.common import drawing, slow
from tests.page_context import exact_samples

CONFIG = ContextConfig(1)
MODES = (MIXED, FLAT, RECALLED)


def signal(shape: tuple[int, ...], channels: int, low: int, high: int, seed: int = 0) -> Int[ndarray, "*grid channels"]:
    """Smooth and noisy, with an edge."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    smooth = sum(np.sin(a * (i + 1)) for i, a in enumerate(axes))[..., None] + 0.3 * np.arange(channels)
    noisy = smooth + 0.1 * rng.normal(size=(*shape, channels)) + (axes[0] > 2)[..., None]
    unit = (noisy - noisy.min()) / max(np.ptp(noisy), 1e-9)
    return np.rint(low + unit * (high - low)).astype(np.int64)


def coded(samples: Int[ndarray, "*grid channels"], moved: bool = False, mode: int = MIXED) -> bytes:
    """A payload, all planes in that mode; with `moved`, networks are changed a little."""
    order = plane_order(samples.shape[-1])
    compacted, scale = compact(samples, order)
    rng = np.random.default_rng(1)
    changes = [
        Changes(3, tuple(rng.integers(-2, 3, a.shape) for a in prior)) if moved else Changes(NO_CHANGES, ())
        for prior in priors_of(CONFIG, compacted.ndim - 1, len(compacted))
    ]
    return encode(scale, compacted, changes, [mode] * len(compacted))[0]


def smallest(samples: Int[ndarray, "*grid channels"]) -> bytes:
    """A payload as an encoder makes it that fits no networks."""
    compacted, scale = compact(samples, plane_order(samples.shape[-1]))
    priors = priors_of(CONFIG, compacted.ndim - 1, len(compacted))
    modes = choose_modes(compacted, scale.bits, priors)
    return encode_smallest(scale, compacted, [Changes(NO_CHANGES, ())] * len(priors), modes)


def decoded(payload: bytes, shape: tuple[int, ...], channels: int) -> Int[ndarray, "*grid channels"]:
    network = decode_network(payload, ContextConfig.number, Grid(shape, channels))
    assert isinstance(network, ExactSamples)
    return network.exact_samples()


SIGNALS = [
    ((1, 1), 1, 0, 255),
    ((1, 9), 3, 0, 255),
    ((13, 1), 4, 0, 255),
    ((11, 14), 3, 3, 250),
    ((9, 10), 2, 0, 65535),
    ((70,), 1, -32768, 32767),
    ((60,), 2, -(1 << 23), (1 << 23) - 1),
    ((50,), 6, -300, 300),
    ((3, 5, 6), 1, -5, 900),
    ((2, 4, 5), 3, 0, 255),
    ((2, 2, 3, 4), 1, 0, 4095),
]


@pytest.mark.parametrize(("shape", "channels", "low", "high"), SIGNALS)
def test_all_samples_come_back(shape: tuple[int, ...], channels: int, low: int, high: int) -> None:
    samples = signal(shape, channels, low, high)
    for moved, mode in ((False, MIXED), (True, MIXED), (False, RECALLED), (True, RECALLED), (True, FLAT)):
        assert np.array_equal(decoded(coded(samples, moved, mode), shape, channels), samples)


@pytest.mark.parametrize(("shape", "channels", "low", "high"), [s for s in SIGNALS if np.prod(s[0]) < 200])
def test_as_the_page_says(shape: tuple[int, ...], channels: int, low: int, high: int) -> None:
    samples = signal(shape, channels, low, high)
    assert np.array_equal(exact_samples(coded(samples, moved=True), shape, channels), samples)


@pytest.mark.parametrize("shape", [(9, 10), (40,), (2, 5, 6)])
def test_recalled_as_the_page_says(shape: tuple[int, ...]) -> None:
    """Of few values, which are often recalled, and often not."""
    rng = np.random.default_rng(4)
    samples = np.repeat(rng.integers(0, 3, (*shape[:-1], shape[-1], 1)) * 90 + 7, 3, -1)
    samples[..., 1:] += rng.integers(0, 2, samples[..., 1:].shape) * (rng.random(samples[..., 1:].shape) < 0.1)
    compacted, scale = compact(samples, plane_order(3))
    changes = [Changes(NO_CHANGES, ())] * 3
    for modes in ([RECALLED] * 3, [MIXED, FLAT, RECALLED]):
        payload, _ = encode(scale, compacted, changes, modes)
        assert payload[0] == 2 and np.array_equal(decoded(payload, shape, 3), samples)
        assert np.array_equal(exact_samples(payload, shape, 3), samples)


@pytest.mark.parametrize(("shape", "channels", "top"), [((3, 400), 3, 255), ((900,), 2, 65535), ((4, 9, 20), 1, 1023)])
def test_noise_is_never_larger_than_itself(shape: tuple[int, ...], channels: int, top: int) -> None:
    samples = np.random.default_rng(0).integers(0, top + 1, (*shape, channels))
    payload = smallest(samples)
    assert len(payload) <= samples.size * top.bit_length() / 8 + 12
    assert np.array_equal(decoded(payload, shape, channels), samples)


@pytest.mark.parametrize("size", [(96, 128), slow((300, 400))])
def test_drawings_are_recalled(size: tuple[int, int]) -> None:
    samples = drawing(*size).astype(np.int64)
    payload = smallest(samples)
    assert payload[0] == 2 and np.array_equal(decoded(payload, size, 3), samples)
    assert len(payload) < 0.7 * len(coded(samples))


def test_photographs_are_coded_as_ever() -> None:
    samples = signal((40, 50), 3, 0, 255)
    assert smallest(samples) == coded(samples)


def test_unknown_modes_are_damage() -> None:
    payload = coded(signal((9, 9), 1, 0, 255), mode=FLAT)
    with pytest.raises(InrzipError):
        decoded(payload[:4] + bytes([payload[4] | 0xC0]) + payload[5:], (9, 9), 1)


def test_multiples_are_noticed() -> None:
    coarse = signal((48, 64), 1, 0, 255) // 8 * 8
    broken = coarse.copy()
    broken[0, 0] += 1  # no common factor any more
    fine = signal((48, 64), 1, 0, 255)
    assert np.array_equal(decoded(coded(broken), (48, 64), 1), broken)
    assert len(coded(broken)) < 1.15 * len(coded(coarse))
    assert len(coded(broken)) < 0.6 * len(coded(fine))


@pytest.mark.parametrize("values", [(-7, 55), (0, 62, 125, 1900)])
def test_few_values(values: tuple[int, ...]) -> None:
    samples = np.array(values)[np.random.default_rng(3).integers(0, len(values), (20, 30, 3))]
    payload = coded(samples)
    assert np.array_equal(decoded(payload, (20, 30), 3), samples)
    assert len(payload) < samples.size * np.log2(len(values)) / 8 * 1.05 + 40
    assert np.array_equal(exact_samples(coded(samples[:18, :, :1]), (18, 30), 1), samples[:18, :, :1])


def test_constants_take_no_bytes() -> None:
    samples = np.full((300, 400, 3), 77)
    payload = coded(samples)
    assert len(payload) <= 6
    assert np.array_equal(decoded(payload, (300, 400), 3), samples)


@pytest.mark.parametrize("step", [1, 3, 257])
def test_common_factors(step: int) -> None:
    samples = np.random.default_rng(0).integers(-9, 200, (6, 5, 3)) * step - 40
    compacted, scale = compact(samples, plane_order(3))
    assert scale.step % step == 0 and compacted.min() == 0 and int(compacted.max()).bit_length() == scale.bits
    assert np.array_equal(expand(compacted, scale, plane_order(3)), samples)


def test_random_pictures_come_back() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        shape = tuple(int(n) for n in rng.integers(1, 24, 2))
        channels, bits = int(rng.integers(1, 5)), int(rng.integers(1, 17))
        noise = rng.integers(0, 1 << bits, (*shape, channels))
        samples = noise if rng.integers(2) else np.sort(noise, axis=0)
        assert np.array_equal(decoded(coded(samples), shape, channels), samples)


def test_damage_is_told_or_decoded_to_something() -> None:
    rng, samples = np.random.default_rng(2), signal((20, 22), 3, 0, 255)
    payload = coded(samples, moved=True)
    for _ in range(40):
        mutant = bytearray(payload)
        mutant[int(rng.integers(len(mutant)))] ^= 1 << int(rng.integers(8))
        try:
            decoded(bytes(mutant), (20, 22), 3)
        except InrzipError:
            continue
    with pytest.raises(CorruptFile):
        decoded(payload[: len(payload) // 2], (20, 22), 3)
    with pytest.raises(CorruptFile):
        decoded(b"\x63" + payload[1:], (20, 22), 3)  # a prior that there is none of


def test_what_lies_between_samples() -> None:
    samples = signal((6, 7), 3, 0, 255)
    network = decode_network(coded(samples), ContextConfig.number, Grid((6, 7), 3))
    half = network.render((np.array([1.5]), np.array([2.0, 2.5])))
    assert np.allclose(half[0, 0], samples[1:3, 2].mean(0))
    assert np.allclose(half[0, 1], samples[1:3, 2:4].mean((0, 1)))
    assert np.array_equal(network.render((np.array([-4.0]), np.array([99.0])))[0, 0], samples[0, 6])


def test_looks_are_those_of_the_coder() -> None:
    samples = signal((12, 13), 3, 0, 255)
    seen = context.collect(compact(samples, plane_order(3))[0], 8)
    assert [looks.features.shape[1] for looks in seen] == [context.n_features(2, k) for k in range(3)]
    assert np.array_equal(seen[0].values.reshape(12, 13), samples[..., 1] - samples.min())


def test_a_fit_makes_files_smaller() -> None:
    rng = np.random.default_rng(7)
    noise = rng.choice([-40, 0, 0, 0, 40], (96, 96, 1))  # jumps that no photograph has
    samples = (signal((96, 96), 1, 60, 190) + noise).astype(np.uint8)
    quick, fitted = (inrzip.fit(samples, "context", effort=effort) for effort in (1, 3))
    for found in (quick, fitted):
        assert np.array_equal(np.asarray(found.reader).reshape(samples.shape), samples)
    assert fitted.n_bytes < 0.97 * quick.n_bytes
