"""Which parts blocks of latents are coded as (`inrzip.codecs.parted_blocks`): the number of bits, spread and candidate
that the signal is best with for what they take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from inrzip.codecs import parted_blocks, relative_entropy
from inrzip.codecs.learned_numbers import NumberCounts
from inrzip.codecs.parted_blocks import HALVES, MAX_BITS, MAX_MEMBERS, NOTHING, Block, Part

LEAST_GAP = 0.05
"""A posterior is taken to be at least so much denser than the prior, in what divides their squares."""
WORTH_SPLITTING = 10.0
"""Bits that a part has to lose by its candidate, for its halves to be tried."""
FARTHEST_BEFORE = 2.0
"""In deviations of the candidates one step narrower but one: widely spread ones are tried where latents lie farther."""
AT_ONCE = 64
"""Parts whose candidates are looked at by one product of matrices."""


class Latents(NamedTuple):
    """Of a part: what the square of each latent and the latent itself, in deviations of the prior, are worth in nats:
    the logarithm of the posterior's density over the prior's, which is 0 for latents of 0.
    """

    by_square: Float[ndarray, " size"]
    by_unit: Float[ndarray, " size"]


def latents_of(mean: Float[ndarray, " size"], deviation: Float[ndarray, " size"]) -> Latents:
    """Of a posterior, in deviations of the prior."""
    return Latents(*relative_entropy.densities(mean, deviation, LEAST_GAP))


def blocks_of(counts: NumberCounts, every: Sequence[Latents], bits: int = MAX_BITS) -> list[Block]:
    """What blocks are coded as, where numbers take what they do after `counts`; with indices of up to `bits` bits."""
    return [block for block, _ in _found(counts, every, False, bits)]


def _found(counts: NumberCounts, every: Sequence[Latents], split: bool, bits: int) -> list[tuple[Block, float]]:
    """And what they are worth less what they take, in bits."""
    found: list[tuple[Block, float]] = [((NOTHING,), 0.0)] * len(every)
    order = np.argsort([len(each.by_square) for each in every], kind="stable")
    lost = np.zeros(len(every))
    for first in range(0, len(order), AT_ONCE):
        here = order[first : first + AT_ONCE]
        for i, (part, worth, missed) in zip(here, _whole(counts, [every[i] for i in here], split, bits), strict=True):
            found[i], lost[i] = ((part,), worth), missed
    parts = [i for i in range(len(every)) if lost[i] > WORTH_SPLITTING and len(every[i].by_square) > 1]
    if parts:
        cut = [_halves(every[i]) for i in parts]
        pieces = _found(counts, [half for both in cut for half in both], True, bits)
        for number, i in enumerate(parts):
            (one, worth_of_one), (other, worth_of_other) = pieces[2 * number : 2 * number + 2]
            _, price, _ = parted_blocks.costs(counts, len(every[i].by_square), split)
            if worth_of_one + worth_of_other - price > found[i][1]:
                found[i] = (HALVES, *one, *other), worth_of_one + worth_of_other - price
    return found


def _halves(latents: Latents) -> tuple[Latents, Latents]:
    first, _ = parted_blocks.halves(len(latents.by_square))
    one, other = (Latents(*(array[span] for array in latents)) for span in (slice(first), slice(first, None)))
    return one, other


def _whole(counts: NumberCounts, every: Sequence[Latents], split: bool, bits: int) -> list[tuple[Part, float, float]]:
    """For each part, without splitting it: what it is coded as, what that is worth less what it takes, and what is lost
    by its candidate, in bits.
    """
    sizes = [len(each.by_square) for each in every]
    by_square, by_unit = np.zeros((2, len(every), max(sizes)), np.float32)
    for row, (latents, n) in enumerate(zip(every, sizes, strict=True)):
        by_square[row, :n], by_unit[row, :n] = latents
    candidates = relative_entropy.units(0, bits, MAX_MEMBERS, MAX_MEMBERS)[:, : max(sizes)].reshape(2 * max(sizes), -1)
    prices = {n: parted_blocks.costs(counts, n, split) for n in set(sizes)}
    chosen: list[tuple[Part, float, float]] = []
    best = np.array([-prices[n][0] for n in sizes])
    parts, worths = [NOTHING] * len(every), np.zeros(len(every))
    farthest, factors = np.abs(by_unit / (1 - 2 * by_square)).max(1), parted_blocks.scale_factors()
    for spread, factor in enumerate(map(np.float32, factors)):
        rows = np.arange(len(every))
        if spread > 1:
            rows = rows[farthest >= FARTHEST_BEFORE * factors[spread - 2]]
        scores = np.concatenate([by_square[rows] * factor**2, by_unit[rows] * factor], 1) @ candidates
        for row, values, indices in zip(rows.tolist(), *_best_of_first(scores, bits), strict=True):
            worth = values / math.log(2) - prices[sizes[row]][2][spread, :bits]
            at = int(np.argmax(worth))
            if worth[at] > best[row]:
                best[row], worths[row] = worth[at], values[at] / math.log(2)
                parts[row] = Part(at + 1, spread, int(indices[at]))
    for row, latents in enumerate(every):
        most = float((np.square(latents.by_unit) / (-4 * latents.by_square)).sum()) / math.log(2)
        chosen.append((parts[row], float(best[row]), most - float(worths[row])))
    return chosen


def _best_of_first(scores: Float[ndarray, "rows count"], bits: int) -> tuple[ndarray, ndarray]:
    """The largest of the first 2, 4, .., 2^bits scores of each row, and where they are."""
    rows = np.arange(len(scores))
    values, places = np.empty((len(scores), bits)), np.zeros((len(scores), bits), np.int64)
    value, place = scores[:, 0].astype(np.float64), np.zeros(len(scores), np.int64)
    for i in range(bits):
        first = 1 << i
        at = first + np.argmax(scores[:, first : 2 * first], 1)
        better = scores[rows, at] > value
        value, place = np.where(better, scores[rows, at], value), np.where(better, at, place)
        values[:, i], places[:, i] = value, place
    return values, places
