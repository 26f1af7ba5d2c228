"""What each term of MVC's loss is worth: `python -m benchmarks.mvc_terms CLIP ...`.

The first frames of each clip, averaged down, are fitted in floating point, with each term alone and without any. A term
whose PSNR is not above that of the squared error alone does not pay.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jax

from inrzip.architectures.base import Grid
from inrzip.architectures.mvc import Mvc, MvcConfig, MvcTraining
from inrzip.architectures.mvc_terms import Terms
from inrzip.compilation import prepare
from inrzip.examples import Frames
from inrzip.fitting import Schedule, fit
from inrzip.metrics import psnr
from inrzip.recipes import RECIPES

from .items import Item, load_item

VARIANTS = (
    Terms(),
    Terms(frequency=1e-3),
    Terms(frequency=1e-2),
    Terms(flow=3e-4),
    Terms(contrast=3e-4),
)


def fitted(item: Item, n_parameters: int, n_steps: int, terms: Terms, seed: int) -> Mvc:
    """The network for a clip, with these terms."""
    spec = item.spec
    grid, recipe = Grid(spec.shape, spec.channels), RECIPES["mvc"]
    config = MvcConfig.solve_for(grid, n_parameters, item.samples, spec.low, spec.high)
    keys = jax.random.split(jax.random.key(seed))
    training = MvcTraining(config.build(grid, keys[0]), keys[1], terms)
    examples = Frames(item.samples, spec.low, spec.high, recipe.batch_size)
    schedule = Schedule(n_steps, config.learning_rate(recipe.peak, n_steps))
    found = fit(training.shown(item.samples, spec.low, spec.high), examples, schedule, seed=seed)
    return found.finish(item.samples, spec.low, spec.high)


def db(module: Mvc, item: Item) -> float:
    """PSNR of the network's frames, of the mean squared error over all."""
    spec = item.spec
    frames = spec.quantise(module.render(module.grid.axes()))
    return psnr(float(((frames.astype(float) - item.samples) ** 2).mean()), spec.peak)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mvc_terms", description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", default="80x45", help="WxH")
    parser.add_argument("--parameters", type=int, default=8_000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    prepare()
    width, height = map(int, options.size.split("x"))
    items = [load_item(path, options.frames, (width, height)) for path in options.clips]
    print("| frequency | flow | contrast | " + " | ".join(item.name for item in items) + " | ms a step |")
    print("|---|---|---|" + "---|" * (len(items) + 1))
    for terms in VARIANTS:
        begun, cells = time.process_time(), []
        for item in items:
            every = [
                db(fitted(item, options.parameters, options.steps, terms, seed), item) for seed in range(options.seeds)
            ]
            cells.append(f"{sum(every) / len(every):.2f}")
        steps = options.steps * len(items) * options.seeds
        spent = f"{(time.process_time() - begun) / steps * 1000:.0f}"
        weights = (f"{weight:g}" for weight in (terms.frequency, terms.flow, terms.contrast))
        print("| " + " | ".join((*weights, *cells, spent)) + " |", flush=True)


if __name__ == "__main__":
    main()
