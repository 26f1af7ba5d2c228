"""Named ways from a fitted network to integers and bytes, as `--codec` selects them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from inrzip.architectures.base import Representation, parameters
from inrzip.architectures.context import ContextConfig
from inrzip.architectures.grid import GridConfig
from inrzip.architectures.motion import MotionConfig
from inrzip.architectures.pfnr import PfnrConfig
from inrzip.codecs.cabac import Cabac
from inrzip.codecs.coder import IntegerCoder
from inrzip.codecs.huffman import HuffmanCoder
from inrzip.codecs.levels import HalfFloat, UniformSteps
from inrzip.codecs.minmax import quantise_minmax, quantise_pruned
from inrzip.codecs.predictive import DependentPredictive, Predictive
from inrzip.codecs.raw_coder import RawCoder
from inrzip.codecs.rd_rounding import HIGH_RATE_SLOPE, round_for_predictive
from inrzip.codecs.sparse import SparseCoder, prune
from inrzip.codecs.tables import AdaptiveTables
from inrzip.codecs.trellis import STEP_RATIO, quantise_trellis
from inrzip.codecs.uniform import allocate_steps, bit_price, step_size
from inrzip.codecs.weights import AUTOMATIC, QuantisedTensor, encode_tensors
from inrzip.priors.dual_axis import DualAxisPrior
from inrzip.priors.factorised import FactorisedPrior
from inrzip.priors.gaussian import GaussianPrior
from inrzip.priors.laplace import LaplacePrior
from inrzip.priors.mixture import MixturePrior

from .channel_sensitivity import channel_sensitivities, channel_steps
from .codebook_fit import LearnedCodebooks, start_codebooks
from .constraints import Constrained, Rounded
from .errors import InrzipError
from .examples import Examples
from .learned_steps import LearnedSteps, Range
from .low_bit import low_bit
from .network import quantise_network
from .output_rounding import Steps, round_outputs
from .rate_tuning import CONSISTENT_ENTROPY, ENTROPY_PENALISED, RateOptions, rate_tuned
from .recipes import Recipe
from .sensitivity import sensitivities

MINMAX_BITS = 8
KEPT = 0.6
"""Part of the weights that pruning keeps, as in NeRV (section 3.3)."""
PROBED = 16384
"""Points, at most, at which rounding by layer outputs looks; of frames, those few that stand for all."""
PRICE_SHARE = 0.4
"""What a bit is worth while steps are learned: see `inrzip.rate_tuning`."""

Sensitivity = Sequence[Any]
"""For each parameter array: how much it matters, as one float or as an array for its elements."""
Tensors = list[QuantisedTensor]


@dataclasses.dataclass(frozen=True)
class WeightCodec:
    """How arrays become integers, and integers bytes.

    - `quantise(network, sensitivity, level)`: a larger level gives coarser integers (see
      `inrzip.codecs.uniform.allocate_steps`), unless the codec has `fixed_bits`.
    - `coders(tensors)`: what codes these; each tensor gets the cheapest.
    - `constrain(network, sensitivity, level)`: what to fit in order to fine-tune; None: fine-tuning does not help.
    - `polish(network, examples, tensors)`: better integers of the same levels, without fitting.
    - `survey(network, examples)`: the sensitivity that the others take.
    - `quick(network, sensitivity, level)`: bytes that change with the level as the codec's do, found in less time.
    - `fixed_bits`: for a codec without levels, about what a parameter takes. The number of parameters then decides the
      size.
    """

    name: str
    summary: str
    quantise: Callable[[Representation, Sensitivity, float], Tensors]
    coders: Callable[[Sequence[QuantisedTensor]], list[IntegerCoder]]
    constrain: Callable[[Representation, Sensitivity, float], Constrained] | None = None
    polish: Callable[[Representation, Examples, Tensors], Tensors] | None = None
    survey: Callable[[Representation, Examples], Sensitivity] = sensitivities
    quick: Callable[[Representation, Sensitivity, float], int] | None = None
    fixed_bits: float | None = None


def _arrays(network: Representation) -> list[Float[np.ndarray, "..."]]:
    return [np.asarray(array, np.float32) for array in parameters(network)]


def _integers(tensors: Sequence[QuantisedTensor]) -> list[Float[np.ndarray, "..."]]:
    return [tensor.integers for tensor in tensors]


def _automatic(tensors: Sequence[QuantisedTensor]) -> list[IntegerCoder]:
    return [make() for make in AUTOMATIC]


def _predictive(tensors: Sequence[QuantisedTensor]) -> list[IntegerCoder]:
    return [DependentPredictive()]


# --- to integers


def _uniform(network: Representation, sensitivity: Sensitivity, level: float) -> Tensors:
    return quantise_network(network, allocate_steps(sensitivity, level))


def _trellis(network: Representation, sensitivity: Sensitivity, level: float) -> Tensors:
    steps = [max(0, step - STEP_RATIO) for step in allocate_steps(sensitivity, level)]
    pairs = zip(_arrays(network), steps, strict=True)
    return [QuantisedTensor(*quantise_trellis(array, step)) for array, step in pairs]


def _by_price(network: Representation, sensitivity: Sensitivity, level: float) -> Tensors:
    pairs = zip(_arrays(network), allocate_steps(sensitivity, level), strict=True)
    return [QuantisedTensor(round_for_predictive(a, i, HIGH_RATE_SLOPE), UniformSteps(i)) for a, i in pairs]


def _channels(network: Representation, sensitivity: Sensitivity, level: float) -> Tensors:
    levels = [channel_steps(elements, level) for elements in sensitivity]
    pairs = zip(_arrays(network), levels, strict=True)
    return [QuantisedTensor(own.quantise(array), own) for array, own in pairs]


def _minmax(network: Representation, sensitivity: Sensitivity, level: float) -> Tensors:
    return [QuantisedTensor(*quantise_minmax(array, MINMAX_BITS)) for array in _arrays(network)]


def _pruned(network: Representation, sensitivity: Sensitivity, level: float) -> Tensors:
    return [QuantisedTensor(*quantise_pruned(array, MINMAX_BITS)) for array in prune(_arrays(network), KEPT)]


def _half(network: Representation, sensitivity: Sensitivity, level: float) -> Tensors:
    return [QuantisedTensor(HalfFloat().quantise(array), HalfFloat()) for array in _arrays(network)]


def _quick(network: Representation, sensitivity: Sensitivity, level: float) -> int:
    return len(encode_tensors(_uniform(network, sensitivity, level), [AdaptiveTables()]))


def _codebook(network: Representation, sensitivity: Sensitivity, level: float) -> Tensors:
    return _with_codebooks(network, sensitivity, level).quantised()


def _few_bits(network: Representation, sensitivity: Sensitivity, level: float) -> Tensors:
    return _with_few_bits(network, sensitivity, level).quantised()


# --- what to fit, and other ways to better integers


def _rounded(network: Representation, sensitivity: Sensitivity, level: float) -> Constrained:
    return Rounded(network, [step_size(index) for index in allocate_steps(sensitivity, level)])


def _rounded_channels(network: Representation, sensitivity: Sensitivity, level: float) -> Constrained:
    return Rounded(network, [channel_steps(elements, level).steps() for elements in sensitivity])


def _with_learned_steps(network: Representation, sensitivity: Sensitivity, level: float) -> LearnedSteps:
    starts = [np.asarray(index) for index in allocate_steps(sensitivity, level)]
    return LearnedSteps(network, starts, [Range()] * len(starts), PRICE_SHARE * bit_price(level))


def _with_codebooks(network: Representation, sensitivity: Sensitivity, level: float) -> LearnedCodebooks:
    return start_codebooks(network, allocate_steps(sensitivity, level), level, axis=network.output_axis)


def _with_few_bits(network: Representation, sensitivity: Sensitivity, level: float) -> LearnedSteps:
    return low_bit(network, axis=network.output_axis)


def _by_outputs(network: Representation, examples: Examples, tensors: Tensors) -> Tensors:
    some = np.concatenate(list(examples.probe(everything=False)))[:PROBED]
    inputs, _ = examples.items(jnp.asarray(some))
    levels = [cast(Steps, tensor.levels) for tensor in tensors]
    return round_outputs(network, inputs, levels)


def _of_prior(name: str, summary: str, options: RateOptions) -> WeightCodec:
    """Uniform steps; the prior prices weights while they are fine-tuned, and codes them."""
    return WeightCodec(
        name,
        summary,
        _uniform,
        lambda tensors: [options.prior.coder()],
        constrain=lambda network, sensitivity, level: rate_tuned(network, sensitivity, level, options),
        quick=_quick,
    )


CODECS: Mapping[str, WeightCodec] = {
    codec.name: codec
    for codec in (
        WeightCodec(
            "auto",
            "uniform steps by sensitivity; each tensor in the code that takes least",
            _uniform,
            _automatic,
            _rounded,
            quick=_quick,
        ),
        WeightCodec("trellis", "trellis-coded steps, predictive coding", _trellis, _predictive, quick=_quick),
        WeightCodec(
            "priced",
            "uniform steps; rounding that asks the coder for its bits (DeepCABAC), without fine-tuning",
            _by_price,
            lambda _: [Predictive()],
            quick=_quick,
        ),
        WeightCodec(
            "channels",
            "uniform steps for each channel, by its sensitivity",
            _channels,
            _automatic,
            _rounded_channels,
            survey=channel_sensitivities,
        ),
        WeightCodec(
            "learned",
            "uniform steps, fitted with the weights (LSQ)",
            _uniform,
            _automatic,
            _with_learned_steps,
            quick=_quick,
        ),
        WeightCodec(
            "codebook",
            "codewords and weights fitted together (JLCM)",
            _codebook,
            _automatic,
            _with_codebooks,
            quick=_quick,
        ),
        WeightCodec(
            "outputs",
            "uniform steps; rounding that keeps what layers put out (COMQ), without fine-tuning",
            _uniform,
            _automatic,
            polish=_by_outputs,
            quick=_quick,
        ),
        WeightCodec(
            "few-bits",
            "4 bits a weight, 8 in the first and last layers, fine-tuned (ANI)",
            _few_bits,
            _automatic,
            _with_few_bits,
            fixed_bits=4.2,
        ),
        WeightCodec("tables", "uniform steps; adaptive tables", _uniform, lambda _: [AdaptiveTables()], _rounded),
        WeightCodec("cabac", "uniform steps; context-adaptive binary coding", _uniform, lambda _: [Cabac()], _rounded),
        _of_prior("laplace", "uniform steps; Laplace prior", RateOptions(LaplacePrior())),
        _of_prior("gaussian", "uniform steps; Gaussian prior", RateOptions(GaussianPrior())),
        _of_prior("mixture", "uniform steps; prior of two Laplace densities", RateOptions(MixturePrior())),
        _of_prior("dual-axis", "uniform steps; scales for rows and columns (NVRC)", RateOptions(DualAxisPrior())),
        _of_prior("factorised", "uniform steps; learned density", RateOptions(FactorisedPrior(), learn_prior=True)),
        _of_prior("entropy-penalised", "learned steps and density (Oktay et al.)", ENTROPY_PENALISED),
        _of_prior("consistent-entropy", "learned steps, Gaussian prior (Boosting-NeRV)", CONSISTENT_ENTROPY),
        WeightCodec(
            "huffman",
            "8 bits from least to greatest, Huffman words (HNeRV): a baseline",
            _minmax,
            lambda tensors: [HuffmanCoder.surveying(_integers(tensors))],
            fixed_bits=7.2,
        ),
        WeightCodec(
            "pruned",
            "40 % of the weights removed, the others as in `huffman` (NeRV): a baseline",
            _pruned,
            lambda tensors: [SparseCoder.surveying(_integers(tensors))],
            fixed_bits=5.4,
        ),
        WeightCodec("half", "half-precision floats: a baseline", _half, lambda _: [RawCoder()], fixed_bits=16.0),
    )
}


def choose_codec(name: str | None, recipe: Recipe | None = None) -> WeightCodec:
    """The codec of that name; None: `auto`. Raises InrzipError if there is none, or not for the recipe."""
    if name is not None and recipe is not None and recipe.architecture in (GridConfig, MotionConfig, ContextConfig):
        raise InrzipError(f"recipe {recipe.name} codes its networks in its own way; --codec is for recipes like siren")
    chosen = "auto" if name is None else name
    if chosen not in CODECS:
        raise InrzipError(f"codec {chosen!r} does not exist; there are {', '.join(CODECS)}")
    codec = CODECS[chosen]
    if recipe is not None and recipe.architecture is PfnrConfig and not _keeps_zeros(codec):
        raise InrzipError(f"recipe {recipe.name} needs one step for each tensor, and zeros that stay; not {chosen}")
    return codec


def _keeps_zeros(codec: WeightCodec) -> bool:
    """Whether tensors have one step each, and weights that are 0 remain so."""
    return codec.quantise in (_uniform, _by_price) and codec.polish is None
