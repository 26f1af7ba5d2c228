"""Distortion, against its definition computed another way, and against what published work calls PSNR."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inrzip.errors import InrzipError
from inrzip.measure import measure
from inrzip.metrics import LOSSLESS_DB, ErrorSum, psnr
from inrzip.reader import Reader
from inrzip.signal import ArraySignal, Kind, Spec
from tests.common import random_file, reference_psnr


def spec_of(samples: np.ndarray, kind: Kind, sample_type: str | None = None, **meta) -> Spec:
    name = sample_type or f"{samples.dtype.kind}{samples.dtype.itemsize}"
    low, high = float(samples.min()), float(samples.max())
    return Spec(kind, samples.shape[:-1], samples.shape[-1], name, low, high, meta)


def test_psnr():
    assert psnr(1.0, 255.0) == pytest.approx(48.1308036)
    assert psnr(0.01, 1.0) == pytest.approx(20.0)
    assert psnr(0.0, 255.0) == LOSSLESS_DB
    assert psnr(1e-200, 255.0) == LOSSLESS_DB  # finite, and no larger than lossless


@pytest.mark.parametrize(
    ("kind", "dtype", "sample_type", "meta", "peak"),
    [
        (Kind.IMAGE, "u1", None, {}, 255),
        (Kind.IMAGE, "u2", None, {}, 65535),
        (Kind.IMAGE, "u2", None, {"bits": 10}, 1023),
        (Kind.AUDIO, "i2", None, {}, 65535),
        (Kind.AUDIO, "i4", "i3", {}, 2**24 - 1),
        (Kind.AUDIO, "f4", None, {}, 2.0),
        (Kind.VIDEO, "u1", None, {}, 255),
        (Kind.VOLUME, "f4", None, {}, None),
        (Kind.VOLUME, "i2", None, {}, None),
    ],
)
def test_peak_and_mean(kind, dtype, sample_type, meta, peak):
    random = np.random.default_rng(0)
    rank = {Kind.IMAGE: 2, Kind.VIDEO: 3, Kind.AUDIO: 1, Kind.VOLUME: 3}[kind]
    original = (random.random((*(5, 6, 7)[:rank], 2)) * 200).astype(dtype)
    decoded = (original + random.integers(-3, 4, original.shape).astype(dtype)).astype(dtype)
    spec = spec_of(original, kind, sample_type, **meta)
    peak = float(original.max()) - float(original.min()) if peak is None else peak
    assert spec.peak == pytest.approx(peak)
    errors = ErrorSum(spec)
    errors.add(original[:2], decoded[:2])
    errors.add(original[2:], decoded[2:])
    assert errors.quality()["psnr_db"] == pytest.approx(reference_psnr(original, decoded, peak), abs=1e-9)


def test_differences_do_not_wrap_around():
    zeros, full = np.zeros((4, 4, 1), "u1"), np.full((4, 4, 1), 255, "u1")
    errors = ErrorSum(Spec(Kind.IMAGE, (4, 4), 1, "u1", 0.0, 255.0))
    errors.add(zeros, full)
    assert errors.quality()["psnr_db"] == pytest.approx(0.0)


def test_the_two_averages_over_frames_differ_as_they_should():
    """One perfect frame and one bad one: the mean of the frames' PSNR is far above the PSNR of the mean error."""
    original = np.zeros((2, 3, 3, 1), "u1")
    decoded = original.copy()
    decoded[0] += 1
    decoded[1] += 16
    errors = ErrorSum(Spec(Kind.VIDEO, (2, 3, 3), 1, "u1", 0.0, 255.0))
    errors.add(original, decoded)
    quality = errors.quality()
    assert quality["psnr_db"] == pytest.approx(10 * math.log10(255**2 / ((1 + 256) / 2)))
    assert quality["psnr_mean_frame_db"] == pytest.approx(10 * math.log10(255**2) - 10 * math.log10(16))


def test_largest_error_of_a_volume():
    original = np.zeros((3, 4, 1), "f4")
    decoded = original.copy()
    decoded[2, 1] = -0.75
    decoded[0, 0] = 0.5
    errors = ErrorSum(Spec(Kind.VOLUME, (3, 4), 1, "f4", 0.0, 1.0))
    errors.add(original, decoded)
    assert errors.quality()["max_error"] == 0.75


def test_huge_values_do_not_overflow():
    original = np.array([[1e30], [-1e30]], "f4")
    errors = ErrorSum(Spec(Kind.VOLUME, (2,), 1, "f4", -1e30, 1e30))
    errors.add(original, original * np.float32(0.9))
    assert errors.quality()["psnr_db"] == pytest.approx(10 * math.log10(4 / 0.01), abs=1e-3)


def test_long_signals_are_summed_in_parts():
    random = np.random.default_rng(0)
    a, b = (random.integers(-(2**15), 2**15, (3 << 20, 1)).astype("i2") for _ in range(2))
    errors = ErrorSum(spec_of(a, Kind.AUDIO))
    errors.add(a, b)
    assert errors.quality()["psnr_db"] == pytest.approx(reference_psnr(a, b, 65535), abs=1e-9)


def test_measuring_what_is_something_else():
    from inrzip.architectures.siren import SirenConfig

    spec = Spec(Kind.IMAGE, (4, 5), 1, "u1", 0.0, 255.0)
    reader = Reader(random_file(spec, SirenConfig))
    other = ArraySignal(Spec(Kind.IMAGE, (4, 6), 1, "u1", 0.0, 255.0), np.zeros((4, 6, 1), "u1"))
    with pytest.raises(InrzipError, match="the file holds image"):
        measure(other, reader)


@pytest.mark.parametrize("sample_type", ["u1", "u2", "i2", "i3", "i4", "u4", "f2", "f4", "f8", "i1", "b1"])
def test_normalise_and_quantise_are_inverse(sample_type):
    low, high = (0.0, 1.0) if sample_type == "b1" else (-100.0, 120.0) if sample_type[0] in "if" else (3.0, 120.0)
    spec = Spec(Kind.VOLUME, (50,), 1, sample_type, low, high)
    samples = np.linspace(low, high, 50).astype(spec.dtype)
    unit = spec.normalise(samples)
    assert unit.dtype == np.float32 and unit.min() == 0 and unit.max() == 1
    back = spec.quantise(unit)
    assert back.dtype == spec.dtype
    np.testing.assert_allclose(back.astype(float), samples.astype(float), atol=0.1 if sample_type == "f2" else 2e-5)
    clipped = spec.quantise(np.array([-7.0, 9.0])).astype(float)
    np.testing.assert_allclose(clipped, [samples[0], samples[-1]])


def test_equal_samples_come_back():
    spec = Spec(Kind.VOLUME, (5,), 1, "f4", 37.5, 37.5)
    assert not spec.normalise(np.full(5, 37.5, "f4")).any()
    assert (spec.quantise(np.array([0.0, 0.7, 1.0])) == 37.5).all() and spec.peak == 1.0
