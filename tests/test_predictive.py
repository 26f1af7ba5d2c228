"""Predictive coding: its tables, views and model, and that it finds what there is to predict."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy import ndarray
from scipy.special import erfc

from inrzip.codecs.model_choice import BIT
from inrzip.codecs.predictive import Predictive
from inrzip.codecs.predictive_choice import predict, price
from inrzip.codecs.predictive_header import MAX_SCALE, MIN_SCALE, ModelCoder
from inrzip.codecs.predictive_model import LOCALITIES, MAX_COEFFICIENT, VARIANCES, PredictiveModel
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.tables import AdaptiveTables
from inrzip.codecs.views import MAX_SPLIT, splits, unview, view, view_shape
from inrzip.errors import CorruptFile
from inrzip.priors.bell_curves import (
    CURVE_BITS,
    INFORMATION_16,
    LENGTH,
    LOGIT_STEPS,
    MAX_LOGIT,
    PROBABILITY_BITS,
    Curve,
    curve_table,
    octave_table,
    squash_table,
    stretch_table,
)

RNG = np.random.default_rng(7)


def bits_per_weight(values: ndarray) -> float:
    return Predictive().cost(values) / BIT / values.size


def entropy_per_weight(values: ndarray) -> float:
    shares = np.unique(values, return_counts=True)[1] / values.size
    return float(-(shares * np.log2(shares)).sum())


# --- tables


def test_curves_are_what_they_say() -> None:
    x = np.arange(LENGTH) / 32
    chances = {
        Curve.LOGISTIC: 2 / (1 + 4**x),
        Curve.LAPLACE: np.exp(-x),
        Curve.GAUSS: erfc(x / np.sqrt(np.pi)),
    }
    for curve, exact in chances.items():
        table, moments = curve_table(curve) / 2**CURVE_BITS
        seen = exact > 1e-10
        np.testing.assert_allclose(table[seen], exact[seen], rtol=0.003)
        density = -np.gradient(exact, x)
        np.testing.assert_allclose(moments[1:-1], (x * density)[1:-1], atol=3e-4)
        assert np.trapezoid(exact, x) == pytest.approx(1, abs=1e-3)  # the mean magnitude
        assert (np.diff(table) <= 0).all() and table[0] == 1
        likely = density > 1e-9
        information = (np.gradient(x * density, x)[likely] ** 2 / density[likely]).sum() / 32
        assert 16 * information == pytest.approx(INFORMATION_16[curve], rel=0.05)


def test_logits_and_their_inverse() -> None:
    frequencies = squash_table() / 2**16
    logits = np.arange(-MAX_LOGIT, MAX_LOGIT + 1) / LOGIT_STEPS
    np.testing.assert_allclose(frequencies, 1 / (1 + np.exp(-logits)), atol=6e-5)
    assert frequencies.min() > 0 and frequencies.max() < 1
    np.testing.assert_array_equal(squash_table()[::-1], 2**16 - squash_table())
    chances = np.arange(1, 1 << PROBABILITY_BITS) / (1 << PROBABILITY_BITS)
    np.testing.assert_allclose(stretch_table()[1:-1] / LOGIT_STEPS, np.log(chances / (1 - chances)), atol=0.06)
    np.testing.assert_allclose(octave_table() / 2**16, 2 ** -(np.arange(256) / 256), rtol=4e-5)


# --- views


@pytest.mark.parametrize(
    "shape", [(), (7,), (160,), (6, 48), (2, 6, 36), (3, 3, 2, 12), (2, 3, 1, 5, 16), (3, 3, 0, 4)]
)
def test_views_are_permutations(shape: tuple[int, ...]) -> None:
    tensor = np.arange(int(np.prod(shape))).reshape(shape)
    assert splits(shape)[0] == 1
    for split in splits(shape):
        viewed = view(tensor, split)
        assert viewed.shape == view_shape(shape, split)
        np.testing.assert_array_equal(unview(viewed, split, shape), tensor)


def test_splits_are_those_of_pixel_shuffles() -> None:
    assert splits((3, 3, 10, 160)) == [1, 2, 4]
    assert splits((250,)) == [1, 5]
    assert splits((4, 0)) == [1] and splits(()) == [1]


def test_a_view_is_the_kernel_of_a_transposed_convolution() -> None:
    """Convolution and pixel shuffle by 2 of an impulse draw the kernel that the view shows."""
    weight = RNG.normal(size=(3, 3, 1, 4))
    image = np.zeros((7, 7))
    image[3, 3] = 1
    padded = np.pad(image, 1)
    out = np.zeros((14, 14))
    for i in range(7):
        for j in range(7):
            patch = (padded[i : i + 3, j : j + 3, None] * weight[:, :, 0]).sum((0, 1))
            out[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = patch.reshape(2, 2)
    drawn = out[4:10, 4:10]
    np.testing.assert_array_equal(drawn[::-1, ::-1], view(weight, 2)[:, :, 0, 0])


# --- the model


def test_models_are_coded() -> None:
    models: list[tuple[PredictiveModel | int, tuple[int, ...]]] = [
        (PredictiveModel(10), (5, 5)),
        (0, (7,)),
        (-(1 << 31), ()),
        (PredictiveModel(MIN_SCALE, 2, 2, 3, 3, 1, (1, -2, 3, -MAX_COEFFICIENT), -77), (3, 3, 2, 8)),
        (PredictiveModel(MAX_SCALE, 1, 0, 0, 0, 0, (0, 0, 0, 64), (1 << 34) - 1), (9,)),
        ((1 << 31) - 1, (3, 3)),
    ]
    encoder, coder = RangeEncoder(), ModelCoder()
    for model, shape in models:
        coder.encode(encoder, model, shape)
    decoder, coder = RangeDecoder(encoder.finish()), ModelCoder()
    for model, shape in models:
        assert coder.decode(decoder, shape) == model
    decoder.finish()


def test_repeated_models_are_cheap() -> None:
    encoder, coder = RangeEncoder(), ModelCoder()
    for _ in range(50):
        coder.encode(encoder, PredictiveModel(14, 4, 0, 2, 1, 1, (28, 30, 0, 0)), (3, 3, 10, 160))
    assert len(encoder.finish()) < 50 * 4


@pytest.mark.parametrize("field", ["scale", "split", "curve", "variance", "locality", "paired"])
@pytest.mark.parametrize("value", [-50, 200])
def test_impossible_models_are_refused(field: str, value: int) -> None:
    encoder = RangeEncoder()
    model = PredictiveModel(**({"scale": 8} | {field: value}))
    try:
        ModelCoder().encode(encoder, model, (8, 64))
    except ZeroDivisionError:
        pytest.skip("a view that cannot be")
    with pytest.raises(CorruptFile):
        ModelCoder().decode(RangeDecoder(encoder.finish()), (8, 64))


@pytest.mark.parametrize("value", [1 << 31, -(1 << 31) - 1, (1 << 34)])
def test_an_equal_value_beyond_int32_is_refused(value: int) -> None:
    encoder = RangeEncoder()
    ModelCoder().encode(encoder, value, (3, 3))
    with pytest.raises(CorruptFile):
        Predictive().decode(RangeDecoder(encoder.finish()), (3, 3))


def test_every_model_codes_every_tensor() -> None:
    """The encoder may choose badly, but never wrongly."""
    values = np.rint(RNG.laplace(0, 5, (3, 3, 4, 8))).astype(np.int64)
    values.flat[11] = (1 << 31) - 1
    for scale in (MIN_SCALE, 0, 20, MAX_SCALE):
        for curve in Curve:
            for number in range(max(len(VARIANCES), len(LOCALITIES))):
                model = PredictiveModel(scale, 2, curve, number, number, number % 2, (60, -127, 3, 127), 999)
                assert 0 < price(view(values, 2), model, number > 1) < 80 * BIT * values.size


# --- what it finds


def test_smooth_kernels_are_predicted() -> None:
    noise = RNG.normal(size=(12, 12, 6, 5))
    for axis in (0, 1):
        for i in range(1, 12):
            here, before = [slice(None)] * 4, [slice(None)] * 4
            here[axis], before[axis] = slice(i, i + 1), slice(i - 1, i)
            noise[tuple(here)] = 0.9 * noise[tuple(before)] + 0.44 * noise[tuple(here)]
    kernel = np.rint(40 * noise).astype(np.int64)
    weight = unview(kernel, 4, (3, 3, 6, 80))
    assert bits_per_weight(weight) < entropy_per_weight(weight) - 1.5
    assert AdaptiveTables().cost(weight) / BIT / weight.size > entropy_per_weight(weight)


def test_predictions_are_the_least_squares_solution() -> None:
    values = np.rint(RNG.normal(0, 30, (1, 1, 50, 60))).astype(np.int64)
    for row in range(1, 50):
        values[0, 0, row] += values[0, 0, row - 1] // 2
    coefficients, constant, error = predict(values + 17)
    assert coefficients[0] == coefficients[1] == coefficients[3] == 0
    assert abs(coefficients[2] - 32) <= 3 and constant != 0
    assert error < 0.85 * float((values**2).sum())
    assert predict(np.rint(RNG.normal(0, 30, (1, 1, 50, 60))).astype(np.int64))[:2] == ((0, 0, 0, 0), 0)


def test_scales_of_rows_and_columns_are_followed() -> None:
    scales = np.exp(RNG.normal(0, 0.7, (120, 1)) + RNG.normal(0, 0.7, 200))
    values = np.rint(12 * scales * RNG.laplace(0, 1, (120, 200))).astype(np.int64)
    ideal = np.mean(np.log2(2 * np.e * 12 * scales))
    assert bits_per_weight(values) < entropy_per_weight(values) - 0.15
    assert bits_per_weight(values) < ideal + 0.1


def test_drifting_scales_are_followed() -> None:
    values = np.rint(RNG.laplace(0, 1, 40_000) * np.geomspace(0.5, 20, 40_000)).astype(np.int64)
    assert bits_per_weight(values) < entropy_per_weight(values) - 0.2


INTERPRETED = """
import hashlib, numpy as np
from inrzip.codecs.predictive import DependentPredictive, Predictive
from inrzip.codecs.cabac import Cabac
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
rng = np.random.default_rng(3)
tensors = [np.rint(rng.laplace(0, 6, (3, 3, 3, 12))), np.rint(rng.normal(0, 1e6, 40)), rng.integers(-1, 2, (9, 9))]
tensors[0].flat[50] = 2**31 - 1
for make in (Cabac, Predictive, DependentPredictive):
    encoder, coder = RangeEncoder(), make()
    for tensor in tensors:
        coder.encode(encoder, tensor.astype(np.int64))
    data = encoder.finish()
    coder, decoder = make(), RangeDecoder(data)
    assert all((coder.decode(decoder, tensor.shape) == tensor).all() for tensor in tensors)
    print(hashlib.sha256(data).hexdigest())
"""


def test_compiled_and_interpreted_kernels_agree() -> None:
    """Python's integers do not overflow: equal bytes say that those of the machine did not, either."""
    outputs = []
    for disabled in ("0", "1"):
        environment = os.environ | {"NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run([sys.executable, "-W", "error", "-c", INTERPRETED], env=environment, capture_output=True)
        assert run.returncode == 0, run.stderr.decode()
        outputs.append(run.stdout)
    assert outputs[0] == outputs[1] and outputs[0].count(b"\n") == 3


OLD = "96160558d0ca8cfb45c28373e1bbb475ef51d8b9aeb5608d0c3bd80db04666142a05efcdc6f5ba19ff756d4e2720324805327e26b4283b\
f8c99812d38b1d50dbfa25e7db882ff54d1b9b39bc660298252d05d87d"
NEW = "8c7369402a147144c50645ea076723693fb96d9389163875bd95da93aa5fdeb40243445df4ce2d38e7f23f73197139c31aa8b7bf7c7ae7\
89e6ce739f0a2353640d0e9fe8a6af441c859ede2262db7bd84778"


def test_golden_bytes() -> None:
    """Both streams hold the same tensors, under different models; the encoder of today chooses the second."""
    kernel = (np.arange(108).reshape(3, 3, 3, 4) * 37 % 23 - 11).astype(np.int64)
    tensors = [kernel, np.arange(20) * 3 - 25, np.zeros((4, 4), np.int64)]
    encoder, coder = RangeEncoder(), Predictive()
    for tensor in tensors:
        coder.encode(encoder, tensor)
    assert encoder.finish().hex() == NEW
    for stream in (OLD, NEW):
        decoder, coder = RangeDecoder(bytes.fromhex(stream)), Predictive()
        for tensor in tensors:
            np.testing.assert_array_equal(coder.decode(decoder, tensor.shape), tensor)
        decoder.finish()


def test_all_splits_are_tried_up_to_the_greatest() -> None:
    assert splits((1, MAX_SPLIT**2 * 4 * 9)) == [1, 2, 3, 4, 6, 8]
