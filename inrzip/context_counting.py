"""What latents of a patch say of others, learned from patches as files hold them (`inrzip.priors.latent_context`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.priors.integer_tables import Family
from inrzip.priors.latent_context import LAST_TABLE, REACH, Contexts, expected_256, ratios
from inrzip.priors.modulation_prior import ModulationPrior

from .integer_prices import price
from .modulation_payload import curves_of

NEIGHBOURS = 8
FIRST_STAGE = 12
"""Latents in it. Each stage doubles how many are known."""
LEAST_EXPECTED = 0.05
"""Added to mean magnitudes that weights are divided by."""
SHIFTS = range(-8, 13)
"""That are tried, in tables."""

Coded = tuple[Int[ndarray, "items latents"], Int[ndarray, " items"]]
"""The integers of patches, and their classes."""


def with_contexts(prior: ModulationPrior, coded: Sequence[Coded]) -> ModulationPrior:
    """The prior with contexts, of patches that were coded at each of its levels: each latent's neighbours are those of
    earlier stages whose magnitudes, over what they are expected to be, go with its own.
    """
    n = prior.layout.n_latents
    every = [curves_of(prior, int(step), groups) for step, (_, groups) in zip(prior.steps, coded, strict=True)]
    alike, mean = np.zeros((n, n)), np.zeros(n)
    for curves, (integers, _) in zip(every, coded, strict=True):
        usual = np.where(curves < 0, 0, expected_256(np.maximum(curves, 0) // 2)) / 256
        strange = (np.abs(integers) - usual) / np.sqrt(usual + usual**2 + LEAST_EXPECTED**2)
        alike += strange.T @ strange / len(strange)
        mean += usual.mean(0) / len(every)
    stages = _stages_of(mean)
    neighbours, weights = np.zeros((n, NEIGHBOURS), np.int64), np.zeros((n, NEIGHBOURS))
    for latent in range(n):
        known = np.flatnonzero(stages < stages[latent])
        best = known[np.argsort(-alike[latent, known], kind="stable")[:NEIGHBOURS]]
        neighbours[latent, : len(best)] = best
        weights[latent, : len(best)] = np.maximum(alike[latent, best], 0) / (mean[best] + LEAST_EXPECTED)
    whole = np.rint(255 * weights / np.maximum(weights.max(1, keepdims=True), 1e-9)).astype(np.int64)
    plain = Contexts(stages, neighbours, whole, np.zeros(2 * REACH + 1, np.int64))
    return dataclasses.replace(prior, contexts=dataclasses.replace(plain, shifts=_shifts(plain, every, coded)))


def _stages_of(mean: Float[ndarray, " latents"]) -> Int[ndarray, " latents"]:
    """The largest first, then as many as are known, again and again."""
    place = np.argsort(np.argsort(-mean, kind="stable"))
    return np.where(place < FIRST_STAGE, 0, 1 + np.log2(np.maximum(place, FIRST_STAGE) / FIRST_STAGE).astype(np.int64))


def _shifts(
    contexts: Contexts, every: Sequence[Int[ndarray, "items latents"]], coded: Sequence[Coded]
) -> Int[ndarray, " ratios"]:
    """For each ratio, by how many tables curves are to be moved, so that integers are cheapest."""
    costs = np.zeros((2 * REACH + 1, len(SHIFTS)))
    for curves, (integers, _) in zip(every, coded, strict=True):
        for columns in contexts.columns():
            at, own, values = ratios(contexts, curves, integers, columns), curves[:, columns], integers[:, columns]
            for curve in np.unique(own[own >= 0]):
                mine = own == curve
                for i, shift in enumerate(SHIFTS):
                    table = min(max(int(curve) // 2 + shift, 0), LAST_TABLE)
                    each = price(Family(int(curve) % 2), table, values[mine])
                    costs[:, i] += np.bincount(at[mine], each, 2 * REACH + 1)
    seen = np.flatnonzero(costs.sum(1) > 0)
    nearest = seen[np.abs(np.arange(len(costs))[:, None] - seen).argmin(1)]  # of ratios that never came
    found: Int[ndarray, " ratios"] = np.array(SHIFTS)[costs[nearest].argmin(1)]
    return found
