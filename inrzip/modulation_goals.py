"""Signals as modulations of a learned network to a goal: the step of their latents (see `inrzip.modulation_fit`)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Shaped

from inrzip.architectures.modulated import MAX_STEP, ModulatedConfig
from inrzip.priors import modulation_prior
from inrzip.priors.modulation_prior import STEPS_PER_OCTAVE, UNIT_STEP, ModulationPrior

from .errors import TargetMissed
from .job import Job
from .modulation_fit import LAMBDA_OF_STEP, encode_patches
from .modulation_payload import encode_payload
from .posterior_goals import QUALITY_DECADE, is_large, measured, patches_of, watching
from .recipes import Recipe
from .segment import Coded as CodedSegment
from .segment import Goal, Task
from .signal import Kind, Spec

STEPS = (12, 20, 32, 48, 72, 110, 170, 260, 400)
"""Of descent, for each effort."""
LAMBDA_AT_QUALITY_50 = 1.6e-3
FINEST, COARSEST = 0, 64
"""Numbers of steps that are tried."""
SEARCHES = 7
COARSER_STEPS, FINER_STEPS = 8, 4
"""By so many the step changes to halve, or to double, a payload, before two are known that it lies between."""
DB_PER_STEP = -0.55


@dataclasses.dataclass(frozen=True)
class Plan:
    """The prior of a signal, and how its patches are coded."""

    config: ModulatedConfig
    prior: ModulationPrior
    steps: int


def step_at(quality: float, channels: int) -> int:
    """The number of the step for --quality, by the lambda that `combiner` has for thumbnails."""
    weight = LAMBDA_AT_QUALITY_50 * 10 ** (-(quality - 50) / QUALITY_DECADE)
    size = math.sqrt(weight * channels / LAMBDA_OF_STEP)
    return min(max(round(STEPS_PER_OCTAVE * math.log2(size)) + UNIT_STEP, FINEST), MAX_STEP)


def plan_for(recipe: Recipe, spec: Spec, name: str | None, quality: float, effort: int) -> Plan:
    """How signals are coded at a quality. Raises InrzipError where the prior is not there, or does not fit."""
    architecture = recipe.architecture
    assert issubclass(architecture, ModulatedConfig)
    kind = "audio" if spec.kind == Kind.AUDIO else "image"
    found, prior = modulation_prior.named(name, kind, recipe.name, architecture.gated, is_large(spec))
    return Plan(architecture(found, step_at(quality, prior.layout.channels)), prior, STEPS[effort - 1])


def with_step(plan: Plan, step: int) -> Plan:
    """The same with another step."""
    return dataclasses.replace(plan, config=dataclasses.replace(plan.config, step=step))


def encode_modulated(task: Task, goal: Goal, job: Job) -> CodedSegment:
    """Codes a segment to the goal."""
    assert task.samples is not None
    quality = 50.0 if goal.quality is None else goal.quality
    plan = plan_for(task.recipe, task.spec, task.prior, quality, task.effort)
    targets, inside = patches_of(plan.prior, task.spec, task.samples)

    def run(step: int, within: tuple[float, float]) -> bytes:
        mine, watch = with_step(plan, step), watching(job, within, task.deadline)
        return encode_payload(
            mine.config, mine.prior, encode_patches(mine.prior, targets, inside, step, mine.steps, watch)
        )

    if goal.psnr_db is not None:
        return _to_quality(task, goal.psnr_db, plan.config.step, run, job)
    if goal.quality is None:
        return CodedSegment(_to_size(goal.size, plan.config.step, run, job))
    return CodedSegment(run(plan.config.step, (0.0, 1.0)))


Run = Callable[[int, tuple[float, float]], bytes]


def _to_size(size: int, first: int, run: Run, job: Job) -> bytes:
    """With the finest step whose payload is no larger, as far as a few fits tell."""
    step, best = first, None
    large: list[tuple[int, float]] = []  # steps that are too fine, and the logarithms of what their payloads take
    small: list[tuple[int, float]] = []
    for i in range(SEARCHES):
        payload = run(step, (i / SEARCHES, (i + 1) / SEARCHES))
        over = math.log2(len(payload) / size)
        if over <= 0:
            best = payload
        (large if over > 0 else small).append((step, over))
        low, high = max(large, default=(FINEST - 1, 0.0)), min(small, default=(COARSEST + 1, 0.0))
        if high[0] - low[0] <= 1 or (job.stopping and best is not None):
            break
        if large and small:
            guess = round(low[0] + (high[0] - low[0]) * low[1] / max(low[1] - high[1], 1e-9))
        else:
            guess = step + (math.ceil(COARSER_STEPS * over) if over > 0 else math.floor(FINER_STEPS * over))
        step = min(max(guess, low[0] + 1), high[0] - 1)
    if best is None:
        best = run(COARSEST, (0.99, 1.0))
        if len(best) > size:
            raise TargetMissed(f"{size} bytes cannot hold this segment, which needs {len(best)}")
    return best


def _to_quality(task: Task, wanted: float, first: int, run: Run, job: Job) -> CodedSegment:
    """With the coarsest step that reaches it, as far as a few fits tell."""
    tried: dict[int, tuple[float, bytes]] = {}
    step = first
    for i in range(SEARCHES):
        payload = run(step, (i / SEARCHES, (i + 1) / SEARCHES))
        tried[step] = measured(task, payload), payload
        enough = [s for s, (db, _) in tried.items() if db >= wanted]
        short = [s for s, (db, _) in tried.items() if db < wanted]
        if job.stopping or (enough and max(enough) + 1 in short):
            break
        step += round((wanted - tried[step][0]) / DB_PER_STEP) or (1 if step in enough else -1)
        low, high = max(enough, default=FINEST - 1), min(short, default=COARSEST + 1)
        step = min(max(step, low + 1), high - 1)
        if step in tried or not FINEST <= step <= COARSEST:
            break
    if not enough:
        db, payload = max(tried.values(), key=lambda each: each[0])
        return CodedSegment(payload, f"{wanted:g} dB was not reached, only {db:.2f} dB")
    return CodedSegment(tried[max(enough)][1])


def payloads_together(
    plan: Plan, signals: Sequence[tuple[Spec, Shaped[np.ndarray, "part ..."]]], job: Job
) -> list[bytes]:
    """Payloads of signals of one segment each, fitted side by side."""
    pieces = [patches_of(plan.prior, spec, samples) for spec, samples in signals]
    targets: Float[np.ndarray, "patches samples channels"] = np.concatenate([piece[0] for piece in pieces])
    inside: Float[np.ndarray, "patches samples"] = np.concatenate([piece[1] for piece in pieces])
    step = plan.config.step
    coded = iter(encode_patches(plan.prior, targets, inside, step, plan.steps, watching(job, (0.0, 1.0))))
    return [encode_payload(plan.config, plan.prior, [next(coded) for _ in own]) for own, _ in pieces]
