"""Signals with a learned prior to a goal: which lambda, and how many blocks (see `inrzip.posterior_fit`)."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float, Shaped

from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import MAX_PATCHES, cut, patch_counts, planes_of
from inrzip.architectures.combiner_field import Field
from inrzip.priors import latent_prior
from inrzip.priors.field_prior import FieldPrior
from inrzip.priors.latent_prior import LatentPrior

from .errors import InrzipError, TargetMissed
from .field_fit import FieldFit
from .field_payload import HEAD_BYTES, encode_field
from .field_payload import shortened as shortened_field
from .job import Job
from .latent_fit import Wish
from .network import decode_network
from .posterior_fit import MANY, bits_of_patches, encode_many, encode_patches
from .posterior_payload import LEAST_INDEX_BITS, Coded, encode_payload, shortened
from .segment import Coded as CodedSegment
from .segment import Goal, Task
from .signal import Kind, Spec

STEPS = (60, 120, 240, 400, 600, 1000, 1600, 2600, 4000)
"""Of a fit, for each effort."""
QUALITY_DECADE, LAMBDA_OF_FIELDS = 25.0, 1.6e-3
"""Points of --quality for a tenth of lambda; 50 is the middle of those that the prior was learned at."""
PRIOR_KINDS = {
    Kind.IMAGE: "image", Kind.AUDIO: "audio", Kind.PROTEIN: "protein", Kind.VIDEO: "video", Kind.VOLUME: "volume",
}  # fmt: skip
SEARCHES = 6
WINDOW_DB = 0.25
DB_PER_DECADE = -7.0
HEADS_BYTES, HEAD_BITS = 4, 6
"""What is told of several patches besides their blocks: so much, and so much of each, about. Where it is more, the
last blocks are left out.
"""
LARGE = 128 * 128
"""Images of more pixels have, unless another is named, the prior of large ones, if they have so many channels."""
CHANNELS_OF_LARGE = (1, 3)
SIZE_SEARCHES = 5
PILOT_SHARE = 0.4
"""Of the steps, in which it is tried what a lambda takes."""
BITS_POWER = 0.75
"""Bits fall with lambda to this power, about."""
NEAR_SIZE = (0.94, 1.02)
"""What a lambda that takes so much of the room is near enough to: blocks too many are left out."""
LAMBDA_MARGIN = 10**0.5
"""How far lambda may go beyond those of a prior."""

Prior: TypeAlias = LatentPrior | FieldPrior


@dataclasses.dataclass(frozen=True)
class Plan:
    """The prior of signals of a collection, by its name, --quality and steps."""

    prior: str | None
    quality: float
    steps: int


def middle(prior: Prior) -> float:
    """The middle one of a prior's lambdas, on a logarithmic scale."""
    return math.sqrt(min(prior.weights) * max(prior.weights))


def weight_at(prior: Prior, quality: float) -> float:
    """Lambda for --quality: the same for thumbnails and for large images."""
    at_50 = LAMBDA_OF_FIELDS if isinstance(prior, FieldPrior) else middle(prior)
    return float(at_50 * 10 ** (-(quality - 50) / QUALITY_DECADE))


def is_large(spec: Spec) -> bool:
    """Whether a signal has the prior of large ones."""
    return spec.kind == Kind.IMAGE and math.prod(spec.shape) > LARGE and spec.channels in CHANNELS_OF_LARGE


def prior_for(spec: Spec, name: str | None) -> tuple[int, Prior]:
    """The prior of that name, or the package's, and its name in files. Raises InrzipError where it does not fit."""
    found, prior = latent_prior.named(name, PRIOR_KINDS[spec.kind], is_large(spec))
    learned, axes = prior.layout.channels, prior.layout.axes
    if axes != len(spec.shape):
        raise InrzipError(f"its prior is for signals of {axes} axes, not of {len(spec.shape)}; use another --recipe")
    if isinstance(prior, FieldPrior) and spec.channels not in (1, learned):
        raise InrzipError(f"its prior is for signals of {learned} channels, not of {spec.channels}; use another one")
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
        own, there = cut(np.repeat(values[..., plane], channels // (plane.stop - plane.start), -1), prior.layout.patch)
        targets.append(own)
        inside.append(there)
    found = np.concatenate(targets)
    if len(found) > MAX_PATCHES:
        raise InrzipError(f"{len(found)} patches; this recipe codes {MAX_PATCHES} at most: use another --recipe")
    return found, np.concatenate(inside)


def n_patches(prior: OfLayout, spec: Spec) -> int:
    """How many there are of a signal."""
    planes = len(list(planes_of(spec.channels, prior.layout.channels)))
    return planes * math.prod(patch_counts(spec.shape, prior.layout.patch))


class _Way(Protocol):
    """How one signal is coded with its prior."""

    @property
    def deadline(self) -> float | None: ...
    def run(self, weight: float, bits: int | None, within: tuple[float, float]) -> bytes:
        """The payload at a lambda, with at most so many bits in its blocks."""

    def bits_at(self, weight: float) -> float:
        """What its blocks would take, about."""

    def head(self) -> int:
        """Bytes besides the blocks, about."""


@dataclasses.dataclass(frozen=True)
class _Patches:
    """Patches that know nothing of each other."""

    name: int
    prior: LatentPrior
    targets: Float[np.ndarray, "patches samples channels"]
    inside: Float[np.ndarray, "patches samples"]
    steps: int
    job: Job
    deadline: float | None = None

    def run(self, weight: float, bits: int | None, within: tuple[float, float]) -> bytes:
        watch, wish = watching(self.job, within, self.deadline), Wish(weight, bits, self.steps)
        encode = encode_many if len(self.targets) >= MANY else encode_patches
        coded = encode(self.prior, self.targets, self.inside, wish, watch)
        if bits is None:
            return encode_payload(self.name, self.prior, coded)
        return shortened(self.name, self.prior, coded, self.head() + bits // 8)

    def bits_at(self, weight: float) -> float:
        wish = Wish(weight, None, round(self.steps * PILOT_SHARE))
        return bits_of_patches(self.prior, self.targets, self.inside, wish, lambda: _hurried(self.job, self.deadline))

    def head(self) -> int:
        n, saved = len(self.targets), self.prior.bits - LEAST_INDEX_BITS
        one = encode_payload(self.name, self.prior, [Coded(len(self.prior.weights) - 1, [], max(saved, 0))])
        return len(one) if n == 1 else len(one) + HEADS_BYTES + math.ceil(n * HEAD_BITS / 8)


@dataclasses.dataclass(frozen=True)
class _OneField:
    """Patches that are fitted together."""

    name: int
    prior: FieldPrior
    field: Field
    targets: Float[np.ndarray, "patches samples channels"]
    inside: Float[np.ndarray, "patches samples"]
    steps: int
    job: Job
    deadline: float | None = None

    def run(self, weight: float, bits: int | None, within: tuple[float, float]) -> bytes:
        fit = self._fit(weight, within)
        fit.settle()
        coded = fit.code()
        if bits is None:
            return encode_field(self.name, self.prior, self.field, coded)
        return shortened_field(self.name, self.prior, self.field, coded, self.head() + bits // 8)

    def bits_at(self, weight: float) -> float:
        return self._fit(weight, (0.0, 0.0)).settle(PILOT_SHARE)

    def head(self) -> int:
        n = self.field.n_patches
        return HEAD_BYTES + math.ceil(n * math.log2(max(self.prior.classes, 2)) / 8)

    def _fit(self, weight: float, within: tuple[float, float]) -> FieldFit:
        watch = watching(self.job, within, self.deadline)
        return FieldFit(self.prior, self.field, self.targets, self.inside, weight, self.steps, watch)


def _way(
    name: int, prior: Prior, spec: Spec, samples: Shaped[np.ndarray, "part ..."], steps: int, job: Job,
    deadline: float | None = None,
) -> _Way:  # fmt: skip
    targets, inside = patches_of(prior, spec, samples)
    if isinstance(prior, FieldPrior):
        field = prior.field(patch_counts(samples.shape[: len(spec.shape)], prior.layout.patch))
        return _OneField(name, prior, field, targets, inside, steps, job, deadline)
    return _Patches(name, prior, targets, inside, steps, job, deadline)


def encode_with_prior(task: Task, goal: Goal, job: Job) -> CodedSegment:
    """Codes a segment to the goal."""
    assert task.samples is not None
    name, prior = prior_for(task.spec, task.prior)
    way = _way(name, prior, task.spec, task.samples, STEPS[task.effort - 1], job, task.deadline)
    if goal.psnr_db is not None:
        return _to_quality(task, goal.psnr_db, prior, way, job)
    if goal.quality is None:
        return CodedSegment(_to_size(goal.size, prior, way, job))
    return CodedSegment(way.run(weight_at(prior, goal.quality), None, (0.0, 1.0)))


def watching(job: Job, within: tuple[float, float], deadline: float | None = None) -> Callable[[float, str], bool]:
    """Shows how far a fit is in its part of the job, and tells it when to hurry."""

    def watch(done: float, remark: str) -> bool:
        job.tell("fitting", within[0] + (within[1] - within[0]) * done, remark)
        return _hurried(job, deadline)

    return watch


def _hurried(job: Job, deadline: float | None) -> bool:
    """Whether the user wants to stop, or time is up."""
    return job.stopping or (deadline is not None and time.monotonic() > deadline)


def _to_size(size: int, prior: Prior, way: _Way, job: Job) -> bytes:
    """At the lambda whose blocks, those that are worth their bits, fill the size; a file that would not become better
    stays smaller.
    """
    room = 8 * (size - way.head())
    if room < prior.bits:
        raise TargetMissed(f"{size} bytes cannot hold this segment, which needs {way.head() + -(-prior.bits // 8)}")
    least, most = (math.log(f(prior.weights)) + s * math.log(LAMBDA_MARGIN) for f, s in ((min, -1), (max, 1)))
    log, low, high = (least + most) / 2, least, most
    for i in range(SIZE_SEARCHES):
        job.tell("fitting", PILOT_SHARE * i / SIZE_SEARCHES, "looking for lambda")
        taken = way.bits_at(math.exp(log))
        if NEAR_SIZE[0] * room <= taken <= NEAR_SIZE[1] * room or _hurried(job, way.deadline):
            break
        low, high = (log, high) if taken > room else (low, log)
        step = math.log(max(taken, 1.0) / room) / BITS_POWER
        log = log + step if low < log + step < high else (low + high) / 2
    return way.run(math.exp(log), room, (PILOT_SHARE, 1.0))


def _to_quality(task: Task, wanted: float, prior: Prior, way: _Way, job: Job) -> CodedSegment:
    """Lambda by interpolation, from fits at some."""
    tried: list[tuple[float, float, bytes]] = []  # the logarithm of lambda, dB, payload
    log = math.log10(middle(prior))
    log += (wanted + 10 * log) / DB_PER_DECADE  # a usual squared error is about lambda
    for i in range(SEARCHES):
        payload = way.run(10**log, None, (i / SEARCHES, (i + 1) / SEARCHES))
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
    """How signals of a collection are coded. Raises InrzipError if there is no prior for the first, of `spec`."""
    prior_for(spec, name)
    return Plan(name, quality, STEPS[effort - 1])


def payloads_together(
    plan: Plan, signals: Sequence[tuple[Spec, Shaped[np.ndarray, "part ..."]]], job: Job
) -> list[bytes]:
    """Payloads of signals of one segment each. Those of few patches that know nothing of each other are fitted side by
    side.
    """
    known: dict[tuple[Kind, bool, int], tuple[int, Prior]] = {}
    priors = []
    for spec, _ in signals:
        key = spec.kind, is_large(spec), spec.channels
        known[key] = known.get(key) or prior_for(spec, plan.prior)
        priors.append(known[key])
    points = [float(math.prod(spec.shape)) for spec, _ in signals]
    together = [
        i
        for i, ((_, prior), (spec, _)) in enumerate(zip(priors, signals, strict=True))
        if isinstance(prior, LatentPrior) and n_patches(prior, spec) < MANY
    ]
    payloads: dict[int, bytes] = {}
    begun = 0.0
    if together:
        name, prior = priors[together[0]]
        assert isinstance(prior, LatentPrior) and all(priors[i][0] == name for i in together)
        pieces = [patches_of(prior, *signals[i]) for i in together]
        targets, inside = (np.concatenate([piece[k] for piece in pieces]) for k in range(2))
        begun = sum(points[i] for i in together) / sum(points)
        watch, wish = watching(job, (0.0, begun)), Wish(weight_at(prior, plan.quality), None, plan.steps)
        coded = iter(encode_patches(prior, targets, inside, wish, watch))
        for i, (own, _) in zip(together, pieces, strict=True):
            payloads[i] = encode_payload(name, prior, [next(coded) for _ in own])
    for i, (name, prior) in enumerate(priors):
        if i not in payloads:
            way = _way(name, prior, *signals[i], plan.steps, job)
            payloads[i] = way.run(weight_at(prior, plan.quality), None, (begun, begun + points[i] / sum(points)))
            begun += points[i] / sum(points)
    return [payloads[i] for i in range(len(signals))]
