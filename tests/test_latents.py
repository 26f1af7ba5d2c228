"""Latent grids as bytes: the integer context model, against a plain second implementation, and the coder of grids."""

import math
from fractions import Fraction

import jax
import numpy as np
import pytest
from numpy import ndarray

from inrzip.architectures.grid_layout import N_GRIDS, Networks, Place, places, shapes
from inrzip.codecs import latent_model, latents
from inrzip.codecs.latent_model import (
    MAX_LATENT,
    N_SCALES,
    TOTAL_BITS,
    UNIT_SCALE,
    WEIGHT_BITS,
    LatentModel,
)
from inrzip.codecs.latents import GridDecoder, decode_numbers, encode_grids, encode_numbers, number_bits
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.errors import CorruptFile
from inrzip.priors.grid_prior import latent_model as as_model
from tests import page_latents

SIZES = [(1, 1), (1, 17), (23, 1), (3, 50), (17, 23), (64, 64), (65, 33)]


def random_networks(seed: int, size: float = 0.1, channels: int = 3) -> Networks:
    """Networks in whole numbers, `WEIGHT_BITS` after the point."""
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> ndarray:
        return np.round(rng.normal(0, size, shape) * 2**WEIGHT_BITS).astype(np.int64)

    fields = {}
    for name, shape in shapes(channels)._asdict().items():
        nested = isinstance(shape[0], tuple)
        fields[name] = tuple(map(draw, shape)) if nested else draw(shape)
    return Networks(**fields)


def random_grids(order: list[Place], seed: int, scale: float = 1.0) -> list[ndarray]:
    rng = np.random.default_rng(seed)
    return [np.round(rng.laplace(0, scale, place.shape)).astype(np.int64) for place in order]


@pytest.mark.parametrize("shape", [(5, 9), (1, 1), (13, 6)])
def test_predictions_are_those_of_the_page(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    order = places(shape)
    networks, grids = random_networks(3), random_grids(order, 4, 2.0)
    seen: list[tuple[ndarray, ndarray]] = []

    def spy(model: LatentModel, inputs: ndarray) -> tuple[ndarray, ndarray]:
        seen.append(latent_model.predict(model, inputs))
        return seen[-1]

    monkeypatch.setattr("inrzip.codecs.latents.predict", spy)
    encode_grids(RangeEncoder(), as_model(networks), order, grids)
    arrays = page_latents.limited(jax.tree.leaves(networks))
    for number, (place, (centres, scales)) in enumerate(zip(order, seen, strict=True)):
        for i in range(math.prod(place.shape)):
            y, x = divmod(i, place.shape[1])
            assert (centres[i], scales[i]) == page_latents.predict(arrays, grids, number, y, x), (number, y, x)


@pytest.mark.parametrize("shape", SIZES)
def test_grids_round_trip(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    costs: list[float] = []

    def spy(*given: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        starts, sizes, beyond = latent_model.intervals(*given)
        costs.append(float(np.sum(TOTAL_BITS - np.log2(sizes) + latents._escape_bits(beyond))))
        return starts, sizes, beyond

    monkeypatch.setattr(latents, "intervals", spy)
    order = places(shape)
    assert len(order) == N_GRIDS
    model, grids = as_model(random_networks(1)), random_grids(order, 2)
    grids[0].flat[0], grids[-1].flat[-1] = MAX_LATENT, -MAX_LATENT
    encoder = RangeEncoder()
    encode_grids(encoder, model, order, grids)
    data = encoder.finish()
    bits = sum(costs)
    assert abs(len(data) - bits / 8) < 8 + 0.001 * bits
    decoder = RangeDecoder(data)
    reading = GridDecoder(decoder, model, order)
    reading.read(N_GRIDS)
    assert reading.finished and not reading.ended
    decoder.finish()
    for written, read in zip(grids, reading.grids, strict=True):
        np.testing.assert_array_equal(read, written)


def test_a_thousand_small_pictures_round_trip() -> None:
    rng = np.random.default_rng(7)
    for seed in range(1000):
        order = places((int(rng.integers(1, 12)), int(rng.integers(1, 12))))
        model = as_model(random_networks(seed, float(rng.uniform(0, 0.3))))
        grids = random_grids(order, seed, float(rng.choice([0.1, 1.0, 30.0])))
        encoder = RangeEncoder()
        encode_grids(encoder, model, order, grids)
        decoder = RangeDecoder(encoder.finish())
        reading = GridDecoder(decoder, model, order)
        reading.read(N_GRIDS)
        decoder.finish()
        assert all(np.array_equal(a, b) for a, b in zip(grids, reading.grids, strict=True))


def test_grids_are_read_only_as_far_as_wanted() -> None:
    order = places((40, 30))
    model, grids = as_model(random_networks(1)), random_grids(order, 2)
    encoder = RangeEncoder()
    encode_grids(encoder, model, order, grids)
    reading = GridDecoder(RangeDecoder(encoder.finish()), model, order)
    reading.read(3)
    assert len(reading.grids) == 3
    reading.read(N_GRIDS, 10)
    np.testing.assert_array_equal(reading.grids[-1][:10], grids[-1][:10])
    assert not reading.grids[-1][10:].any() and not reading.finished
    reading.read(N_GRIDS, 5)
    reading.read(N_GRIDS)
    np.testing.assert_array_equal(reading.grids[-1], grids[-1])


def test_a_cut_stream_ends_early() -> None:
    order = places((64, 64))
    model, grids = as_model(random_networks(1)), random_grids(order, 2, 4.0)
    encoder = RangeEncoder()
    encode_grids(encoder, model, order, grids)
    data = encoder.finish()
    reading = GridDecoder(RangeDecoder(data[: len(data) // 2]), model, order)
    reading.read(N_GRIDS)
    assert reading.ended
    np.testing.assert_array_equal(reading.grids[0], grids[0])


def test_numbers_round_trip_and_cost_what_is_said() -> None:
    rng = np.random.default_rng(0)
    scales = rng.integers(0, N_SCALES, 5000)
    numbers = np.round(rng.laplace(0, 2.0 ** ((scales - UNIT_SCALE) / 8))).astype(np.int64)
    encoder = RangeEncoder()
    encode_numbers(encoder, numbers, scales)
    data = encoder.finish()
    assert abs(len(data) - number_bits(numbers, scales).sum() / 8) < 8
    np.testing.assert_array_equal(decode_numbers(RangeDecoder(data), scales), numbers)
    with pytest.raises(CorruptFile):
        decode_numbers(RangeDecoder(b"\xff" * 10), scales)


@pytest.mark.parametrize("scale", [0, 40, UNIT_SCALE, 100, N_SCALES - 1])
@pytest.mark.parametrize("centre", [-33, -16, -1, 0, 15, 16, 1000])
def test_intervals_tile_the_line(scale: int, centre: int) -> None:
    reach = int(latent_model.reaches()[scale])
    middle = (centre + 16) >> 5
    values = np.arange(middle - reach - 1, middle + reach + 2)
    full = np.full_like(values, scale)
    starts, sizes, beyond = latent_model.intervals(values, np.full_like(values, centre), full)
    assert starts[0] == 0 and starts[-1] + sizes[-1] == 1 << TOTAL_BITS
    assert (sizes >= 1).all() and (starts[1:] == (starts + sizes)[:-1]).all()
    assert (beyond[[0, -1]] == 0).all() and (beyond[1:-1] < 0).all()


def test_tables_are_the_functions_they_stand_for() -> None:
    exact = 2**15 * np.exp(-np.arange(latent_model.EXPONENTS) / 256)
    assert np.abs(latent_model.exponentials()[:-1] - exact).max() <= 0.5 + 1e-6
    scales = 2 ** ((np.arange(N_SCALES) - UNIT_SCALE) / 8)
    np.testing.assert_allclose(latent_model.inverse_scales(), 2**16 * 8 / scales, rtol=1e-3)
    root = Fraction(1148426689630428644, 1 << 60)
    assert abs(float(root) - math.exp(-1 / 256)) < 1e-16
