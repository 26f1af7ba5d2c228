"""The integer tables that coding starts from; what every prior promises, and the curves that priors are made of."""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy import ndarray

from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.uniform import dequantise, nearest_step_index, quantise, step_size
from inrzip.priors import integer_tables
from inrzip.priors.dual_axis import DualAxisPrior
from inrzip.priors.factorised import FactorisedPrior
from inrzip.priors.gaussian import GaussianPrior
from inrzip.priors.integer_tables import Family, cumulative_frequencies, limit, mass_table
from inrzip.priors.laplace import LaplacePrior
from inrzip.priors.mixture import MixturePrior
from inrzip.priors.prior import estimated_bits
from inrzip.priors.rates import curve_bits, gauss_scale, scale_of_mean

PRIORS = {
    "laplace": LaplacePrior(),
    "gaussian": GaussianPrior(),
    "mixture": MixturePrior(),
    "dual axis": DualAxisPrior(),
    "factorised": FactorisedPrior(),
}
SMALL, LARGE = (20, 25), (60, 100)  # few shapes, as each is compiled for
EXTREME = 1 << 30
EDGE_SHAPES = [(), (0,), (1,), (3, 0, 2), (7,), (2, 3), (5, 40), (2, 3, 4), (3, 3, 4, 8), (1, 2, 3, 2, 2)]
CURVES = (Family.LAPLACE, Family.GAUSS)


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


# --- every prior


def draw(name: str, shape: tuple[int, ...], spread: float, seed: int = 0) -> ndarray:
    """Values in steps, unrounded, of the kind that a prior is for."""
    rng = np.random.default_rng(seed)
    values = (rng.laplace if name in ("laplace", "factorised") else rng.normal)(0, spread, shape)
    if name == "mixture":
        values *= np.where(rng.random(shape) < 0.3, 0.2, 1)
    if name == "dual axis":
        values *= rng.lognormal(0, 0.6, shape[-1]) * rng.lognormal(0, 0.6, (shape[-2], 1))
    return values


@partial(jax.jit, static_argnums=0)
def _initial(name: str, values: jax.Array, step: jax.Array) -> Any:
    return PRIORS[name].initial(values, step)


@partial(jax.jit, static_argnums=0)
def _bits(name: str, parameters: Any, values: jax.Array, step: jax.Array) -> tuple[jax.Array, Any]:
    return jax.value_and_grad(PRIORS[name].bits, (0, 1, 2))(parameters, values, step)


def evaluate(
    name: str, tensor: ndarray, step: ndarray | float = 1.0, parameters: Any = None
) -> tuple[float, tuple[Any, ndarray, ndarray]]:
    """Bits of a tensor, under the parameters estimated from it if none are given; their gradient by parameters, values
    and steps.
    """
    values = jnp.asarray(tensor, jnp.float32)
    steps = jnp.asarray(np.broadcast_to(np.float32(step), values.shape[-1:]))
    bits, gradient = _bits(name, _initial(name, values, steps) if parameters is None else parameters, values, steps)
    return float(bits), jax.tree.map(np.asarray, gradient)


def written_bits(prior: Any, integers: ndarray) -> int:
    """Of a tensor alone in a stream, which must decode to the same integers."""
    encoder = RangeEncoder()
    prior.coder().encode(encoder, integers)
    data = encoder.finish()
    decoder = RangeDecoder(data)
    decoded = prior.coder().decode(decoder, integers.shape)
    decoder.finish()
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, integers)
    return 8 * len(data)


@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.parametrize("spread", [2.0, 20.0, 2000.0])
@pytest.mark.parametrize("name", PRIORS)
def test_bits_predict_written_bytes(name: str, spread: float, shape: tuple[int, ...]) -> None:
    index = nearest_step_index(0.01)
    integers = quantise(draw(name, shape, spread) * step_size(index), index)
    predicted, _ = evaluate(name, dequantise(integers, index), step_size(index))
    assert predicted == pytest.approx(written_bits(PRIORS[name], integers.astype(np.int64)), rel=0.02)


@pytest.mark.parametrize("spread", [0.3, 0.6])
@pytest.mark.parametrize("name", [name for name in PRIORS if name != "dual axis"])
def test_bits_predict_written_bytes_at_low_rates(name: str, spread: float) -> None:
    integers = np.rint(draw(name, LARGE, spread)).astype(np.int64)
    predicted, _ = evaluate(name, integers)
    assert predicted == pytest.approx(written_bits(PRIORS[name], integers), rel=0.02)


@pytest.mark.parametrize("name", PRIORS)
def test_a_channels_own_step_is_its_unit(name: str) -> None:
    """Steps may be arrays: what counts are the integers."""
    integers, steps = np.rint(draw(name, SMALL, 5.0)), np.geomspace(0.01, 1, SMALL[1], dtype=np.float32)
    assert evaluate(name, integers * steps, steps)[0] == pytest.approx(evaluate(name, integers)[0], rel=1e-4)


@pytest.mark.parametrize("name", PRIORS)
def test_the_prior_for_the_data_is_the_cheapest(name: str) -> None:
    values = np.rint(draw(name, LARGE, 6.0))
    costs = {other: evaluate(other, values)[0] for other in PRIORS}
    assert costs[name] <= 1.003 * min(costs.values())  # a factorised density is as good as the right curve


@pytest.mark.parametrize("shape", EDGE_SHAPES)
@pytest.mark.parametrize("name", PRIORS)
def test_edge_cases_round_trip(name: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    for value in (0, 1, -1, 1000, EXTREME, -EXTREME, -(1 << 31)):
        tensor = np.full(shape, value, np.int64)
        written_bits(PRIORS[name], tensor)
        if tensor.size > 1:
            tensor.flat[0] = 3  # one value unlike the rest
            written_bits(PRIORS[name], tensor)
    for bound in (1, 3, 50, EXTREME):
        written_bits(PRIORS[name], rng.integers(-bound, bound + 1, shape))


@pytest.mark.parametrize("name", PRIORS)
def test_gradients_are_finite(name: str) -> None:
    rng = np.random.default_rng(2)
    tensors = [np.zeros(shape) for shape in ((), (0, 3), SMALL)]
    tensors += [np.full(SMALL, 3.0), rng.normal(0, 4, SMALL)]
    tensors += [rng.choice([0.0, 1e-8, 0.49999, 0.5, -3.0, 1e6, -1e9], SMALL)]
    for tensor in tensors:
        for leaf in jax.tree.leaves(evaluate(name, tensor, 0.7)[1]):
            assert bool(jnp.isfinite(leaf).all()), tensor


@pytest.mark.parametrize("name", PRIORS)
def test_larger_values_cost_more_and_larger_steps_less(name: str) -> None:
    values = np.rint(draw(name, LARGE, 5.0))
    _, (_, by_value, by_step) = evaluate(name, values)
    assert float(np.mean(np.asarray(by_value) * np.sign(values) >= 0)) > 0.98
    assert float(by_step.sum()) < 0


@pytest.mark.parametrize("name", PRIORS)
def test_no_descent_improves_the_parameters_much(name: str) -> None:
    values = np.rint(draw(name, LARGE, 4.0))
    parameters = _initial(name, jnp.asarray(values, jnp.float32), jnp.ones(LARGE[1]))
    first = least = evaluate(name, values, parameters=parameters)[0]
    for _ in range(40):
        bits, (gradient, _, _) = evaluate(name, values, parameters=parameters)
        least = min(least, bits)
        parameters = jax.tree.map(lambda p, g: p - 0.3 * g / values.size, parameters, gradient)
    assert first <= 1.005 * least


@pytest.mark.parametrize("name", PRIORS)
def test_tensors_without_information(name: str) -> None:
    assert evaluate(name, np.zeros(LARGE), 0.01)[0] < 40
    assert evaluate(name, np.zeros((0, 3)), 0.01)[0] == 0.0


def test_dual_axes_are_used_only_where_they_pay() -> None:
    values = np.random.default_rng(3).normal(0, 5, LARGE)
    scales = np.random.default_rng(4).lognormal(0, 1, LARGE[1])
    alike, unlike = (
        _initial("dual axis", jnp.asarray(tensor, jnp.float32), jnp.ones(LARGE[1]))
        for tensor in (values, values * scales)
    )
    assert not alike.rows.any() and not alike.columns.any()
    assert not unlike.rows.any() and unlike.columns.any()


def test_dual_axes_of_laplace_curves() -> None:
    prior, integers = DualAxisPrior(Family.LAPLACE), np.rint(draw("dual axis", SMALL, 5.0)).astype(np.int64)
    predicted = jax.jit(partial(estimated_bits, prior))(jnp.asarray(integers, jnp.float32), 1.0)
    assert float(predicted) == pytest.approx(written_bits(prior, integers), rel=0.02)


# --- curves


@pytest.mark.parametrize("family", CURVES)
@pytest.mark.parametrize("table", [4, 12, 17, 21, 31])
def test_curves_are_those_of_the_tables(family: Family, table: int) -> None:
    top = limit(table)
    masses = mass_table(family, table)[top:-1] / 2**24
    bits = np.asarray(curve_bits(family, jnp.arange(top + 1.0), jnp.float32(table_scale(table))))
    likely = masses > 1e-4
    np.testing.assert_allclose(bits[likely], -np.log2(masses[likely]), rtol=0.005, atol=0.002)


@pytest.mark.parametrize("family", CURVES)
@pytest.mark.parametrize("scale", [0.05, 0.5, 0.99, 1.01, 3.0, 30.0])
def test_masses_sum_to_one(family: Family, scale: float) -> None:
    bits = curve_bits(family, jnp.abs(jnp.arange(-1000.0, 1001.0)), jnp.float32(scale))
    assert float(jnp.sum(2.0**-bits)) == pytest.approx(1.0, abs=2e-5)


def test_laplace_bits_against_double_precision() -> None:
    for distance, b in [(0.0, 1.0), (0.3, 1e4), (0.49, 0.1), (0.51, 5.0), (3.0, 0.05), (40.0, 2.0)]:
        low, high = distance - 0.5, distance + 0.5
        if low < 0:
            mass = 1 - 0.5 * (math.exp(low / b) + math.exp(-high / b))
        else:
            mass = 0.5 * math.exp(-low / b) * -math.expm1(-1 / b)
        bits = curve_bits(Family.LAPLACE, jnp.float32(distance), jnp.float32(b))
        assert float(bits) == pytest.approx(-math.log2(mass), rel=3e-4)


@pytest.mark.parametrize("family", CURVES)
def test_the_gradient_is_the_slope(family: Family) -> None:
    def bits(distance: float) -> jax.Array:
        return curve_bits(family, jnp.float32(distance), jnp.float32(2.0))

    for distance in (0.2, 0.4, 0.7, 5.0):
        slope = float(bits(distance + 0.01) - bits(distance - 0.01)) / 0.02
        assert float(jax.grad(bits)(distance)) == pytest.approx(slope, rel=0.02)


def test_a_curve_that_is_not_a_priors_is_refused() -> None:
    with pytest.raises(ValueError, match="FLAT"):
        curve_bits(Family.FLAT, jnp.zeros(()), jnp.ones(()))


@pytest.mark.parametrize("table", [8, 12, 15, 17, 21, 26])
def test_scales_are_found_from_means(table: int) -> None:
    def moments(family: Family) -> Callable[[int], float]:
        masses = mass_table(family, table)[:-1] / 2**24
        return lambda power: float(np.abs(np.arange(len(masses)) - limit(table)) ** power @ masses)

    for family in CURVES:
        found = float(scale_of_mean(family, jnp.float32(moments(family)(1))))
        assert found == pytest.approx(table_scale(table), rel=0.05)
    assert float(gauss_scale(jnp.float32(moments(Family.GAUSS)(2)))) == pytest.approx(table_scale(table), rel=0.07)
