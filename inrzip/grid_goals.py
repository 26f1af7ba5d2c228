"""A picture as latent grids, to a quality, a size or a PSNR: `encode_picture`.

fit at a lambda -> round and code the networks -> look at size and quality -> move lambda, and fit on from there.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from inrzip.architectures import grid_analysis
from inrzip.architectures.grid import MAX_OFFSET, GridConfig, channel_groups
from inrzip.architectures.grid_analysis import Analysis
from inrzip.architectures.grid_layout import Networks
from inrzip.architectures.grid_render import render
from inrzip.architectures.grid_training import Layout
from inrzip.codecs.latent_model import MAX_LATENT, SCALES_PER_OCTAVE, WEIGHT_BITS
from inrzip.codecs.latents import Latents, count_bits
from inrzip.priors import grid_prior
from inrzip.priors.grid_prior import NEUTRAL_OFFSET, GridPrior, lambda_of, latent_step, tone_of

from . import grid_fit
from .errors import TargetMissed
from .grid_payload import CodedPlane, Picture, change_bits, encode_planes, networks_of, window_of
from .job import Job
from .network import encode_config
from .segment import Coded, Goal, Task

PRIOR = grid_prior.PHOTOGRAPHS
TONES_PER_QUALITY = 3.0
"""Tones by which a point of quality is finer."""
QUALITY_OF_NEUTRAL_TONE = 55.0
TYPICAL_RATES = ((1e-1, 0.03), (2e-2, 0.084), (4e-3, 0.219), (1e-3, 0.482), (4e-4, 0.759), (1e-4, 1.357), (1e-6, 4.0))
"""Lambda and bits per pixel of a typical photograph: where the search for a size begins."""
BYTES_PER_LAMBDA = -0.65
"""d log(bytes) / d log(lambda), about."""
DB_PER_DECADE = -6.0
"""What ten times the lambda does to the PSNR, about."""
PILOT_SHARE, PILOTS = 0.12, 3
"""Short fits that look for lambda, each with this part of the steps."""
PILOT_EXCESS, PILOT_LOSS_DB = 0.75, 0.5
"""What a whole fit takes of a pilot's bytes, and gains on its PSNR, about."""
MAIN_SHARE = 0.8
"""Of the whole job, what pilots and the main fit take."""
REFIT_SHARE, REFITS = 0.3, 4
"""Fits that correct lambda after the main one."""
RESCUES, RESCUE_TONES = 5, 8
"""More of them where no fit has met the goal yet, each at least so many times its number coarser (or finer)."""
REFIT_FROM = 0.2
"""Where in the schedule a correcting fit begins. Late in it, rounding is too hard for latents to find their places on a
new scale: files stayed as large while they got worse.
"""
SIZE_WINDOW = 0.965
"""A target size is met from this part of it up to all of it."""
AIM = 0.985
WINDOW_DB = 0.25
STEP_OFFSETS = tuple(range(-6, 20, 3))
PILOT_OFFSETS = (3,)
SPREAD_OFFSETS = tuple(range(-24, 25, 4))
FINAL_SHARE = 0.8
"""Of the time allowed, what fits may use."""
QUALITY_WORK, SEARCH_WORK = 1 + grid_fit.LAST_PHASE, 1.3
"""Steps of all fits together, as a multiple of the main one's, typically."""
SECONDS_BETWEEN_REPORTS = 1.0
GIVE_UP = 1.01
"""Coarser steps are not tried once they cost so many times the best."""


class Fit(NamedTuple):
    """What a fit found for a plane: changes of the prior's networks, latents over `grid_fit.GAIN`, and the moments
    that a fit from there goes on with.
    """

    change: Networks
    latents: Array
    change_moments: grid_fit.Moments
    latent_moments: grid_fit.Moments
    age: Array

    @classmethod
    def of(cls, state: grid_fit.State) -> Fit:
        """The fit that a state stands for."""
        return cls(state.change, state.latents, state.change_moments, state.latent_moments, state.age)


@dataclasses.dataclass(frozen=True)
class Plane:
    """One plane of a picture: what it should look like, in normalised units."""

    name: str
    layout: Layout
    target: Float[Array, "channels rows columns"]

    @property
    def channels(self) -> int:
        return len(self.target)


@dataclasses.dataclass(frozen=True)
class Result:
    """A picture coded at a tone."""

    payload: bytes
    db: float
    fits: list[Fit]
    tone: int


def encode_picture(task: Task, goal: Goal, job: Job) -> Coded:
    """Codes a picture to the goal, or as near as it can be: then `note` says what was reached."""
    encoder = Encoder(task, _planes(task), grid_prior.load(PRIOR), job)
    n_steps = task.schedule.n_steps if task.deadline is None else _affordable_steps(encoder, goal)
    if goal.quality is None:
        return _search(encoder, goal, n_steps)
    tone = round(grid_prior.NEUTRAL_TONE - TONES_PER_QUALITY * (goal.quality - QUALITY_OF_NEUTRAL_TONE))
    return Coded(encoder.encode(Stage("fit", tone, None, n_steps, 0.0, (0.0, 1.0))).payload)


def _affordable_steps(encoder: Encoder, goal: Goal) -> int:
    """Steps for which there is time, as a few show that are then forgotten."""
    task = encoder.task
    assert task.deadline is not None
    seconds, tone = 0.0, grid_prior.NEUTRAL_TONE
    for plane in encoder.planes:
        mean = encoder.mean(plane, tone)
        latents = jnp.zeros((plane.layout.rows, plane.layout.columns))
        state = grid_fit.start(jax.tree.map(jnp.zeros_like, mean), latents)
        for _ in range(2):  # the first call compiles
            begun = time.monotonic()
            state, _ = advance(encoder, plane, mean, tone, state, 1, _rounding(None, encoder.prior), (0.0, 0.0))
            state.latents.block_until_ready()
            latest = time.monotonic() - begun
        seconds += latest / grid_fit.STEPS_AT_ONCE
    work = QUALITY_WORK if goal.quality is not None else SEARCH_WORK
    left = FINAL_SHARE * (task.deadline - time.monotonic())
    return max(grid_fit.STEPS_AT_ONCE, min(task.schedule.n_steps, int(left / seconds / work)))


def _search(encoder: Encoder, goal: Goal, n_steps: int) -> Coded:
    """Pilot fits find the tone; the main fit is corrected by short ones until it is within the goal's window."""
    task = encoder.task
    tone, fits = tone_of(_typical_lambda(8 * goal.size / task.grid.n_points)), None
    n_pilot = max(grid_fit.STEPS_AT_ONCE, round(PILOT_SHARE * n_steps))
    share = PILOTS * PILOT_SHARE
    for i in range(PILOTS):
        within = i * PILOT_SHARE * MAIN_SHARE, (i + 1) * PILOT_SHARE * MAIN_SHARE
        found = encoder.encode(Stage(f"pilot{i}", tone, fits, n_pilot, 0.0, within, pilot=True))
        if encoder.hurried:
            break
        tone, fits = _moved_on(found, goal, pilot=True)
    best: Result | None = None
    for i in range(1 + REFITS + RESCUES):
        if i == 0:
            within = share * MAIN_SHARE, MAIN_SHARE
            stage = Stage("main", tone, fits, round((1 - share) * n_steps), 0.0, within)
        else:
            n_refit = max(grid_fit.STEPS_AT_ONCE, round(REFIT_SHARE * n_steps))
            stage = Stage(f"refit{i}", tone, fits, n_refit, REFIT_FROM, (MAIN_SHARE, 1.0))
        found = encoder.encode(stage)
        if _allowed(found, goal) and (best is None or _nearer(found, best, goal)):
            best = found
        if _met(found, goal) or (best is not None and (i >= REFITS or encoder.hurried)):
            break
        tone, fits = _moved_on(found, goal, RESCUE_TONES * (i - REFITS + 1) if i >= REFITS else 0)
    if best is None:
        return _missed(found, goal)
    return Coded(best.payload)


def _missed(found: Result, goal: Goal) -> Coded:
    if goal.psnr_db is None:
        raise TargetMissed(f"a size of {goal.size} bytes cannot be reached; {len(found.payload)} came nearest")
    return Coded(found.payload, f"{goal.psnr_db:g} dB was not reached, only {found.db:.2f} dB")


def _miss(found: Result, goal: Goal, pilot: bool) -> float:
    """By how many tones the result should be coarser."""
    share, gain = (PILOT_EXCESS, PILOT_LOSS_DB) if pilot else (1.0, 0.0)
    if goal.psnr_db is not None:
        decades = (goal.psnr_db + WINDOW_DB / 2 - found.db - gain) / DB_PER_DECADE
    else:
        decades = math.log10(goal.size * AIM / (share * len(found.payload))) / BYTES_PER_LAMBDA
    return decades * grid_prior.TONES_PER_DECADE


def _moved_on(found: Result, goal: Goal, at_least: int = 0, pilot: bool = False) -> tuple[int, list[Fit]]:
    """A tone that should come nearer to the goal, and the fits to begin with there: what they decode to is the same."""
    towards = 1 if goal.psnr_db is None else -1
    by = round(_miss(found, goal, pilot)) or towards
    if at_least:
        by = towards * max(towards * by, at_least)
    tone = min(max(found.tone + by, 0), grid_prior.MAX_TONE)
    ratio = latent_step(found.tone) / latent_step(tone)
    return tone, [fit._replace(latents=fit.latents * ratio) for fit in found.fits]


def _allowed(found: Result, goal: Goal) -> bool:
    return len(found.payload) <= goal.size if goal.psnr_db is None else found.db >= goal.psnr_db


def _nearer(found: Result, best: Result, goal: Goal) -> bool:
    return found.db > best.db if goal.psnr_db is None else len(found.payload) < len(best.payload)


def _met(found: Result, goal: Goal) -> bool:
    if goal.psnr_db is not None:
        return goal.psnr_db <= found.db <= goal.psnr_db + WINDOW_DB
    return SIZE_WINDOW * goal.size <= len(found.payload) <= goal.size


def _typical_lambda(bpp: float) -> float:
    weights, rates = np.array(TYPICAL_RATES).T
    return float(np.exp(np.interp(np.log(bpp), np.log(rates), np.log(weights))))


def _planes(task: Task) -> list[Plane]:
    assert task.samples is not None
    normal = (np.asarray(task.samples, np.float32) - task.spec.low) / (task.spec.high - task.spec.low)
    normal = np.moveaxis(normal.reshape(*task.grid.shape, task.grid.channels), -1, 0)
    height, width = task.grid.shape
    return [
        Plane(f"{task.name}/plane{i}", Layout((height, width)), jnp.asarray(normal[group]))
        for i, group in enumerate(channel_groups(task.grid.channels))
    ]


@dataclasses.dataclass(frozen=True)
class Stage:
    """A fit at a tone: from an earlier one or from the beginning, in so many steps, of a schedule that starts at its
    part `begin`. `within`: its share of the job. A pilot is coded with less care.
    """

    name: str
    tone: int
    before: list[Fit] | None
    n_steps: int
    begin: float
    within: tuple[float, float]
    pilot: bool = False


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A picture to be coded."""

    task: Task
    planes: list[Plane]
    prior: GridPrior
    job: Job

    def encode(self, stage: Stage) -> Result:
        """Fits and codes all planes."""
        fits = [self._fit(stage, i) for i in range(len(self.planes))]
        self.job.tell("coding", stage.within[1])
        config, coded = _coded(
            self.planes, self.prior, stage.tone, fits, PILOT_OFFSETS if stage.pilot else STEP_OFFSETS
        )
        if not stage.pilot:
            settled = [self._settle(stage, i, fit, config) for i, fit in enumerate(fits)]
            config, coded = _coded(self.planes, self.prior, stage.tone, settled, (config.step - NEUTRAL_OFFSET,))
        stream = encode_planes(config, self.prior, self.planes[0].layout.shape, coded)
        return Result(encode_config(config) + stream, self._decoded_db(config, stream), fits, stage.tone)

    @property
    def hurried(self) -> bool:
        """Whether the user wants to stop, or time is up."""
        deadline = self.task.deadline
        return self.job.stopping or (deadline is not None and time.monotonic() > deadline)

    def mean(self, plane: Plane, tone: int) -> Networks:
        """The prior's networks for a plane."""
        networks: Networks = jax.tree.map(jnp.asarray, grid_prior.as_floats(self.prior.networks(tone, plane.channels)))
        return networks

    def _decoded_db(self, config: GridConfig, stream: bytes) -> float:
        """PSNR of what a decoder makes of the stream."""
        height, width = self.planes[0].layout.shape
        picture = Picture(config, stream, (height, width), self.task.grid.channels)
        values = np.clip(picture.render((0, height), (0, width)), 0, 1)
        target = np.moveaxis(np.concatenate([np.asarray(plane.target) for plane in self.planes]), 0, -1)
        return self.task.db(float(np.mean((values.astype(np.float64) - target) ** 2)))

    def _fit(self, stage: Stage, number: int) -> Fit:
        plane = self.planes[number]
        name = f"{plane.name}/{stage.name}/{stage.tone}/{stage.n_steps}"
        mean = self.mean(plane, stage.tone)
        if stage.before is None:
            zero = jax.tree.map(jnp.zeros_like, mean)
            before = Fit.of(grid_fit.start(zero, _first_latents(plane, stage.tone)))
        else:
            before = stage.before[number]
        known = self.job.finished(name, before)
        if known is not None:
            return known
        scheduled = max(1, round(stage.n_steps / (1 - stage.begin)))
        begin = jnp.int32(round(stage.begin * scheduled))
        moments = before.change_moments, before.latent_moments
        # a step gives its arrays away: the earlier fit's are still needed
        fresh = jax.tree.map(jnp.copy, grid_fit.State(before.change, before.latents, *moments, begin, before.age))
        state = self.job.interrupted(name, fresh)
        low, high = stage.within
        part = (high - low) / len(self.planes)
        within = low + part * number, low + part * (number + 1)
        unrounded = _rounding(None, self.prior)
        told = time.monotonic()
        while int(state.step) < scheduled:
            rates = (grid_fit.PEAK_LATENTS, grid_fit.PEAK_NETWORKS)
            state, (error, bpp) = advance(self, plane, mean, stage.tone, state, scheduled, unrounded, rates)
            if self.hurried:
                break
            now = time.monotonic()
            if now - told > SECONDS_BETWEEN_REPORTS:
                told = now
                done = within[0] + (within[1] - within[0]) * min(int(state.step) / scheduled, 1.0)
                self.job.watch(name, state, done, f"{self.task.db(float(error)):.2f} dB, {float(bpp):.3f} bpp")
        result = Fit.of(state)
        self.job.finish(name, result)
        return result

    def _settle(self, stage: Stage, number: int, fit: Fit, config: GridConfig) -> Fit:
        """Networks fitted on, rounded as the configuration says, to latents that are rounded for good."""
        if self.hurried:
            return fit
        plane, n_steps = self.planes[number], max(grid_fit.STEPS_AT_ONCE, round(grid_fit.LAST_PHASE * stage.n_steps))
        name = f"{plane.name}/{stage.name}/{stage.tone}/settle{config.step}/{n_steps}"
        known = self.job.finished(name, fit.change)
        if known is not None:
            return fit._replace(change=known)
        mean, rounding = self.mean(plane, stage.tone), _rounding(config, self.prior)
        state = grid_fit.start(fit.change, fit.latents * grid_fit.GAIN)
        while int(state.step) < n_steps:
            rates = (0.0, grid_fit.PEAK_LAST)
            state, _ = advance(self, plane, mean, stage.tone, state, n_steps, rounding, rates)
        self.job.finish(name, state.change)
        return fit._replace(change=state.change)


def advance(
    encoder: Encoder,
    plane: Plane,
    mean: Networks,
    tone: int,
    state: grid_fit.State,
    n_steps: int,
    rounding: grid_fit.Rounding,
    rates: tuple[float, float],
) -> tuple[grid_fit.State, Array]:
    """Some steps of a fit."""
    price = grid_fit.Price(jnp.float32(lambda_of(tone)), jnp.float32(latent_step(tone)))
    penalty = _penalty(encoder.prior, plane.channels)
    advanced: tuple[grid_fit.State, Array] = grid_fit.run(
        plane.layout, state, mean, penalty, plane.target, price, jnp.float32(n_steps), rounding, jnp.array(rates),
        jnp.int32(0),
    )  # fmt: skip
    return advanced


def _rounding(config: GridConfig | None, prior: GridPrior) -> grid_fit.Rounding:
    """What the last phase rounds; with None, that of the phases before."""
    sizes = prior.step_sizes(NEUTRAL_OFFSET if config is None else config.step)
    unit = 0.0 if config is None else 2.0**-WEIGHT_BITS
    return grid_fit.Rounding(jnp.bool_(config is not None), jax.tree.map(lambda s: jnp.float32(s * unit), sizes))


@functools.cache
def _analysis() -> Analysis | None:
    data = grid_prior.load_analysis(PRIOR)
    return None if data is None else grid_analysis.loads(data)


def _first_latents(plane: Plane, tone: int) -> Float[Array, "rows columns"]:
    """Where a fit begins: what the analysis network guesses. Grey pictures are pictures of three equal channels."""
    network = _analysis()
    if network is None:
        return jnp.zeros((plane.layout.rows, plane.layout.columns))
    colours = jnp.broadcast_to(plane.target, (grid_analysis.COLOURS, *plane.layout.shape))
    exponent = jnp.float32((tone - grid_prior.NEUTRAL_TONE) / grid_prior.TONES_PER_DECADE)
    grids = _analysed(network, jnp.moveaxis(colours, 0, -1)[None], exponent[None])
    return plane.layout.join([grid[0] for grid in grids])


_analysed = jax.jit(grid_analysis.analyse)


def _penalty(prior: GridPrior, channels: int) -> Networks:
    """Bits that moving a parameter by 1 costs, under Laplace curves of the prior's spreads."""
    spreads = grid_prior.spread_for_channels(prior.spread, channels)

    def price(eighths: ndarray) -> Array:
        return jnp.asarray(2.0 ** (WEIGHT_BITS - eighths / SCALES_PER_OCTAVE) / math.log(2), jnp.float32)

    return jax.tree.map(price, spreads)  # type: ignore[no-any-return]


def _coded(
    planes: list[Plane], prior: GridPrior, tone: int, fits: list[Fit], offsets: Sequence[int]
) -> tuple[GridConfig, list[CodedPlane]]:
    """The networks rounded with those of some steps, and coded with the spreads, that make the whole cheapest."""
    weight, n_pixels = lambda_of(tone), planes[0].layout.shape[0] * planes[0].layout.shape[1]
    grids = [_whole_latents(plane.layout, fit) for plane, fit in zip(planes, fits, strict=True)]
    best: tuple[float, GridConfig, list[CodedPlane]] | None = None
    for offset in offsets:
        step = NEUTRAL_OFFSET + offset
        coded = [
            CodedPlane(plane.channels, _rounded(prior, fit.change, step), grid)
            for plane, fit, grid in zip(planes, fits, grids, strict=True)
        ]
        config, bits = _best_spread(prior, tone, step, [plane.changes for plane in coded], planes)
        cost = weight * bits / n_pixels
        for plane, numbers in zip(planes, coded, strict=True):
            cost += _cost(prior, config, plane, numbers, weight)
        if best is None or cost < best[0]:
            best = cost, config, coded
        elif cost > GIVE_UP * best[0]:
            break
    assert best is not None
    return best[1], best[2]


def _whole_latents(layout: Layout, fit: Fit) -> list[Latents]:
    latents = np.round(np.asarray(fit.latents) * grid_fit.GAIN) * layout.mask
    return [np.clip(grid, -MAX_LATENT, MAX_LATENT).astype(np.int64) for grid in layout.split(latents)]


def _cost(prior: GridPrior, config: GridConfig, plane: Plane, coded: CodedPlane, weight: float) -> float:
    """Mean squared error and lambda times the bits of latents for a pixel, as a decoder will have it."""
    shape = plane.layout.shape
    networks = networks_of(prior, config, coded.changes, plane.channels)
    bits = sum(count_bits(grid_prior.latent_model(networks), plane.layout.places, coded.grids))
    window = functools.partial(window_of, coded.grids, np.float32(latent_step(config.tone)))
    values = render(grid_prior.as_floats(networks), window, shape, (0, shape[0]), (0, shape[1]))
    error = float(np.mean((np.moveaxis(values, -1, 0) - np.asarray(plane.target)) ** 2, dtype=np.float64))
    return error + weight * bits / (shape[0] * shape[1])


def _rounded(prior: GridPrior, change: Networks, step: int) -> Int[ndarray, " parameters"]:
    """Changes in steps."""

    def at(change: Array, size: ndarray) -> ndarray:
        steps: ndarray = np.round(np.asarray(change, np.float64) * 2.0**WEIGHT_BITS / size).astype(np.int64)
        return steps

    return grid_prior.flat(jax.tree.map(at, change, prior.step_sizes(step)))


def _best_spread(
    prior: GridPrior, tone: int, step: int, changes: list[Int[ndarray, " n"]], planes: list[Plane]
) -> tuple[GridConfig, float]:
    """The spread that codes changes best, and their bits."""

    def bits(config: GridConfig) -> float:
        pairs = zip(changes, planes, strict=True)
        return sum(change_bits(prior, config, change, plane.channels) for change, plane in pairs)

    spreads = [min(max(NEUTRAL_OFFSET + offset, 0), MAX_OFFSET) for offset in SPREAD_OFFSETS]
    configs = [GridConfig(PRIOR, tone, step, spread) for spread in spreads]
    return min(((config, bits(config)) for config in configs), key=lambda pair: pair[1])
