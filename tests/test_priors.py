"""The integer tables that coding starts from, and the differentiable rate of the Laplace prior."""

import math
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inrzip.codecs.uniform import dequantise, nearest_step_index, quantise, step_size
from inrzip.codecs.weights import encode_tensors
from inrzip.priors import integer_tables
from inrzip.priors.integer_tables import Family, cumulative_frequencies, limit, mass_table
from inrzip.priors.laplace import LaplacePrior
from tests.common import uniform_tensors

PRIOR = LaplacePrior()


def table_scale(table: int) -> float:
    return 2.0 ** ((table - 17) / 4)


def test_constants_are_what_their_comment_says() -> None:
    with localcontext() as context:
        context.prec = 50
        pi = Decimal("3.14159265358979323846264338327950288419716939937510")
        gamma = Decimal("3.62560990822190831193068515586767200299516768288006")  # Gamma(1/4)
        for i in range(4):
            b = Decimal(2) ** (Decimal(11 + i) / 4)
            a = b * gamma / pi.sqrt()
            one = 1 << 62
            assert int((-1 / (2 * b)).exp() * one) == integer_tables._LAPLACE_ROOTS[i]
            assert int((-1 / (pi * b * b)).exp() * one) == integer_tables._GAUSS_ROOTS[i]
            assert int((-1 / a**4).exp() * one) == integer_tables._FLAT_ROOTS[i]


@pytest.mark.parametrize("table", range(32))
def test_laplace_tables_are_the_curve(table: int) -> None:
    masses, top, b = mass_table(Family.LAPLACE, table), limit(table), table_scale(table)
    k = np.arange(1, top + 1)
    side = np.exp(-(2 * k - 1) / (2 * b)) * -np.expm1(-1 / b) / 2
    expected = np.concatenate([side[::-1], [-math.expm1(-1 / (2 * b))], side, [math.exp(-(2 * top + 1) / (2 * b))]])
    assert np.abs(masses - expected * 2**24).max() < 2 * top + 3  # what rounding lost is in the middle


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("table", range(32))
def test_tables_are_sound(family: Family, table: int) -> None:
    masses, top = mass_table(family, table), limit(table)
    assert len(masses) == 2 * top + 2 and masses.sum() == 2**24 and masses.min() >= 0
    np.testing.assert_array_equal(masses[:-1], masses[:-1][::-1])
    assert (np.diff(masses[top : 2 * top + 1]) <= 0).all()
    starts = cumulative_frequencies(masses)
    assert starts[0] == 0 and starts[-1] == 65536 and np.diff(starts).min() >= 1


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("table", [19, 24, 31])
def test_families_share_the_meaning_of_scale(family: Family, table: int) -> None:
    masses = mass_table(family, table)[:-1] / 2**24
    mean = float(np.abs(np.arange(len(masses)) - limit(table)) @ masses)
    assert mean == pytest.approx(table_scale(table), rel=0.05)


def test_table_of_the_prior() -> None:
    table = PRIOR.table(20)
    np.testing.assert_array_equal(table, mass_table(Family.LAPLACE, 20))
    table[0] = 5  # a copy, so that nobody spoils the coder's
    assert mass_table(Family.LAPLACE, 20)[0] != 5


@pytest.mark.parametrize("spread", [0.15, 0.5, 2.0, 20.0, 2000.0])
def test_bits_predict_written_bytes(spread: float) -> None:
    index = nearest_step_index(0.01)
    weights = np.random.default_rng(3).laplace(0, spread * 0.01, 6000)
    integers = quantise(weights, index)
    predicted = float(PRIOR.bits(jnp.asarray(dequantise(integers, index)), step_size(index)))
    assert predicted == pytest.approx(8 * len(encode_tensors(uniform_tensors([integers], [index]))), rel=0.02)


def test_noisy_values_predict_the_rate_too() -> None:
    rng, step = np.random.default_rng(4), 0.25
    clean = rng.laplace(0, 1.0, 6000).astype(np.float32)
    noisy = clean + step * rng.uniform(-0.5, 0.5, 6000).astype(np.float32)
    predicted = float(PRIOR.bits(jnp.asarray(noisy), step, PRIOR.scale(jnp.asarray(clean), step)))
    index = nearest_step_index(step)
    assert predicted == pytest.approx(
        8 * len(encode_tensors(uniform_tensors([quantise(clean, index)], [index]))), rel=0.02
    )


def test_masses_sum_to_one() -> None:
    values = jnp.arange(-2000, 2001) * 0.5
    for scale in (0.05, 0.5, 3.0, 30.0):
        bits = jax.vmap(lambda value, scale=scale: PRIOR.bits(value, 0.5, scale))(values)
        assert float(jnp.sum(2.0**-bits)) == pytest.approx(1.0, abs=2e-5)


def test_bits_against_double_precision() -> None:
    for distance, b in [(0.0, 1.0), (0.3, 1e4), (0.49, 0.1), (0.51, 5.0), (3.0, 0.05), (40.0, 2.0)]:
        low, high = distance - 0.5, distance + 0.5
        if low < 0:
            mass = 1 - 0.5 * (math.exp(low / b) + math.exp(-high / b))
        else:
            mass = 0.5 * math.exp(-low / b) * -math.expm1(-1 / b)
        assert float(PRIOR.bits(jnp.float32(distance), 1.0, b)) == pytest.approx(-math.log2(mass), rel=3e-4)


def test_gradients_are_finite_and_point_to_the_mean() -> None:
    values = jnp.array([0.0, 1e-8, 0.49999, 0.5, 0.50001, -3.0, 1e6, -1e20])
    for scale in (1e-3, 1.0, 1e6):
        value_gradient = jax.grad(lambda v, scale=scale: PRIOR.bits(v, 1.0, scale))(values)
        assert bool(jnp.isfinite(value_gradient).all())
        assert bool((value_gradient * jnp.sign(values) >= 0).all())
    step_gradient = jax.grad(lambda step: PRIOR.bits(values[:6], step))(0.1)
    scale_gradient = jax.grad(lambda scale: PRIOR.bits(values[:6], 0.1, scale))(1.0)
    assert step_gradient < 0 and bool(jnp.isfinite(scale_gradient))


def test_the_gradient_is_the_slope() -> None:
    for value in (0.2, 0.4, 0.7, 5.0):
        slope = float(PRIOR.bits(jnp.float32(value + 0.01), 1.0, 2.0) - PRIOR.bits(jnp.float32(value - 0.01), 1.0, 2.0))
        assert float(jax.grad(PRIOR.bits)(jnp.float32(value), 1.0, 2.0)) == pytest.approx(slope / 0.02, rel=0.02)


def test_tensors_without_information() -> None:
    assert float(PRIOR.bits(jnp.zeros((100, 100)), 0.01)) < 1.0
    assert float(PRIOR.bits(jnp.zeros((0, 3)), 0.01)) == 0.0
    assert bool(jnp.isfinite(jax.grad(lambda v: PRIOR.bits(v, 0.01))(jnp.zeros(5))).all())
