"""What the learned prior and the guessed first latents are worth: `python -m benchmarks.grid_start PHOTO --out FOLDER`.

The middle square of the photograph is fitted from three beginnings, in fits of several lengths: the package's networks
and guessed latents; its networks and latents of 0; random networks and latents of 0, as the prior itself once began.
Each fit's cost is taken with its latents rounded and its networks in whole numbers, as a decoder has them: mean squared
error and lambda times the bits of latents for a pixel. Bytes of networks come on top of it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from inrzip import grid_fit
from inrzip.architectures.grid_layout import Networks
from inrzip.architectures.grid_training import Layout
from inrzip.codecs.latent_model import WEIGHT_BITS
from inrzip.compilation import prepare
from inrzip.files import atomic_output
from inrzip.grid_coding import Plane, penalty_of, plane_cost, rounding_of, whole_latents
from inrzip.grid_encoder import first_latents
from inrzip.priors import grid_prior
from inrzip.priors.grid_prior import lambda_of, latent_step
from inrzip.priors.train_grid import random_networks

from . import machine
from .plots import svg_of

SIDE = 256
LENGTHS = (60, 120, 220, 400, 700)
TONE = grid_prior.NEUTRAL_TONE
RANDOM = "random networks, latents 0"
BEGINNINGS = ("prior, guessed latents", "prior, latents 0", RANDOM)
SLOWER = (0.1, 0.3, 1.0)
"""Learning rates of networks, as parts of the usual one: random networks get the best of them."""


def fitted_cost(plane: Plane, beginning: str, n_steps: int, pace: float) -> tuple[float, float]:
    """Cost and seconds of a fit."""
    prior = grid_prior.load(grid_prior.LATEST)
    if beginning == RANDOM:
        networks: Networks = random_networks(0)
        penalty = jax.tree.map(jnp.zeros_like, networks)
    else:
        networks = jax.device_put(grid_prior.as_floats(prior.networks(TONE, plane.channels)))
        penalty = penalty_of(prior, plane.channels)
    begun = time.perf_counter()
    guessed = beginning == BEGINNINGS[0]
    latents = first_latents(plane, TONE) if guessed else jnp.zeros((plane.layout.rows, plane.layout.columns))
    state = grid_fit.start(networks, latents)
    price = grid_fit.Price(jnp.float32(lambda_of(TONE)), jnp.float32(latent_step(TONE)))
    problem = grid_fit.Problem(networks, penalty, plane.target, price)
    rates = grid_fit.PEAK_LATENTS, pace * grid_fit.network_peak(n_steps)
    while int(state.step) < n_steps:
        state, _ = grid_fit.run(plane.layout, problem, state, n_steps, rounding_of(None, prior), rates)
    seconds = time.perf_counter() - begun
    found = jax.tree.map(lambda a, b: np.round(np.asarray(a + b) * 2.0**WEIGHT_BITS), networks, state.change)
    whole = jax.tree.map(lambda a: a.astype(np.int64), found)
    return plane_cost(plane, whole, whole_latents(plane.layout, state), TONE), seconds


def curve(plane: Plane, beginning: str) -> list[tuple[int, float, float]]:
    """Steps, seconds and cost of fits of several lengths."""
    found = []
    for n_steps in LENGTHS:
        paces = SLOWER if beginning == RANDOM else (1.0,)
        cost, seconds = min(fitted_cost(plane, beginning, n_steps, pace) for pace in paces)
        found.append((n_steps, seconds, cost))
        print(f"{beginning}: {n_steps} steps, {seconds:.1f} s, {1e6 * cost:.1f}", flush=True)
    return found


def plot(curves: dict[str, list[tuple[int, float, float]]]) -> str:
    """The curves as SVG."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        _, seconds, costs = zip(*points, strict=True)
        axes.loglog(seconds, [1e6 * cost for cost in costs], "o-", label=name)
    axes.set_xlabel("seconds of fitting")
    axes.set_ylabel("MSE + lambda bpp, in millionths")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    return svg_of(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grid_start", description=__doc__)
    parser.add_argument("photo", type=Path, help="of at least 256x256 pixels")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table and the plot")
    options = parser.parse_args()
    prepare()
    picture = np.asarray(Image.open(options.photo).convert("RGB"), np.float32) / 255
    top, left = ((n - SIDE) // 2 for n in picture.shape[:2])
    if min(top, left) < 0:
        parser.error(f"{options.photo} is smaller than {SIDE}x{SIDE}")
    square = np.moveaxis(picture[top : top + SIDE, left : left + SIDE], -1, 0)
    plane = Plane("square", Layout((SIDE, SIDE)), jnp.asarray(square))
    for beginning in BEGINNINGS:  # compiles
        fitted_cost(plane, beginning, grid_fit.STEPS_AT_ONCE, 1.0)
    curves = {beginning: curve(plane, beginning) for beginning in BEGINNINGS}
    lines = [
        "# Where fits of latent grids begin",
        "",
        f"`python -m benchmarks.grid_start {options.photo.name} --out FOLDER`",
    ]
    lines += ["", *(__doc__ or "").split("\n\n")[1].splitlines(), "", "![cost over seconds](grid_start.svg)", ""]
    lines += ["| steps | " + " | ".join(BEGINNINGS) + " |", "| --- |" + " --- |" * len(BEGINNINGS)]
    for points in zip(*curves.values(), strict=True):
        cells = [f"{1e6 * cost:.1f} ({seconds:.1f} s)" for _, seconds, cost in points]
        lines.append(f"| {points[0][0]} | " + " | ".join(cells) + " |")
    lines += ["", "Costs in millionths (squared error of samples from 0 to 1); random networks with the best of"]
    lines += [f"{len(SLOWER)} learning rates. Commit {machine.commit()}; {machine.device()}.", ""]
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in (("README.md", "\n".join(lines)), ("grid_start.svg", plot(curves))):
        with atomic_output(options.out / name, overwrite=True) as temporary:
            temporary.write_text(text)


if __name__ == "__main__":
    main()
