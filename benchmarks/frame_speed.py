"""Frames a second that each recipe for videos decodes: `python -m benchmarks.frame_speed [--recipes ...]`.

Each recipe's network for a budget of bits per pixel is filled with random weights, quantised, written to a file and
read back frame by frame; what the weights are does not matter for the time. The first frame, which waits for the
entropy decoder and for compiling, is told apart. Multiply-accumulates are counted in the program of one frame; the
floor is that many at the rate of a large matrix product, measured in the same run.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time

import jax.numpy as jnp

from inrzip import plan
from inrzip.architectures.base import Config, FrameRepresentation, Grid
from inrzip.compilation import prepare
from inrzip.container import write_container
from inrzip.header import Header
from inrzip.reader import Reader
from inrzip.recipes import RECIPES, Recipe
from inrzip.signal import Kind, Spec

from .machine import device
from .macs import count_macs, matmul_rate
from .random_files import random_network

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
    budget = BITS_PER_PIXEL * math.prod(spec.shape) / recipe.bits_per_parameter
    grids = [Grid((b - a, *size), 3) for a, b in map(header.segment_bounds, range(header.n_segments))]
    configs = [recipe.architecture.solve(grid, int(budget / len(grids))) for grid in grids]
    data = write_container(header, [random_network(c, g) for c, g in zip(configs, grids, strict=True)], [])
    begun = time.perf_counter()
    with Reader(data, max_memory=None) as reader:
        reader.render(frames=(0, 1))
        first = time.perf_counter() - begun
        begun = time.perf_counter()
        for _ in reader.parts(frames=(1, 1 + TIMED)):
            pass
        fps = TIMED / (time.perf_counter() - begun)
        macs = _macs_of_frame(configs[0], grids[0])
    n_parameters = sum(c.n_parameters(g) for c, g in zip(configs, grids, strict=True))
    return Speed(recipe.name, n_parameters, macs / math.prod(size), first, fps, rate / macs)


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
    frames = recipe.architecture.frame_wise
    return not frames and recipe.name != "siren"


if __name__ == "__main__":
    main()
