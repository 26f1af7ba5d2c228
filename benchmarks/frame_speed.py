"""Frames a second that each recipe for videos decodes: `python -m benchmarks.frame_speed [--recipes ...]`.

Each recipe's network for a budget of bits per pixel is filled with random weights, quantised, written to a file and
read back frame by frame; what the weights are does not matter for the time. The first frame, which waits for the
entropy decoder and for compiling, is told apart. Multiply-accumulates are counted in the program of one frame; the
floor is that many at the rate of a large matrix product, measured in the same run. Videos of pictures and motion have
random latents and motion in all frames; their multiply-accumulates are those of the formulas, for a frame between two
others.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time

import jax.numpy as jnp

from inrzip import plan
from inrzip.architectures.base import Config, FrameRepresentation, Grid
from inrzip.architectures.grid_layout import (
    FEATURES,
    FILTER_TAPS,
    HIDDEN_LAYERS,
    LEVELS,
    SYNTHESIS_WIDTH,
    TAPS,
    WIDTH,
    n_coarser,
    places,
)
from inrzip.architectures.motion import MotionConfig
from inrzip.architectures.warping import SPACINGS
from inrzip.architectures.warping import TAPS as MOVED_TAPS
from inrzip.compilation import prepare
from inrzip.container import write_container
from inrzip.header import Header
from inrzip.reader import Reader
from inrzip.recipes import RECIPES, Recipe
from inrzip.signal import Kind, Spec

from .machine import device
from .macs import count_macs, matmul_rate
from .random_files import random_film, random_network

SIZES = ((180, 320), (720, 1280))
N_FRAMES = 24
BITS_PER_PIXEL = 0.1
TIMED = 8
"""Frames that are timed after the first."""


@dataclasses.dataclass(frozen=True)
class Speed:
    """`first`: seconds until there is a frame. `fps`: frames a second from then on."""

    recipe: str
    parameters: int
    macs_per_pixel: float
    first: float
    fps: float
    floor_fps: float


def measure(recipe: Recipe, size: tuple[int, int], rate: float) -> Speed:
    """A recipe at a frame size; `rate`: multiply-accumulates a second of a matrix product."""
    spec = Spec(Kind.VIDEO, (N_FRAMES, *size), 3, "u1", 0, 255, {"rate": (25, 1)})
    header = Header(spec, recipe.architecture.number, plan.segment_length(spec, recipe, {}))
    if recipe.architecture is MotionConfig:
        return _measure_film(recipe, header, rate)
    budget = BITS_PER_PIXEL * math.prod(spec.shape) / recipe.bits_per_parameter
    grids = [Grid((b - a, *size), 3) for a, b in map(header.segment_bounds, range(header.n_segments))]
    configs = [recipe.architecture.solve(grid, int(budget / len(grids))) for grid in grids]
    data = write_container(header, [random_network(c, g) for c, g in zip(configs, grids, strict=True)], [])
    first, fps = _timed(data)
    macs = _macs_of_frame(configs[0], grids[0])
    n_parameters = sum(c.n_parameters(g) for c, g in zip(configs, grids, strict=True))
    return Speed(recipe.name, n_parameters, macs / math.prod(size), first, fps, rate / macs)


def _timed(data: bytes) -> tuple[float, float]:
    """Seconds until there is a frame, and frames a second from then on."""
    begun = time.perf_counter()
    with Reader(data, max_memory=None) as reader:
        reader.render(frames=(0, 1))
        first = time.perf_counter() - begun
        begun = time.perf_counter()
        for _ in reader.parts(frames=(1, 1 + TIMED)):
            pass
        return first, TIMED / (time.perf_counter() - begun)


def _measure_film(recipe: Recipe, header: Header, rate: float) -> Speed:
    """Pictures and motion. Parameters are latents; there are many, most of them 0."""
    spec = header.spec
    grid, n_pixels = Grid(spec.shape, spec.channels), math.prod(spec.shape[1:])
    config = recipe.architecture.solve(grid, 0)
    assert isinstance(config, MotionConfig) and header.n_segments == 1
    payload = random_film(config, grid)
    first, fps = _timed(write_container(header, [payload]))
    macs = _macs_of_pixel(spec.channels)
    n_latents = sum(math.prod(place.shape) for place in places((spec.shape[1], spec.shape[2]))) * spec.shape[0]
    return Speed(recipe.name, n_latents, macs, first, fps, rate / (macs * n_pixels))


def _macs_of_pixel(channels: int) -> float:
    """Multiply-accumulates for a pixel of a frame that is made of two others and of latents, three channels at once:
    what is expected of each latent, grids that are doubled and filtered, the synthesis, motion between its nodes, and
    samples that are moved.
    """
    shares = {place: math.pow(4, -place.level) for place in places((1, 1))}
    expecting = sum(shares.values()) * (HIDDEN_LAYERS * WIDTH**2 + 4 * WIDTH)
    expecting += sum(FEATURES * n_coarser(place.level) / 4 * share for place, share in shares.items())
    finer = range(LEVELS - 1)
    doubling = sum(3 * TAPS / 2 * (LEVELS - 1 - level) * math.pow(4, -level) for level in finer)
    filtering = sum(2 * FILTER_TAPS * math.pow(4, -level) for level in finer)
    synthesis = SYNTHESIS_WIDTH * (LEVELS + channels) + LEVELS * channels + 9 * channels**2
    motion = 5 * 4 * len(SPACINGS)
    moving = 2 * channels * (MOVED_TAPS**2 + MOVED_TAPS) + channels
    return expecting + doubling + filtering + synthesis + motion + moving


def _macs_of_frame(config: Config, grid: Grid) -> int:
    module = config.structure(grid)
    whole = isinstance(module, FrameRepresentation)
    inputs = jnp.zeros(1) if whole else jnp.zeros((math.prod(grid.shape[1:]), len(grid.shape)))
    return count_macs(lambda m, x: m.predict(x), module, inputs)


def main() -> None:
    """Prints a table for each size."""
    videos = [r.name for r in RECIPES.values() if Kind.VIDEO in r.kinds and not _compared_elsewhere(r)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frame_speed", description=__doc__)
    parser.add_argument("--recipes", default=",".join(videos), help="names separated by commas")
    options = parser.parse_args()
    prepare()
    rate = matmul_rate()
    print(
        f"{device()}; a matrix product: {rate / 1e9:.1f} GMAC/s; {BITS_PER_PIXEL} bits per pixel, {N_FRAMES} frames\n"
    )
    for height, width in SIZES:
        print(f"{width}x{height}\n")
        print(
            "| recipe | parameters | MAC per pixel | first frame, s | frames a second | floor's | part of the floor |"
        )
        print("|---|---|---|---|---|---|---|")
        for name in options.recipes.split(","):
            s = measure(RECIPES[name], (height, width), rate)
            share = f"{s.fps / s.floor_fps:.0%}"
            cells = s.recipe, f"{s.parameters:,}", f"{s.macs_per_pixel:,.0f}", f"{s.first:.2f}", f"{s.fps:.1f}"
            print("| " + " | ".join((*cells, f"{s.floor_fps:.0f}", share)) + " |", flush=True)
        print()


def _compared_elsewhere(recipe: Recipe) -> bool:
    """Networks of positions, SIREN excepted: docs/compact.md."""
    return not recipe.architecture.frame_wise and recipe.name not in ("siren", "motion")


if __name__ == "__main__":
    main()
