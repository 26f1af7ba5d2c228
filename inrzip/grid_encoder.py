"""Fits and codes all planes of a picture at a tone: what `inrzip.grid_goals` does until a goal is met."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from inrzip.architectures import grid_analysis
from inrzip.architectures.base import Grid
from inrzip.architectures.grid import GridConfig, count
from inrzip.architectures.grid_analysis import Analysis
from inrzip.architectures.grid_layout import COLOURS, MAX_TONE, Networks, places
from inrzip.architectures.grid_training import Layout
from inrzip.priors import grid_prior
from inrzip.priors.grid_prior import NEUTRAL_OFFSET, GridPrior, lambda_of, latent_step

from . import grid_fit, grid_preview, grid_windows, wire
from .configuration import encode_config
from .descent import adam_start
from .grid_coding import PILOT_OFFSETS, PRIOR, STEP_OFFSETS, Plane, coded_fits, coded_large, penalty_of, rounding_of
from .grid_fit import State
from .grid_payload import CodedPlane, Picture, encode_planes, has_preview
from .job import Job
from .memory import rows_at_once
from .segment import Task

SECONDS_BETWEEN_REPORTS = 1.0


@dataclasses.dataclass(frozen=True)
class Result:
    """A picture coded at a tone."""

    payload: bytes
    db: float
    fits: list[State]
    tone: int


@dataclasses.dataclass(frozen=True)
class Stage:
    """A fit at a tone: from an earlier one or from the beginning, in so many steps, of a schedule that starts at its
    part `begin`. `within`: its share of the job. A pilot is coded with less care. `until`: when it should be done; a
    video then takes fewer steps if it has to.
    """

    name: str
    tone: int
    before: list[State] | None
    n_steps: int
    begin: float
    within: tuple[float, float]
    pilot: bool = False
    until: float | None = None


@functools.cache
def compile_coder() -> None:
    """Has what codes latents compiled, which takes seconds the first time, while a fit is under way: a picture of one
    pixel is coded and decoded.
    """

    def code() -> None:
        prior = grid_prior.load(PRIOR)
        config = GridConfig(PRIOR, grid_prior.NEUTRAL_TONE, NEUTRAL_OFFSET, NEUTRAL_OFFSET)
        grids = [np.zeros(place.shape, np.int64) for place in places((1, 1))]
        changes = np.zeros(count(1), np.int64)
        stream = encode_planes(config, prior, (1, 1), [CodedPlane(1, changes, grids)])
        Picture(config, stream, (1, 1), 1).render((0, 1), (0, 1))

    def quietly() -> None:
        with contextlib.suppress(Exception):  # it will fail again, and be told, where it is needed
            code()

    threading.Thread(target=quietly, daemon=True).start()


def hurried(task: Task, job: Job) -> bool:
    """Whether the user wants to stop, or time is up."""
    return job.stopping or (task.deadline is not None and time.monotonic() > task.deadline)


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A picture to be coded; `previewed`: with a preview, if it is large."""

    task: Task
    planes: list[Plane]
    prior: GridPrior
    job: Job
    previewed: bool = True

    def encode(self, stage: Stage) -> Result:
        """Fits and codes all planes."""
        preview = self._preview(stage)
        fits = [self._fit(stage, i) for i in range(len(self.planes))]
        self.job.tell("coding", stage.within[1])
        if self.large:
            config, coded = coded_large(self.planes, self.prior, stage.tone, fits)
        else:
            config, coded = self._coded(stage, fits)
        stream = encode_planes(config, self.prior, self.planes[0].layout.shape, coded)
        return Result(encode_config(config) + preview + stream, self._decoded_db(config, stream), fits, stage.tone)

    def _preview(self, stage: Stage) -> bytes:
        """What comes before a large picture: a small one, coded like any other, after its length."""
        shape = self.planes[0].layout.shape
        if not self.previewed or not has_preview(shape):
            return b""
        n = grid_preview.halvings(shape)
        size = grid_preview.size(shape, n)
        planes = []
        for plane in self.planes:
            target = grid_preview.shrunk(np.moveaxis(np.asarray(plane.target), 0, -1), n)
            planes.append(Plane(f"{plane.name}/preview", Layout(size), jnp.asarray(np.moveaxis(target, -1, 0))))
        task = dataclasses.replace(self.task, grid=Grid(size, self.task.grid.channels))
        tone = min(stage.tone + grid_preview.COARSER, MAX_TONE)
        begun = dataclasses.replace(stage, tone=tone, before=None, begin=0.0, within=(stage.within[0],) * 2)
        found = Encoder(task, planes, self.prior, self.job).encode(begun)
        return wire.varint(len(found.payload)) + found.payload

    def _coded(self, stage: Stage, fits: list[State]) -> tuple[GridConfig, list[CodedPlane]]:
        """Fits in whole numbers. Networks are fitted on with these, which mostly helps."""
        offsets = PILOT_OFFSETS if stage.pilot or self.hurried else STEP_OFFSETS
        best = coded_fits(self.planes, self.prior, stage.tone, fits, offsets)
        if not stage.pilot and not self.hurried:
            settled = [self._settle(stage, i, fit, best.config) for i, fit in enumerate(fits)]
            again = coded_fits(self.planes, self.prior, stage.tone, settled, (best.config.step - NEUTRAL_OFFSET,))
            best = min(best, again, key=lambda coding: coding.cost)
        return best.config, best.planes

    @property
    def large(self) -> bool:
        """Whether the picture is fitted in windows."""
        return grid_windows.is_large(self.planes[0].layout.shape)

    @property
    def hurried(self) -> bool:
        """Whether the user wants to stop, or time is up."""
        return hurried(self.task, self.job)

    def mean(self, plane: Plane, tone: int) -> Networks:
        """The prior's networks for a plane."""
        networks: Networks = jax.device_put(grid_prior.as_floats(self.prior.networks(tone, plane.channels)))
        return networks

    def _decoded_db(self, config: GridConfig, stream: bytes) -> float:
        """PSNR of what a decoder makes of the stream."""
        height, width = self.planes[0].layout.shape
        picture = Picture(config, stream, (height, width), self.task.grid.channels, moves=lambda: self.prior.moves)
        squares, at_once = 0.0, rows_at_once(width)
        for top in range(0, height, at_once):
            rows = top, min(top + at_once, height)
            values = np.moveaxis(np.clip(picture.render(rows, (0, width)), 0, 1), -1, 0).astype(np.float64)
            target = np.concatenate([np.asarray(plane.target[:, slice(*rows)]) for plane in self.planes])
            squares += float(np.sum((values - target) ** 2))
        return self.task.db(squares / (height * width * self.task.grid.channels))

    def _fit(self, stage: Stage, number: int) -> State:
        plane = self.planes[number]
        low, high = stage.within
        part = (high - low) / len(self.planes)
        within = low + part * number, low + part * (number + 1)
        before = None if stage.before is None else stage.before[number]
        name = f"{plane.name}/{stage.name}/{stage.tone}/{stage.n_steps}"
        if self.large:
            return self._fit_windows(name, stage, plane, before, within)
        if before is None:
            before = grid_fit.start(self.mean(plane, stage.tone), first_latents(plane, stage.tone))
        known = self.job.finished(name, before)
        if known is None:
            known = self._descended(name, stage, plane, before, within)
            self.job.finish(name, known)
        return known

    def _fit_windows(
        self, name: str, stage: Stage, plane: Plane, before: State | None, within: tuple[float, float]
    ) -> State:
        """A fit of a large picture; see `inrzip.grid_windows`."""
        low, high = within
        mean, layout = self.mean(plane, stage.tone), plane.layout
        found = grid_windows.windows(layout.shape)
        marks = [low + (high - low) * i / (1 + len(found)) for i in range(2 + len(found))]
        state = self._fit_sample(f"{name}/sample", stage, plane, before, (marks[0], marks[1]))
        whole = np.zeros((layout.rows, layout.columns), np.float32)
        for i, window in enumerate(found):
            rows = slice(*window.seen)
            seen = Plane(
                plane.name, Layout((rows.stop - rows.start, layout.shape[1])), jnp.asarray(plane.target[:, rows])
            )
            latents = jnp.zeros((seen.layout.rows, seen.layout.columns), jnp.int16)
            known = self.job.finished(f"{name}/{i}", latents)
            if known is None:
                if before is None:
                    guess = np.array(first_latents(seen, stage.tone))
                else:
                    guess = grid_windows.cut(layout, before.latents, window, seen.layout) * grid_fit.GAIN
                free = grid_windows.free(window, seen.layout)
                final = grid_windows.cut(layout, whole, window, seen.layout) * grid_fit.GAIN
                begin = grid_fit.start(mean, jnp.asarray(np.where(free > 0, guess, final)))
                begin = begin._replace(change=state.change)
                fitted = self._descended(f"{name}/{i}", stage, seen, begin, (marks[i + 1], marks[i + 2]), free)
                known = grid_fit.rounded(fitted).astype(jnp.int16)
                self.job.finish(f"{name}/{i}", known)
            grid_windows.paste(layout, whole, window, seen.layout, np.asarray(known, np.float32) / grid_fit.GAIN)
        return state._replace(latents=whole, latent_moments=adam_start(jnp.zeros(0)))  # type: ignore[arg-type]

    def _fit_sample(
        self, name: str, stage: Stage, plane: Plane, before: State | None, within: tuple[float, float]
    ) -> State:
        """The networks of a large picture, fitted to a sample of it."""
        target = jnp.asarray(grid_windows.sample(np.asarray(plane.target)))
        height, width = target.shape[1:]
        sample = Plane(plane.name, Layout((height, width)), target)
        begin = grid_fit.start(self.mean(plane, stage.tone), first_latents(sample, stage.tone))
        begin = begin if before is None else begin._replace(change=before.change)
        known = self.job.finished(name, begin)
        if known is None:
            longer = dataclasses.replace(stage, n_steps=grid_windows.SAMPLE_LONGER * stage.n_steps)
            known = self._descended(name, longer, sample, begin, within)
            self.job.finish(name, known)
        return known

    def _descended(
        self,
        name: str,
        stage: Stage,
        plane: Plane,
        before: State,
        within: tuple[float, float],
        free: Float[np.ndarray, "rows columns"] | None = None,
    ) -> State:
        """All steps of a fit; if `free` is given, those latents alone change."""
        scheduled = max(1, round(stage.n_steps / (1 - stage.begin)))
        begin = jnp.int32(round(stage.begin * scheduled))
        state: State = self.job.interrupted(name, _copied(before)._replace(step=begin))
        mean, unrounded = self.mean(plane, stage.tone), rounding_of(None, self.prior)
        rates = grid_fit.PEAK_LATENTS, grid_fit.network_peak(scheduled) if free is None else 0.0
        told = time.monotonic()
        while int(state.step) < scheduled:
            state, (error, bpp) = self.advance(plane, mean, stage.tone, state, scheduled, unrounded, rates, free)
            if self.hurried:
                break
            now = time.monotonic()
            if now - told > SECONDS_BETWEEN_REPORTS:
                told = now
                done = within[0] + (within[1] - within[0]) * min(int(state.step) / scheduled, 1.0)
                self.job.watch(name, state, done, f"{self.task.db(error):.2f} dB, {bpp:.3f} bpp")
        return state

    def _settle(self, stage: Stage, number: int, fit: State, config: GridConfig) -> State:
        """Networks fitted on, rounded as the configuration says, to latents that are rounded for good."""
        plane, n_steps = self.planes[number], grid_fit.last_steps(stage.n_steps)
        name = f"{plane.name}/{stage.name}/{stage.tone}/settle{config.step}/{n_steps}"
        known = self.job.finished(name, fit.change)
        if known is not None:
            return fit._replace(change=known)
        mean, rounding = self.mean(plane, stage.tone), rounding_of(config, self.prior)
        state = _copied(fit)._replace(step=jnp.int32(0))
        while int(state.step) < n_steps:
            rates = (0.0, grid_fit.PEAK_LAST)
            state, _ = self.advance(plane, mean, stage.tone, state, n_steps, rounding, rates)
        self.job.finish(name, state.change)
        return fit._replace(change=state.change)

    def advance(
        self,
        plane: Plane,
        mean: Networks,
        tone: int,
        state: State,
        n_steps: int,
        rounding: grid_fit.Rounding,
        rates: tuple[float, float],
        free: Float[np.ndarray, "rows columns"] | None = None,
    ) -> tuple[State, tuple[float, float]]:
        """Some steps of a fit; if `free` is given, those latents alone change."""
        price = grid_fit.Price(jnp.float32(lambda_of(tone)), jnp.float32(latent_step(tone)))
        problem = grid_fit.Problem(mean, penalty_of(self.prior, plane.channels), plane.target, price)
        return grid_fit.run(plane.layout, problem, state, n_steps, rounding, rates, free)


@jax.jit
def _copied(state: State) -> State:
    """A step gives its arrays away; those of an earlier fit are still needed."""
    copy: State = jax.tree.map(jnp.copy, state)
    return copy


@functools.cache
def _analysis() -> Analysis:
    return grid_analysis.loads(grid_prior.load_analysis())


def first_latents(plane: Plane, tone: int) -> Float[Array, "rows columns"]:
    """Where a fit begins: what the analysis network guesses. Grey pictures are pictures of three equal channels."""
    exponent = jnp.float32((tone - grid_prior.NEUTRAL_TONE) / grid_prior.TONES_PER_DECADE)
    latents: Array = _guessed(plane.layout, _analysis(), plane.target, exponent)
    return latents


@functools.partial(jax.jit, static_argnums=0)
def _guessed(
    layout: Layout, network: Analysis, target: Float[Array, "channels rows columns"], exponent: Float[Array, ""]
) -> Float[Array, "rows columns"]:
    """The guess as one program: its parts would each be compiled anew in every process."""
    colours = jnp.broadcast_to(target, (COLOURS, *layout.shape))
    grids = grid_analysis.analyse(network, jnp.moveaxis(colours, 0, -1)[None], exponent[None])
    return layout.join([grid[0] for grid in grids])
