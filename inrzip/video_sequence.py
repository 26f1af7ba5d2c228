"""Videos that share a network (PFNR): what a member of a file holds, made from it and from the video before.

A payload holds, of each weight array, first which of the weights that earlier videos use this one uses, too; then its
own values of all others, 0 where it uses none. Its biases and head are its own. What a video uses, later ones cannot
change: so it decodes to the same for ever.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Bool, Float

from inrzip.architectures.base import Grid, Representation, parameters
from inrzip.architectures.pfnr import Pfnr, PfnrConfig, Subnetwork, is_shared
from inrzip.codecs.coder import IntegerCoder
from inrzip.codecs.levels import UniformSteps
from inrzip.codecs.weights import QuantisedTensor

from . import wire
from .configuration import decode_config
from .errors import CorruptFile
from .network import Shapes, decode_weights, encode_network, network_of

CHOICE_STEP = 192
"""The step index that a stream of choices says, and that means nothing: what a stream expects first, so that it takes
next to no bits.
"""
SETTABLE = "share"
"""The setting that may differ from video to video."""

Values = list[Float[np.ndarray, "..."]]
Earlier = Callable[[int], "Pool"]
"""The weights after the video so many members back."""


@dataclasses.dataclass(frozen=True)
class Pool:
    """The weights that videos use up to one of the configuration `config`: for each parameter array the values,
    float32, 0 where none is used.
    """

    config: PfnrConfig
    values: Values

    def following(self, before: int, grid: Grid, settings: dict[str, int]) -> Pool | None:
        """The same for a video `before` members later; None if it needs a network of its own: other settings, or frames
        too small for this one.
        """
        fields = {name: value for name, value in settings.items() if name != SETTABLE}
        if any(getattr(self.config, name, None) != value for name, value in fields.items()):
            return None
        config = dataclasses.replace(self.config, before=before, share=settings.get(SETTABLE, self.config.share))
        try:
            config.check(grid)
        except ValueError:
            return None
        return Pool(config, self.values)

    def begin(self, grid: Grid) -> Subnetwork:
        """What the fit of a video starts from."""
        network = self.config.build(grid, jax.random.key(0))
        return Subnetwork(network, self.kept([leaf.shape for leaf in parameters(network)]))

    def kept(self, shapes: Shapes) -> Values:
        """The values for arrays of these shapes: of other shapes there are none."""
        pairs = zip(self.values, shapes, strict=True)
        return [values if values.shape == shape else np.zeros(shape, np.float32) for values, shape in pairs]


def encode_video(
    config: PfnrConfig,
    module: Subnetwork,
    tensors: Sequence[QuantisedTensor],
    coders: Callable[[Sequence[QuantisedTensor]], list[IntegerCoder]],
) -> bytes:
    """The payload of a video whose own weights are `tensors`, in the order of the parameters."""
    kept = [np.asarray(bits) != 0 for bits in module.kept]
    choices = [
        QuantisedTensor(np.asarray(used)[old].astype(np.int32), UniformSteps(CHOICE_STEP))
        for used, old in zip(module.used, kept, strict=True)
        if old.any()
    ]
    own = [
        QuantisedTensor(tensor.integers[~old], tensor.levels) if old.any() else tensor
        for tensor, old in zip(tensors, kept, strict=True)
    ]
    stored = [*choices, *(tensor for tensor in own if tensor.integers.size)]
    return encode_network(config, stored, coders(stored))


def decode_video(
    payload: bytes, grid: Grid, earlier: Earlier, max_memory: int | None, version: int
) -> tuple[Representation, Pool]:
    """The network of a payload, and the weights that videos use up to it. Raises CorruptFile, or LimitExceeded if it
    would take more than `max_memory` bytes.
    """
    pool, kept = None, Values()
    before = before_of(payload, grid)
    if before:
        pool = earlier(before)

    def arrange(shapes: Shapes) -> Shapes:
        nonlocal kept
        if pool is None or len(pool.values) != len(shapes):
            if pool is not None:
                raise CorruptFile("it uses weights of another network")
            kept = [np.zeros(shape, np.float32) for shape in shapes]
            return shapes
        kept = pool.kept(shapes)
        n_kept = [int(np.count_nonzero(values)) for values in kept]
        own = [(values.size - n,) if n else values.shape for values, n in zip(kept, n_kept, strict=True)]
        chosen: Shapes = [(n,) for n in n_kept if n]
        return chosen + [shape for shape in own if 0 not in shape]

    config, tensors = decode_weights(payload, PfnrConfig.number, grid, max_memory, version, arrange)
    assert isinstance(config, PfnrConfig)
    remaining = iter(tensors)
    choices = [_choice(next(remaining)) if values.any() else None for values in kept]
    used, brought = Values(), Values()
    for values, choice in zip(kept, choices, strict=True):
        own = np.zeros(values.shape, np.float32)
        free = values == 0
        if free.any():
            own[free] = next(remaining).values().ravel()
        reused = np.zeros(values.shape, np.float32)
        if choice is not None:
            reused[~free] = np.where(choice, values[~free], 0)
        used.append(own + reused)
        brought.append(own)
    network = network_of(config, grid, used)
    assert isinstance(network, Pfnr)
    shared = is_shared(network)
    after = [old + own if each else np.zeros_like(own) for old, own, each in zip(kept, brought, shared, strict=True)]
    return network, Pool(config, after)


def before_of(payload: bytes, grid: Grid) -> int:
    """How many members back the video is that a payload uses weights of; 0: none. Raises CorruptFile."""
    config = decode_config(PfnrConfig, wire.Cursor(payload), grid)
    assert isinstance(config, PfnrConfig)
    return config.before


def _choice(tensor: QuantisedTensor) -> Bool[np.ndarray, " n"]:
    integers = tensor.integers
    if tensor.levels != UniformSteps(CHOICE_STEP) or ((integers != 0) & (integers != 1)).any():
        raise CorruptFile("its choice of weights is damaged")
    chosen: Bool[np.ndarray, " n"] = integers == 1
    return chosen
