"""Every `--codec`, from samples to a file and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inrzip
from inrzip.architectures.base import Grid, Representation, parameters
from inrzip.architectures.siren import SirenConfig
from inrzip.checkpoint import Checkpoint
from inrzip.codecs.codebook import Codebook
from inrzip.codecs.levels import ChannelSteps
from inrzip.compression import segment_task
from inrzip.constraints import Constrained, Quantising
from inrzip.errors import InrzipError
from inrzip.examples import GridPoints
from inrzip.fitting import Schedule, fit
from inrzip.job import Job
from inrzip.media.samples import array_signal
from inrzip.metrics import psnr
from inrzip.network import dequantise_network
from inrzip.plan import Request
from inrzip.recipes import RECIPES
from inrzip.segment import FittedNetwork, Quantised, as_it_is, quantised
from inrzip.sensitivity import sensitivities
from inrzip.signal import Kind
from inrzip.weight_codecs import CODECS, Sensitivity, WeightCodec, choose_codec
from tests.common import picture

PICTURE = picture(24, 32, 3)
EXAMPLES = GridPoints(PICTURE, 0.0, 255.0, 1024)
SIZE = 2000
LEVEL = 0.01
LEAST_DB = {"half": 20.0, "pruned": 10.0}
"""Half floats leave few parameters, and pruning without fine-tuning spoils a network."""


@pytest.fixture(scope="module")
def network() -> Representation:
    config = SirenConfig(32, 2, (8, 8))
    return fit(config.build(Grid((24, 32), 3), jax.random.key(0)), EXAMPLES, Schedule(400, 5e-3))


def error_of(network: Representation) -> float:
    inputs, targets = EXAMPLES.items(jnp.arange(EXAMPLES.n_items))
    return float(jnp.mean((network.predict(inputs) - targets) ** 2))


LIKE_OTHERS = {
    "laplace",
    "mixture",
    "dual-axis",
    "factorised",
    "entropy-penalised",
    "tables",
    "cabac",
    "huffman",
    "pruned",
    "learned",
    "few-bits",
}
"""What is new in these is tested elsewhere; they take as long as all others together."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LIKE_OTHERS else ()) for name in CODECS]
)
def test_a_codec_keeps_to_the_size_and_decodes(name: str) -> None:
    found = inrzip.fit(PICTURE, "siren", codec=name, target_size=SIZE, effort=1)
    assert 0.8 * SIZE < found.n_bytes <= SIZE
    assert found.quality["psnr_db"] > LEAST_DB.get(name, 25.0)
    decoded = np.asarray(found.reader[:]).reshape(PICTURE.shape)
    error = np.mean((decoded.astype(float) - PICTURE) ** 2)
    assert found.quality["psnr_db"] == pytest.approx(psnr(error, 255.0), abs=1e-6)


@pytest.mark.parametrize("name", [name for name, codec in CODECS.items() if codec.constrain])
def test_fine_tuning_makes_a_better_network(name: str, network: Representation) -> None:
    """Of steps so coarse that rounding alone does harm."""
    codec = CODECS[name]
    assert codec.constrain is not None
    sensitivity = codec.survey(network, EXAMPLES)
    plain = dequantise_network(network, codec.quantise(network, sensitivity, LEVEL))
    tuned = fit(codec.constrain(network, sensitivity, LEVEL), EXAMPLES, Schedule(200, 1e-3))
    learned = tuned.quantised() if isinstance(tuned, Quantising) else None
    tensors = learned or codec.quantise(tuned.network, sensitivity, LEVEL)
    assert error_of(dequantise_network(network, tensors)) < 0.9 * error_of(plain)


@pytest.mark.parametrize("name", ["auto", "learned"])
def test_a_fit_that_goes_astray_is_dropped(name: str, network: Representation) -> None:
    signal = array_signal(PICTURE, Kind.IMAGE, Path("picture.npy"), None)
    codec = CODECS[name]
    task = segment_task(signal, 0, 24, 0, Request(effort=1), RECIPES["siren"], codec, {}, None)
    task = dataclasses.replace(task, schedule=Schedule(20, 1e-3))
    fitted = FittedNetwork(SirenConfig(32, 2, (8, 8)), network, sensitivities(network, EXAMPLES))
    assert codec.constrain is not None
    constrain = codec.constrain

    def spoil(network: Representation, sensitivity: Sensitivity, level: float) -> Constrained:
        return constrain(jax.tree.map(lambda array: 0.1 * array, network), sensitivity, level)

    def tuned(codec: WeightCodec) -> Quantised:
        job = Job(Checkpoint(None, ""), None, None)
        return quantised(dataclasses.replace(task, codec=codec), fitted, network, LEVEL, 0, job)

    plain = as_it_is(task, fitted, network, LEVEL)
    found = tuned(dataclasses.replace(codec, constrain=spoil))
    assert found.db(task) == plain.db(task) < tuned(codec).db(task)
    assert all(np.array_equal(a.integers, b.integers) for a, b in zip(found.tensors, plain.tensors, strict=True))


def test_the_levels_are_those_that_the_name_promises(network: Representation) -> None:
    def levels_of(name: str) -> list[object]:
        codec = CODECS[name]
        return [t.levels for t in codec.quantise(network, codec.survey(network, EXAMPLES), LEVEL)]

    assert any(isinstance(levels, ChannelSteps) for levels in levels_of("channels"))
    assert any(isinstance(levels, Codebook) for levels in levels_of("codebook"))
    codec = CODECS["few-bits"]
    tensors = codec.quantise(network, codec.survey(network, EXAMPLES), LEVEL)
    inner = tensors[2].integers
    assert inner.ndim == 2 and inner.min() >= -8 and inner.max() <= 7 and len(np.unique(inner)) > 8
    assert np.abs(tensors[0].integers).max() > 8


def test_rounding_by_outputs_is_better_than_to_the_nearest(network: Representation) -> None:
    codec = CODECS["outputs"]
    assert codec.polish is not None
    nearest = codec.quantise(network, codec.survey(network, EXAMPLES), LEVEL)
    polished = codec.polish(network, EXAMPLES, nearest)
    assert [t.levels for t in polished] == [t.levels for t in nearest]
    errors = [error_of(dequantise_network(network, tensors)) for tensors in (polished, nearest)]
    assert errors[0] < 0.9 * errors[1]


def test_quick_measures_follow_the_level(network: Representation) -> None:
    for codec in CODECS.values():
        if codec.quick is not None:
            sensitivity = codec.survey(network, EXAMPLES)
            sizes = [codec.quick(network, sensitivity, level) for level in (LEVEL, 4 * LEVEL)]
            assert sizes[1] < 0.8 * sizes[0] and sum(p.size for p in parameters(network)) / 8 < sizes[0]


def test_the_default_and_unknown_names() -> None:
    assert choose_codec(None).name == "auto"
    with pytest.raises(InrzipError, match="auto, trellis"):
        choose_codec("zip")
