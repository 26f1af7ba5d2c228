"""From what the user asked for to numbers: how many bytes, how many steps, how long the segments."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import MAX_PATCHES, SIDE_OF_CUBES, CombinerConfig, planes_of
from inrzip.architectures.context import SEGMENT_SAMPLES, ContextConfig
from inrzip.architectures.grid import GridConfig
from inrzip.architectures.grid_kernels import library
from inrzip.architectures.motion import MotionConfig, frames_of_segment
from inrzip.architectures.nirvana import FRAMES, NirvanaConfig
from inrzip.architectures.pfnr import PfnrConfig

from .errors import InrzipError
from .examples import Examples
from .fitting import Schedule
from .recipes import Recipe
from .segment import Goal
from .signal import Kind, Spec

SEGMENT_BYTES = 400 << 20
"""Samples of one segment, as float-free raw data: what fitting holds in memory, besides a fixed amount."""
CUBES_SEGMENT_BYTES, FLOAT_BYTES = 200 << 20, 4
"""The same where signals are cut into cubes, which are held as floats."""
CHANNELS_OF_CUBES = {Kind.VIDEO: 3, Kind.VOLUME: 1}
"""That priors of them have."""
AUDIO_SEGMENT_SECONDS = 1.0
LATENT_SEGMENT = 1 << 17
"""Samples of a segment of sound with a learned prior: patches are decoded one by one, so segments may be long."""
EFFORT_RANGE = (1, 9)
STEPS_AT_EFFORT_1 = 300
EPOCHS_AT_EFFORT_1 = 30.0
LONGER_PER_EFFORT = 1.5
"""Each effort takes this many times the steps of the one before."""
GRID_STEPS = (200, 340, 700, 1300, 2400, 4400, 8000, 13000, 20000)
"""Steps of latent grids for each effort, for pictures of `GRID_PIXELS`. Small pictures, whose steps are quick, take
more, large ones fewer, within `GRID_STEPS_RANGE`.
"""
GRID_PIXELS = 393_216
GRID_STEPS_RANGE = (0.3, 4.0)
GRID_STEPS_UNCOMPILED = 0.25
"""The part of them that is done where compiled code for them is missing, and each takes many times as long."""
FILM_STEPS = (60, 100, 160, 260, 420, 700, 1100, 1800, 3000)
"""The same for each picture of a video of `FILM_PIXELS`, all frames together."""
FILM_PIXELS = 2_500_000
FILM_STEPS_RANGE = (0.3, 3.0)
CONTEXT_STEPS = (0, 100, 250, 500, 1000, 2000, 4000, 8000, 16000)
"""Steps of the networks of exact samples, for each effort."""
UNBOUNDED_STEPS = 1_000_000
"""With a time limit, the clock ends a fit."""
QUALITY_RANGE = (0.0, 100.0)
DEFAULT_QUALITY = 50.0
LOSSLESS_QUALITY = {Kind.IMAGE: 60.0, Kind.VIDEO: 50.0, Kind.AUDIO: 50.0, Kind.VOLUME: 50.0, Kind.PROTEIN: 10.0}
"""Of the prediction in a lossless file. Between 55 and 75 photographs take the same in all (docs/design.md), as four
proteins do between 1 and 20; others are not measured.
"""
QUALITY_OCTAVE = 12.5
"""Points of --quality that double the size."""
BPP_AT_QUALITY_50 = {Kind.IMAGE: 0.5, Kind.VIDEO: 0.02, Kind.AUDIO: 1.0, Kind.VOLUME: 0.5, Kind.PROTEIN: 40.0}
"""Bits for a pixel, a voxel, a sample of sound (all channels together), a residue."""
SHAPE_BYTES_AT_QUALITY_50 = 30_000
SMALLEST_BYTES = 24
"""A network needs so much to be written at all."""
SMALLEST_DEFAULT_BYTES = 64
"""Below it, a network's weights are all zero: not even a black image comes out black."""
LEAST_SIZE_SHARE = 0.95
"""A target size counts as met from here up to all of it."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user asked for; at most one of the four first fields is given."""

    quality: float | None = None
    target_size: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    effort: int = 5
    time_limit: float | None = None

    def check(self, spec: Spec) -> None:
        """Raises InrzipError for contradictory or impossible wishes."""
        given = [self.quality, self.target_size, self.target_bpp, self.target_psnr]
        if sum(value is not None for value in given) > 1:
            raise InrzipError("give only one of quality, target size, target bpp and target PSNR")
        if any(
            value is not None and not (math.isfinite(value) and value > 0) for value in (*given[1:], self.time_limit)
        ):
            raise InrzipError("targets and the time limit must be positive numbers")
        if self.quality is not None and not QUALITY_RANGE[0] <= self.quality <= QUALITY_RANGE[1]:
            raise InrzipError(f"quality {self.quality:g} is outside 0 to 100")
        if not EFFORT_RANGE[0] <= self.effort <= EFFORT_RANGE[1]:
            raise InrzipError(f"effort {self.effort} is outside 1 to 9")
        if spec.kind == Kind.SHAPE and self.target_psnr is not None:
            raise InrzipError("a shape has no sample PSNR to aim at; use --quality or --target-size")
        if spec.kind == Kind.SHAPE and self.target_bpp is not None:
            raise InrzipError("a shape has no pixels to count bits for; use --quality or --target-size")


def for_lossless(request: Request, spec: Spec) -> Request:
    """What a lossless file's networks are to reach where the user says nothing of it. Raises InrzipError for targets
    that no lossless file has.
    """
    if request.target_size is not None or request.target_bpp is not None:
        raise InrzipError("a lossless file is as large as it has to be; leave the target out (or --lossless)")
    if request.quality is None and request.target_psnr is None:
        return dataclasses.replace(request, quality=LOSSLESS_QUALITY[spec.kind])
    return request


def total_bytes(request: Request, spec: Spec) -> int:
    """The size to aim at, of the whole file; with a target PSNR, the first guess."""
    if request.target_size is not None:
        return request.target_size
    points = math.prod(spec.shape)
    if request.target_bpp is not None:
        return max(1, int(request.target_bpp * points / 8))
    factor = 2 ** (
        ((DEFAULT_QUALITY if request.quality is None else request.quality) - DEFAULT_QUALITY) / QUALITY_OCTAVE
    )
    if request.target_psnr is not None:
        factor = 2 ** ((request.target_psnr - 30) / 3)
    at_50 = SHAPE_BYTES_AT_QUALITY_50 if spec.kind == Kind.SHAPE else BPP_AT_QUALITY_50[spec.kind] * points / 8
    return max(SMALLEST_DEFAULT_BYTES, int(at_50 * factor))


def segment_length(spec: Spec, recipe: Recipe, settings: Mapping[str, int] | None = None) -> int:
    """Rows of axis 0 in a segment: all, if they fit in `SEGMENT_BYTES`; a second or so of sound; else equal parts. With
    NIRVANA, the frames of a group, which are a setting; with PFNR, all.
    """
    n = spec.shape[0]
    if recipe.architecture is ContextConfig:
        return _even(n, max(1, SEGMENT_SAMPLES * n // spec.n_samples))
    if spec.kind in (Kind.SHAPE, Kind.IMAGE, Kind.PROTEIN) or recipe.architecture is PfnrConfig:
        return n
    if recipe.architecture is CombinerConfig:
        return LATENT_SEGMENT if spec.kind == Kind.AUDIO else _rows_of_cubes(spec)
    if spec.kind == Kind.AUDIO:
        rate = spec.meta.get("rate", (44100, 1))
        assert isinstance(rate, tuple)
        return _even(n, max(1, int(AUDIO_SEGMENT_SECONDS * rate[0] / rate[1])))
    row_bytes = math.prod(spec.shape[1:]) * spec.channels * spec.dtype.itemsize
    longest = max(1, SEGMENT_BYTES // row_bytes)
    if recipe.architecture is MotionConfig:
        longest = frames_of_segment(Grid(spec.shape, spec.channels))
    if recipe.architecture is NirvanaConfig:
        longest = min(longest, (settings or {}).get("frames", FRAMES))
    return _even(n, longest)


def _rows_of_cubes(spec: Spec) -> int:
    """Rows of a segment of a video or a volume in cubes: whole ones, and few enough to be held as floats."""
    learned = CHANNELS_OF_CUBES[spec.kind]
    planes = len(list(planes_of(spec.channels, learned)))
    cubes = planes * math.prod(-(-n // SIDE_OF_CUBES) for n in spec.shape[1:])
    most = min(MAX_PATCHES, CUBES_SEGMENT_BYTES // (SIDE_OF_CUBES**3 * learned * FLOAT_BYTES))
    layers = -(-spec.shape[0] // SIDE_OF_CUBES)
    return SIDE_OF_CUBES * _even(layers, max(1, most // cubes))


def _even(n: int, longest: int) -> int:
    """The length of equal parts of `n`, none longer than `longest`."""
    return -(-n // -(-n // longest))


def split_budget(size: int, weights: Sequence[int]) -> list[int]:
    """`size` bytes in proportion to `weights`, their sum exactly `size`."""
    total, done = sum(weights), 0
    parts: list[int] = []
    for weight in weights:
        share = (size - sum(parts)) * weight // (total - done) if total > done else 0
        parts.append(share)
        done += weight
    return parts


def schedule(request: Request, recipe: Recipe, examples: Examples) -> Schedule:
    """Steps for an effort: as many for every point set; for frames, also enough epochs."""
    if recipe.architecture is ContextConfig:
        most = request.effort if request.time_limit is None else EFFORT_RANGE[1]
        return Schedule(CONTEXT_STEPS[most - 1], recipe.peak)
    if request.time_limit is not None:
        return Schedule(UNBOUNDED_STEPS, recipe.peak)
    if recipe.architecture is GridConfig:
        return Schedule(_grid_steps(request, examples, GRID_STEPS, GRID_PIXELS, GRID_STEPS_RANGE), recipe.peak)
    if recipe.architecture is MotionConfig:
        return Schedule(_grid_steps(request, examples, FILM_STEPS, FILM_PIXELS, FILM_STEPS_RANGE), recipe.peak)
    growth = LONGER_PER_EFFORT ** (request.effort - 1)
    n_steps = STEPS_AT_EFFORT_1 * growth
    if recipe.architecture.frame_wise:
        n_steps = max(n_steps, EPOCHS_AT_EFFORT_1 * growth * examples.n_items / examples.batch_size)
    return Schedule(round(n_steps), recipe.peak)


def _grid_steps(
    request: Request, examples: Examples, steps: Sequence[int], pixels: int, within: tuple[float, float]
) -> int:
    """Steps of latent grids: as many as usual for so many pixels, more for fewer."""
    share = min(max(math.sqrt(pixels / examples.n_items), within[0]), within[1])
    share *= GRID_STEPS_UNCOMPILED if library() is None else 1.0
    return max(1, round(share * steps[request.effort - 1]))


def goal(request: Request, size: int) -> Goal:
    """What one segment has to reach with `size` bytes."""
    targets = request.target_size, request.target_bpp, request.target_psnr
    quality = DEFAULT_QUALITY if request.quality is None else request.quality
    return Goal(size, request.target_psnr, quality if targets == (None, None, None) else None)
