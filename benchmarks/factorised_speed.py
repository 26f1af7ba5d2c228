"""Seconds to equal quality, one SIREN against SIRENs of single axes (F-INR): `python -m benchmarks.factorised_speed`.

    python -m benchmarks.factorised_speed clip.mp4 scan.npz --frames 32 --size 320x160 --sizes 10000,20000

Each file is fitted in floating point with one SIREN, then with F-INR of more and more steps until it is as good, or has
taken an eighth of the time. A fit's learning rate falls to its end, so each number of steps is a fit of its own. F-INR
begins at a decomposition of the samples, which takes no step. Seconds are those of the processor; compilation does not
count. Then both make whole files of the sizes asked for, at equal effort.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

import inrzip
from inrzip.architectures.base import Config, Grid
from inrzip.architectures.finr import Mode
from inrzip.compilation import prepare
from inrzip.fitting import Schedule, fit
from inrzip.recipes import RECIPES, Recipe
from inrzip.segment import make_examples
from inrzip.signal import Kind, Spec

from .items import Item, load_item
from .machine import device

FIRST_STEPS = 1 / 64
"""Of the SIREN's steps, those of the first fit of F-INR that makes any."""
GROWTH = 2
PARAMETERS = (1, 3, 8)
"""F-INR with so many times as many parameters as the SIREN."""
LEAST_RATIO = 8
"""F-INR that is not so many times faster is not waited for."""
WARM_STEPS = 2


def unit(spec: Spec, samples: Shaped[ndarray, "..."]) -> Float[ndarray, "..."]:
    """Samples from 0 to 1."""
    return np.asarray((samples.astype(np.float64) - spec.low) / ((spec.high - spec.low) or 1))


def timed_fit(recipe: Recipe, config: Config, item: Item, steps: int) -> tuple[float, float]:
    """Seconds of a fit, and the PSNR in dB of all samples that its network makes, in floating point."""
    spec = item.spec
    grid = Grid(spec.shape, spec.channels)
    examples = make_examples(recipe, item.samples, spec.low, spec.high)
    built = config.build(grid, jax.random.key(0))
    peak = config.learning_rate(recipe.peak, max(steps, 1))
    fit(built.placed(item.samples, spec.low, spec.high), examples, Schedule(WARM_STEPS, peak))
    begun = time.process_time()
    fitted = built.placed(item.samples, spec.low, spec.high)
    if steps:
        fitted = fit(fitted, examples, Schedule(steps, peak))
    seconds = time.process_time() - begun
    errors = np.clip(fitted.render(grid.axes()), 0, 1) - unit(spec, item.samples)
    return seconds, float(-10 * np.log10(np.mean(errors**2)))


def fits(item: Item, n_parameters: int, steps: int) -> Iterator[str]:
    """The rows of the SIREN and of each F-INR, in Markdown."""
    grid = Grid(item.spec.shape, item.spec.channels)
    whole, parts = RECIPES["siren"], RECIPES["finr"]
    siren = whole.architecture.solve(grid, n_parameters)
    budget, wanted = timed_fit(whole, siren, item, steps)
    yield f"| SIREN | {siren.n_parameters(grid):,} | {steps} | {budget:.1f} | {wanted:.2f} | 1 |"
    for mode in Mode:
        for times in PARAMETERS:
            config = parts.architecture.solve(grid, times * n_parameters, mode=mode)
            n_steps = 0
            while True:
                seconds, db = timed_fit(parts, config, item, n_steps)
                if db >= wanted or GROWTH * seconds > budget / LEAST_RATIO:
                    break
                n_steps = max(GROWTH * n_steps, int(steps * FIRST_STEPS))
            ratio = f"{budget / seconds:.1f}" if db >= wanted else "not reached"
            count = config.n_parameters(grid)
            yield f"| F-INR, {mode.name} | {count:,} | {n_steps} | {seconds:.1f} | {db:.2f} | {ratio} |"


def files(item: Item, sizes: list[int], effort: int) -> Iterator[str]:
    """A row for each recipe and size, in Markdown: what whole files take, and what they decode to."""
    kind = item.kind
    samples = item.samples if kind != Kind.VOLUME or item.spec.channels > 1 else item.samples[..., 0]
    for size in sizes:
        for name, mode in (("siren", None), *(("finr", mode) for mode in (Mode.CP, Mode.TUCKER))):
            settings = {} if mode is None else {"mode": int(mode)}
            begun = time.process_time()
            found = inrzip.fit(samples, name, kind=kind, target_size=size, effort=effort, settings=settings)
            seconds = time.process_time() - begun
            label = name if mode is None else f"{name}, {mode.name}"
            yield f"| {label} | {found.n_bytes:,} | {found.quality['psnr_db']:.2f} | {seconds:.0f} |"


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.factorised_speed", description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="videos, volumes, images")
    parser.add_argument("--frames", type=int, default=32, help="of a video (default: %(default)s)")
    parser.add_argument("--size", default="320x160", help="of a video's frames (default: %(default)s)")
    parser.add_argument(
        "--edge", type=int, default=96, help="of a volume, cut out of its middle (default: %(default)s)"
    )
    parser.add_argument("--parameters", type=int, default=40_000, help="of the SIREN (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2000, help="of the SIREN (default: %(default)s)")
    parser.add_argument("--sizes", type=numbers, default=[10_000, 20_000], help="of whole files, in bytes")
    parser.add_argument("--effort", type=int, default=1, help="of whole files (default: %(default)s)")
    given = parser.parse_args()
    prepare()
    width, height = map(int, given.size.split("x"))
    print(device())
    for path in given.files:
        item = cut(load_item(path, given.frames, (width, height)), given.edge)
        print(f"\n{path.name}, {'x'.join(map(str, item.spec.shape))}, {item.spec.channels} channels\n")
        print("| network | parameters | steps | seconds | PSNR | times faster |\n|---|---|---|---|---|---|")
        for row in fits(item, given.parameters, given.steps):
            print(row, flush=True)
        print("\n| file | bytes | PSNR | seconds |\n|---|---|---|---|")
        for row in files(item, given.sizes, given.effort):
            print(row, flush=True)


def cut(item: Item, edge: int) -> Item:
    """The middle of a volume, at most `edge` samples along each axis; other items as they are."""
    if item.kind != Kind.VOLUME:
        return item
    starts = [max(0, (n - edge) // 2) for n in item.spec.shape]
    samples = item.samples[tuple(slice(start, start + edge) for start in starts)]
    low, high = float(samples.min()), float(samples.max())
    spec = dataclasses.replace(item.spec, shape=samples.shape[:-1], low=low, high=high)
    return dataclasses.replace(item, spec=spec, content=samples)


if __name__ == "__main__":
    main()
