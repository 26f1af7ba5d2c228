"""Signals with a learned prior to a goal: which lambda, and how many blocks (see `inrzip.posterior_fit`)."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float, Shaped

from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import MAX_PATCHES, cut, planes_of
from inrzip.priors import latent_prior
from inrzip.priors.latent_prior import LatentPrior

from . import wire
from .errors import InrzipError, TargetMissed
from .job import Job
from .network import decode_network
from .posterior_fit import Wish, encode_patches, nearest_levels
from .posterior_payload import Coded, encode_payload
from .segment import Coded as CodedSegment
from .segment import Goal, Task
from .signal import Kind, Spec

STEPS = (60, 120, 240, 400, 600, 1000, 1600, 2600, 4000)
"""Of a fit, for each effort."""
QUALITY_DECADE = 25.0
"""Points of --quality for a tenth of lambda; 50 is the middle of those that the prior was learned at."""
PRIOR_KINDS = {Kind.AUDIO: "audio", Kind.PROTEIN: "protein"}
"""Of other signals the prior is one of images."""
SEARCHES = 6
WINDOW_DB = 0.25
DB_PER_DECADE = -7.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """The prior of a signal, its name in files, and how patches of it are coded."""

    name: int
    prior: LatentPrior
    wish: Wish


def middle(prior: LatentPrior) -> float:
    """The middle one of a prior's lambdas, on a logarithmic scale."""
    return math.sqrt(min(prior.weights) * max(prior.weights))


def weight_at(prior: LatentPrior, quality: float) -> float:
    """Lambda for --quality."""
    return float(middle(prior) * 10 ** (-(quality - 50) / QUALITY_DECADE))


def prior_for(spec: Spec, name: str | None) -> tuple[int, LatentPrior]:
    """The prior of that name, or the package's, and its name in files. Raises InrzipError where it does not fit."""
    found, prior = latent_prior.named(name, PRIOR_KINDS.get(spec.kind, "image"))
    try:
        list(planes_of(spec.channels, prior.layout.channels))
    except ValueError as error:
        raise InrzipError(f"{error}; use another --recipe") from error
    return found, prior


class OfPatches(Protocol):
    """What patches are made of."""

    @property
    def channels(self) -> int: ...
    @property
    def patch(self) -> tuple[int, ...]: ...


class OfLayout(Protocol):
    """A prior, as far as patches go."""

    @property
    def layout(self) -> OfPatches: ...


def patches_of(
    prior: OfLayout, spec: Spec, samples: Shaped[np.ndarray, "part ..."]
) -> tuple[Float[np.ndarray, "patches samples channels"], Float[np.ndarray, "patches samples"]]:
    """All patches of a signal, plane after plane, in the channels of the prior. Raises InrzipError for too many."""
    channels = prior.layout.channels
    values = spec.normalise(samples).reshape(*samples.shape[: len(spec.shape)], spec.channels).astype(np.float32)
    targets, inside = [], []
    for plane in planes_of(spec.channels, channels):
        own, there = cut(np.repeat(values[..., plane], channels if spec.channels == 1 else 1, -1), prior.layout.patch)
        targets.append(own)
        inside.append(there)
    found = np.concatenate(targets)
    if len(found) > MAX_PATCHES:
        raise InrzipError(f"{len(found)} patches; this recipe codes {MAX_PATCHES} at most: use another --recipe")
    return found, np.concatenate(inside)


def encode_with_prior(task: Task, goal: Goal, job: Job) -> CodedSegment:
    """Codes a segment to the goal."""
    assert task.samples is not None
    name, prior = prior_for(task.spec, task.prior)
    targets, inside = patches_of(prior, task.spec, task.samples)
    steps = STEPS[task.effort - 1]

    def run(wish: Wish, within: tuple[float, float]) -> bytes:
        watch = watching(job, within, task.deadline)
        return encode_payload(name, prior, encode_patches(prior, targets, inside, wish, watch))

    if goal.psnr_db is not None:
        return _to_quality(task, goal.psnr_db, prior, steps, run, job)
    if goal.quality is None:
        return CodedSegment(_to_size(task, goal.size, name, prior, len(targets), steps, run))
    return CodedSegment(run(Wish(weight_at(prior, goal.quality), None, steps), (0.0, 1.0)))


Run = Callable[[Wish, tuple[float, float]], bytes]


def watching(job: Job, within: tuple[float, float], deadline: float | None = None) -> Callable[[float, str], bool]:
    """Shows how far a fit is in its part of the job, and tells it when to hurry."""

    def watch(done: float, remark: str) -> bool:
        job.tell("fitting", within[0] + (within[1] - within[0]) * done, remark)
        return job.stopping or (deadline is not None and time.monotonic() > deadline)

    return watch


def _to_size(task: Task, size: int, name: int, prior: LatentPrior, n_patches: int, steps: int, run: Run) -> bytes:
    """At the coarsest lambda whose blocks, all of them, would fill the size; each patch has as many as there is room
    for.
    """
    heads = [Coded(len(prior.weights) - 1, [])] * n_patches
    most = max(map(len, prior.sizes))
    head = len(encode_payload(name, prior, heads)) + (n_patches * (len(wire.varint(most)) - 1) if n_patches > 1 else 0)
    blocks = 8 * (size - head) // (prior.bits * n_patches)
    if blocks < 1:
        raise TargetMissed(
            f"{size} bytes cannot hold this segment, which needs {head + -(-prior.bits * n_patches // 8)}"
        )
    for weight in sorted(set(prior.weights), reverse=True):
        if min(len(prior.sizes[level]) for level in nearest_levels(prior, weight)) >= blocks:
            break
    return run(Wish(weight, blocks, steps), (0.0, 1.0))


def _to_quality(task: Task, wanted: float, prior: LatentPrior, steps: int, run: Run, job: Job) -> CodedSegment:
    """Lambda by interpolation, from fits at some."""
    tried: list[tuple[float, float, bytes]] = []  # the logarithm of lambda, dB, payload
    log = math.log10(middle(prior))
    log += (wanted + 10 * log) / DB_PER_DECADE  # a usual squared error is about lambda
    for i in range(SEARCHES):
        payload = run(Wish(10**log, None, steps), (i / SEARCHES, (i + 1) / SEARCHES))
        db = measured(task, payload)
        tried.append((log, db, payload))
        if wanted <= db <= wanted + WINDOW_DB or job.stopping:
            break
        log += (wanted + WINDOW_DB / 2 - db) / DB_PER_DECADE
        log = min(max(log, math.log10(min(prior.weights)) - 0.5), math.log10(max(prior.weights)) + 0.5)
    enough = [each for each in tried if each[1] >= wanted]
    if not enough:
        _, db, payload = max(tried, key=lambda each: each[1])
        return CodedSegment(payload, f"{wanted:g} dB was not reached, only {db:.2f} dB")
    return CodedSegment(min(enough, key=lambda each: len(each[2]))[2])


def measured(task: Task, payload: bytes) -> float:
    """PSNR in dB of what a payload decodes to."""
    assert task.samples is not None
    grid = Grid(task.grid.shape, task.grid.channels)
    values = decode_network(payload, task.recipe.architecture.number, grid).render(grid.axes())
    shown = task.spec.quantise(values).reshape(task.samples.shape).astype(np.float64)
    error = float(np.mean((shown - task.samples) ** 2)) / (task.spec.high - task.spec.low) ** 2
    return task.db(error - (1 / 12 / (task.spec.high - task.spec.low) ** 2 if task.spec.dtype.kind in "ui" else 0.0))


def plan_together(spec: Spec, name: str | None, quality: float, effort: int) -> Plan:
    """How signals of a collection are coded."""
    found, prior = prior_for(spec, name)
    return Plan(found, prior, Wish(weight_at(prior, quality), None, STEPS[effort - 1]))


def payloads_together(
    plan: Plan, signals: Sequence[tuple[Spec, Shaped[np.ndarray, "part ..."]]], job: Job
) -> list[bytes]:
    """Payloads of signals of one segment each, fitted side by side."""
    pieces = [patches_of(plan.prior, spec, samples) for spec, samples in signals]
    targets, inside = (np.concatenate([piece[i] for piece in pieces]) for i in range(2))
    coded = iter(encode_patches(plan.prior, targets, inside, plan.wish, watching(job, (0.0, 1.0))))
    return [encode_payload(plan.name, plan.prior, [next(coded) for _ in own]) for own, _ in pieces]
