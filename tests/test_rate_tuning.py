"""Fine-tuning with rounded weights and a price for bits."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inrzip.architectures.base import Grid, Representation, Trainable, parameters, predict
from inrzip.architectures.siren import SirenConfig
from inrzip.codecs.range_coder import RangeEncoder
from inrzip.codecs.uniform import allocate_steps, quantise, step_size
from inrzip.constraints import Rounded
from inrzip.examples import GridPoints
from inrzip.fitting import Schedule, TrainableT, fit, start
from inrzip.priors.dual_axis import DualAxisPrior
from inrzip.priors.gaussian import GaussianPrior
from inrzip.priors.laplace import LaplacePrior
from inrzip.priors.prior import Prior
from inrzip.rate_tuning import CONSISTENT_ENTROPY, DEFAULT, ENTROPY_PENALISED, RateOptions, RateTuned, rate_tuned
from inrzip.sensitivity import sensitivities
from tests.common import picture

PICTURE = picture(24, 32, 3)
EXAMPLES = GridPoints(PICTURE, 0.0, 255.0, 1024)
GRID = Grid((24, 32), 3)
CONFIG = SirenConfig(32, 2, (8, 8))
LEVEL = 0.004


@pytest.fixture(scope="module")
def network() -> Representation:
    """A SIREN of 1300 parameters in six arrays, fitted."""
    return fit(CONFIG.build(GRID, jax.random.key(0)), EXAMPLES, Schedule(400, 5e-3))


@pytest.fixture(scope="module")
def sensitivity(network: Representation) -> list[float]:
    return sensitivities(network, EXAMPLES)


@eqx.filter_jit
def prepare(module: Trainable) -> tuple[Trainable, jax.Array]:
    return module.prepare()


@eqx.filter_jit
def penalty_and_gradient(module: TrainableT) -> tuple[jax.Array, TrainableT]:
    return eqx.filter_value_and_grad(lambda module: module.prepare()[1])(module)


def error_of(network: Trainable) -> float:
    inputs, targets = EXAMPLES.items(jnp.arange(EXAMPLES.n_items))
    assert isinstance(network, Representation)
    return float(np.mean((np.asarray(predict(network, inputs)) - np.asarray(targets)) ** 2))


def integers_of(network: Representation, indices: list[int]) -> list[np.ndarray]:
    arrays = [np.asarray(w) for w in parameters(network)]
    return [quantise(w, i).astype(np.int64) for w, i in zip(arrays, indices, strict=True)]


def coded_bits(tensors: list[np.ndarray], prior: Prior) -> int:
    encoder, coder = RangeEncoder(), prior.coder()
    for tensor in tensors:
        coder.encode(encoder, tensor)
    return 8 * len(encoder.finish())


def test_preparing_rounds_as_the_quantiser_does(network: Representation, sensitivity: list[float]) -> None:
    tuned = rate_tuned(network, sensitivity, LEVEL)
    indices = allocate_steps(sensitivity, LEVEL)
    assert tuned.step_indices() == indices
    prepared, penalty = prepare(tuned)
    rounded = zip(parameters(prepared), integers_of(network, indices), indices, strict=True)
    for array, integers, index in rounded:
        np.testing.assert_allclose(np.asarray(array), integers * step_size(index), rtol=1e-5, atol=1e-9)
    assert float(penalty) > 0


@pytest.mark.parametrize("prior", [LaplacePrior(), GaussianPrior(), DualAxisPrior()])
def test_the_penalty_is_the_price_of_the_written_bytes(
    prior: Prior, network: Representation, sensitivity: list[float]
) -> None:
    tuned = rate_tuned(network, sensitivity, LEVEL, RateOptions(prior))
    _, penalty = prepare(tuned)
    written = coded_bits(integers_of(network, tuned.step_indices()), prior)
    assert tuned.price == pytest.approx(DEFAULT.price_share * LEVEL**2 * math.log(2) / 6)
    assert float(penalty) / tuned.price == pytest.approx(written, rel=0.04)  # many of its tensors are tiny


def test_a_price_buys_a_smaller_network(network: Representation, sensitivity: list[float]) -> None:
    indices = allocate_steps(sensitivity, LEVEL)
    schedule = Schedule(150, 1e-3)
    plain = fit(Rounded(network, [step_size(i) for i in indices]), EXAMPLES, schedule).network
    tuned = fit(rate_tuned(network, sensitivity, LEVEL, RateOptions(price_share=2.0)), EXAMPLES, schedule)
    assert tuned.step_indices() == indices
    bits, error = [], []
    for candidate in (plain, tuned.network):
        bits.append(coded_bits(integers_of(candidate, indices), GaussianPrior()))
        error.append(error_of(prepare(rate_tuned(candidate, sensitivity, LEVEL))[0]))
    assert bits[1] < 0.97 * bits[0]
    price = LEVEL**2 * math.log(2) / 6
    assert error[1] + price * bits[1] < error[0] + price * bits[0]


@pytest.mark.parametrize("options", [ENTROPY_PENALISED, CONSISTENT_ENTROPY])
def test_published_schemes_learn_steps_on_the_ladder(options: RateOptions) -> None:
    small = SirenConfig(24, 1, (8, 8)).build(GRID, jax.random.key(0))
    tuned = rate_tuned(small, [1.0] * len(parameters(small)), LEVEL, options)
    before = error_of(prepare(tuned)[0])
    after = fit(tuned, EXAMPLES, Schedule(60, 2e-3))
    assert after.step_indices() != tuned.step_indices()
    assert error_of(prepare(after)[0]) < before
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(start(after).parameters))
    for array, integers, index in zip(
        parameters(prepare(after)[0]),
        integers_of(after.network, after.step_indices()),
        after.step_indices(),
        strict=True,
    ):
        np.testing.assert_allclose(np.asarray(array), integers * step_size(index), rtol=1e-5, atol=1e-9)


def test_bits_below_the_target_are_free(network: Representation, sensitivity: list[float]) -> None:
    def penalty(target: float) -> tuple[float, bool]:
        module = rate_tuned(network, sensitivity, LEVEL, dataclasses.replace(DEFAULT, target_bits=target))
        value, gradient = penalty_and_gradient(module)
        return float(value), any(bool(leaf.any()) for leaf in jax.tree.leaves(gradient))

    n_weights = sum(w.size for w in parameters(network))
    (free, moves_free), (nothing, moves_nothing), (some, moves_some) = penalty(40.0), penalty(0.0), penalty(1.0)
    assert free == 0 and not moves_free
    assert moves_nothing and moves_some
    price = rate_tuned(network, sensitivity, LEVEL).price
    assert nothing - some == pytest.approx(price * n_weights, rel=1e-3)


def test_learned_steps_and_priors_have_gradients(network: Representation, sensitivity: list[float]) -> None:
    def gradient(options: RateOptions) -> RateTuned:
        module = rate_tuned(network, sensitivity, LEVEL, options)
        return penalty_and_gradient(module)[1]

    learned = gradient(RateOptions(GaussianPrior(), learn_prior=True, learn_steps=True))
    assert all(float(position) < 0 for position in learned.positions)  # larger steps cost less
    assert len(jax.tree.leaves(learned.learned)) == len(learned.positions)
    fixed = gradient(DEFAULT)
    assert not any(float(position) for position in fixed.positions) and not jax.tree.leaves(fixed.learned)


def test_tensors_that_do_not_matter_become_zeros(network: Representation) -> None:
    n = len(parameters(network))
    tuned = rate_tuned(network, [0.0] * n, LEVEL)
    prepared, penalty = prepare(tuned)
    assert not any(w.any() for w in parameters(prepared)) and bool(jnp.isfinite(penalty))
    assert max(tuned.step_indices()) == 511


def test_the_wrapper_itself_is_no_network(network: Representation, sensitivity: list[float]) -> None:
    module = rate_tuned(network, sensitivity, LEVEL)
    with pytest.raises(TypeError, match="prepare"):
        module.predict_training(jnp.zeros((1, 2)), jnp.zeros((1, 3)))
    assert isinstance(module.finish(None, 0, 1), Representation)
