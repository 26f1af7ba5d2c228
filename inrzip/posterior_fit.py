"""From patches of signals to the indices that files hold: a variational fit, and blocks that are coded one by one.

After COMBINER (Guo et al., NeurIPS 2023, section 3) and RECOMBINER (He et al., ICLR 2024): latents have a Gaussian
posterior, which is fitted to squared error plus lambda times the bits from the prior; then a block of latents is coded,
stays as it came out, and the others make up for it in some more steps, and so on. All patches are fitted side by side.

Own choices: a block's candidate is the one at which the posterior is densest for what the prior is, not a sample; a
block that no candidate suits is split; how many blocks a patch has follows from what they are worth to it at lambda;
and each patch takes the class of priors that suits it best.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from inrzip.codecs import parted_blocks
from inrzip.codecs.learned_numbers import NumberCounts
from inrzip.codecs.parted_blocks import Block
from inrzip.priors.latent_prior import LatentPrior

from .latent_fit import BATCHES, Fit, Wish
from .parted_payload import PartedPatch
from .posterior_payload import Coded
from .posterior_steps import STEPS_AT_ONCE

CLASS_SHARE, FIRST_SHARE, SETTLE_SHARE = 0.15, 0.35, 0.15
"""Of all steps: those after which classes are chosen, those after which blocks are counted, those before coding."""
CODING_RATE = 0.4
"""Rates while blocks are coded, as a part of the largest; they fall to a tenth of it."""
EARLY_BLOCKS, EARLY_WEIGHT = 8, 3.0
"""The first blocks are followed by more steps than later ones."""
MANY = 12
"""Patches of a signal from which what is told of blocks can be learned on the way."""

Watch = Callable[[float, str], bool]
"""Is told how much is done and a remark; true: what is left is to be hurried."""


def encode_patches(
    prior: LatentPrior,
    targets: Float[ndarray, "patches samples channels"],
    inside: Float[ndarray, "patches samples"],
    wish: Wish,
    watch: Watch,
) -> list[Coded]:
    """Codes patches to a wish. They know nothing of each other, and each may be a signal of its own."""
    coded: list[Coded] = []
    for part, told in _in_turn(len(targets), watch):
        coded += _encode_some(prior, targets[part], inside[part], _share(wish, part, len(targets)), told)
    return coded


def encode_many(
    prior: LatentPrior,
    targets: Float[ndarray, "patches samples channels"],
    inside: Float[ndarray, "patches samples"],
    wish: Wish,
    watch: Watch,
) -> list[PartedPatch]:
    """Codes the patches of one signal, which are many: what is told of their blocks is learned on the way. What they
    take is lambda's choice alone.
    """
    coded: list[PartedPatch] = []
    numbers = NumberCounts()
    for part, told in _in_turn(len(targets), watch):
        coded += _encode_parted(prior, targets[part], inside[part], wish, told, numbers)
    return coded


def _in_turn(n: int, watch: Watch) -> Iterator[tuple[slice, Watch]]:
    """The patches that are fitted side by side, and who is told how far they are."""
    for first in range(0, n, BATCHES[-1]):
        part = slice(first, min(first + BATCHES[-1], n))

        def told(done: float, remark: str, part: slice = part) -> bool:
            return watch((part.start + done * (part.stop - part.start)) / n, remark)

        yield part, told


def bits_of_patches(
    prior: LatentPrior,
    targets: Float[ndarray, "patches samples channels"],
    inside: Float[ndarray, "patches samples"],
    wish: Wish,
    hurried: Callable[[], bool] = lambda: False,
) -> int:
    """What the blocks of all patches would take together, about."""
    total = 0
    for part, told in _in_turn(len(targets), lambda done, remark: hurried()):
        fit = _fitted(prior, targets[part], inside[part], wish, told)
        if len(targets) >= MANY:
            total += fit.count_useful()[1]
        else:
            total += sum(n * bits for n, bits in zip(fit.count_blocks(), fit.bits, strict=True))
    return total


def _share(wish: Wish, part: slice, n: int) -> Wish:
    """What some of `n` patches may take."""
    if wish.bits is None:
        return wish
    return dataclasses.replace(wish, bits=wish.bits * (part.stop - part.start) // n)


def nearest_levels(prior: LatentPrior, weight: float) -> list[int]:
    """The levels whose lambda is nearest: its classes."""
    distance = [abs(math.log(w / weight)) for w in prior.weights]
    return [i for i, d in enumerate(distance) if d < min(distance) + 1e-6]


def _fitted(prior: LatentPrior, targets: ndarray, inside: ndarray, wish: Wish, watch: Watch) -> Fit:
    """Patches up to where their blocks are counted."""
    classes = nearest_levels(prior, wish.weight)
    fit = Fit(prior, targets, inside, wish, [classes[len(classes) // 2]] * len(targets))
    n_class, n_first = (max(STEPS_AT_ONCE, round(share * wish.steps)) for share in (CLASS_SHARE, FIRST_SHARE))
    if len(prior.layout.grids) == 1:
        fit.begin_as_linear(classes)
    else:
        if prior.layout.grids:
            fit.come_nearer()
        fit.advance(n_class, 1.0, 1.0, adapt=False)
        if len(classes) > 1:
            fit.choose_classes(classes)
    hurried = watch(CLASS_SHARE, "")
    fit.advance(STEPS_AT_ONCE if hurried else n_first, 1.0, CODING_RATE, adapt=False)
    return fit


def _encode_some(prior: LatentPrior, targets: ndarray, inside: ndarray, wish: Wish, watch: Watch) -> list[Coded]:
    fit = _fitted(prior, targets, inside, wish, watch)
    counts = fit.count_blocks()
    hurried = watch(CLASS_SHARE + FIRST_SHARE, f"{fit.db():.2f} dB")
    n_settle = STEPS_AT_ONCE if hurried else max(STEPS_AT_ONCE, round(SETTLE_SHARE * wish.steps))
    fit.advance(n_settle, CODING_RATE, CODING_RATE, adapt=True)
    done, last = CLASS_SHARE + FIRST_SHARE + SETTLE_SHARE, max(counts)
    effort = np.where(np.arange(last) < EARLY_BLOCKS, EARLY_WEIGHT, 1.0)
    effort *= max(wish.steps * (1 - done), 1) / max(effort.sum(), 1)
    due = 0.0
    blocks: list[list[tuple[int, ...]]] = [[] for _ in counts]
    for block in range(last):
        for patch, indices in fit.code(block, counts):
            blocks[patch].append(indices)
        due += effort[block]
        rate = CODING_RATE * 10 ** (-(block + 1) / last)
        if due >= STEPS_AT_ONCE and not hurried and block + 1 < last:
            fit.advance(int(due), rate, rate, adapt=True)
            due -= STEPS_AT_ONCE * (int(due) // STEPS_AT_ONCE)
        hurried = watch(done + (1 - done) * (block + 1) / last, f"block {block + 1} of {last}")
    return [Coded(level, own, prior.bits - bits) for level, own, bits in zip(fit.levels, blocks, fit.bits, strict=True)]


def _encode_parted(
    prior: LatentPrior, targets: ndarray, inside: ndarray, wish: Wish, watch: Watch, numbers: NumberCounts
) -> list[PartedPatch]:
    fit = _fitted(prior, targets, inside, wish, watch)
    counts, _ = fit.count_useful()
    done, last = CLASS_SHARE + FIRST_SHARE, max(counts)
    hurried = watch(done, f"{fit.db():.2f} dB")
    effort = np.where(np.arange(last) < EARLY_BLOCKS, EARLY_WEIGHT, 1.0)
    effort *= max(wish.steps * (1 - done), 1) / max(effort.sum(), 1)
    due = 0.0
    blocks: list[list[Block]] = [[] for _ in counts]
    for number in range(last):
        for patch, block in fit.code_parts(number, counts, numbers):
            blocks[patch].append(block)
        due += effort[number]
        if due >= STEPS_AT_ONCE and not hurried and number + 1 < last:
            rate = CODING_RATE * 10 ** (-(number + 1) / last)
            fit.advance(int(due), rate, rate, adapt=False)
            due -= STEPS_AT_ONCE * (int(due) // STEPS_AT_ONCE)
        hurried = watch(done + (1 - done) * (number + 1) / last, f"block {number + 1} of {last}")
    return [PartedPatch(level, own[: parted_blocks.useful(own)]) for level, own in zip(fit.levels, blocks, strict=True)]
