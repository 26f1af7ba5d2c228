"""Makes the prior of latent grids from a folder of photographs: `python -m inrzip.priors.train_grid FOLDER --out DIR`.

1. *share*: networks common to many crops, as polynomials of the tone, are fitted together with latents of each crop's
   own, and with biases of its own, so that latents need not stand in for them.
2. *stray*: crops are fitted one by one from there: how far parameters stray, and how much each array matters.
3. *guess*: the analysis network learns to guess latents for the common networks.

Each part saves its state every minute, and goes on from it when started again. docs/design.md tells how the package's
prior came about; its photographs are those that PROVENANCE.md, beside the data set, gives a free licence.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from inrzip import grid_fit
from inrzip.architectures import grid_analysis
from inrzip.architectures.grid_jax import joined
from inrzip.architectures.grid_kernels import kernels
from inrzip.architectures.grid_layout import COLOURS, SYNTHESIS_WIDTH, Networks, flat, shapes, unflat
from inrzip.architectures.grid_training import Layout
from inrzip.codecs.latent_model import WEIGHT_BITS
from inrzip.compilation import prepare
from inrzip.descent import adam, adam_start, soap, soap_start, turned
from inrzip.priors import grid_prior
from inrzip.priors.grid_prior import GridPrior

SIZE = 256
TONE_RANGE = (-1.15, 1.4)
"""Powers of ten of lambda over the neutral one, evenly spread over crops."""
REFERENCE_PIXELS = 393_216
"""Of the picture whose quantisation steps and penalties are those of offset 0."""
SAVE_SECONDS = 60.0
BICUBIC = (0.87890625, 0.26171875, -0.10546875, -0.03515625)
DIRAC = (1.0, 0.0, 0.0, 0.0)
LAMBDA_POWER = 0.8
"""Costs are divided by lambda to this power, so that all tones count alike."""
LARGEST_GRADIENT = 0.02
DECAYS_SHARED, DECAYS_OWN, DECAYS_GUESS = (0.95, 0.99), (0.9, 0.999), (0.9, 0.99)
ANALYSIS_BATCH = 6

Tree = Any


def crops(folder: Path, prefixes: list[str], count: int, seed: int) -> Float[ndarray, "count 3 rows columns"]:
    """Random squares of the photographs whose names begin with one of `prefixes`, mirrored and turned at random."""
    rng, pictures = np.random.default_rng(seed), []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(tuple(prefixes)):
            picture = np.moveaxis(np.asarray(iio.imread(path))[..., :3], -1, 0)
            if min(picture.shape[1:]) >= SIZE:
                pictures.append(picture)
    if not pictures:
        sys.exit(f"{folder}: no photographs of {SIZE} pixels and more begin with {', '.join(prefixes)}")
    found = []
    for i in range(count):
        picture = pictures[i % len(pictures)]
        top, left = (int(rng.integers(n - SIZE + 1)) for n in picture.shape[1:])
        crop = picture[:, top : top + SIZE, left : left + SIZE].astype(np.float32) / 255
        crop = crop[:, :, ::-1] if rng.integers(2) else crop
        found.append(crop.transpose(0, 2, 1) if rng.integers(2) else crop)
    return np.stack(found)


def random_networks(seed: int) -> Networks:
    """Where training starts. What multiplies must not start at zero on both sides, or it never moves."""
    rng = np.random.default_rng(seed)
    spreads = {"output": 0.025, "coarse": 0.15, "own": 0.15, "grid_bias": 0.3, "wide": 0.22, "narrow": 0.01}
    spreads |= {"straight": 0.02}
    wanted = shapes(COLOURS)

    def draw(name: str, shape: tuple[int, ...]) -> ndarray:
        return rng.normal(0, spreads.get(name, 0.0), shape).astype(np.float32)

    fields: dict[str, Tree] = {
        name: tuple(draw(name, s) for s in shape) if isinstance(shape[0], tuple) else draw(name, shape)
        for name, shape in wanted._asdict().items()
    }
    fields["taps"] = np.broadcast_to(np.array(BICUBIC, np.float32), wanted.taps)
    fields["filters"] = np.broadcast_to(np.array(DIRAC, np.float32), wanted.filters)
    fields["narrow_bias"] = fields["narrow_bias"] + np.float32(0.5)
    fields["output_bias"] = np.array([0, -5.8], np.float32)
    return Networks(**jax.tree.map(jnp.asarray, fields))


def at_tone(polynomial: Tree, tone: Array) -> Tree:
    """Networks at a tone, from trees with the three coefficients in front."""
    low, high = (t / grid_prior.TONES_PER_DECADE for t in grid_prior.LEARNED_TONES)
    t = jnp.clip(tone, low, high)
    return jax.tree.map(lambda a: a[0] + t * a[1] + t * t * a[2], polynomial)


def limited(gradient: Tree) -> Tree:
    """A gradient of at most `LARGEST_GRADIENT`."""
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradient)))
    return jax.tree.map(lambda g: g * jnp.minimum(1.0, LARGEST_GRADIENT / (norm + 1e-12)), gradient)


def share_step(
    layout: Layout, state: Tree, own: Tree, target: ndarray, tone: float, step: int, done: float
) -> tuple[Tree, Tree, float]:
    """One step with one crop. `state`: polynomial and its moments; `own`: the crop's latents with moments, its biases
    with moments, and how often it was seen.
    """
    polynomial, moments = state
    (latents, latent_moments), (biases, bias_moments), seen = own
    compute = kernels(layout, COLOURS)
    smooth, slopes = compute.smooth(latents, grid_fit.GAIN, *grid_fit.disturbance(done), step)
    networks = _networks_of_crop(polynomial, biases, tone)
    weight, scale = grid_prior.NEUTRAL_LAMBDA * 10**tone, 10 ** (-LAMBDA_POWER * tone) / target.size
    latent_step = grid_prior.NEUTRAL_STEP * 10 ** (tone / 2)
    costs, by_networks, by_latents = compute.cost(networks, smooth, target, latent_step, 3 * weight)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    shared, biases, bias_moments = _shared_step(
        (polynomial, moments), biases, bias_moments, by_networks, tone, scale, step, seen, cosine
    )
    latents, latent_moments = compute.descend(
        latents, latent_moments, by_latents * np.float32(scale), slopes, 1e-2 * cosine, DECAYS_OWN, seen
    )
    cost = scale * float(costs[0] + 3 * weight * costs[1])
    return shared, ((latents, latent_moments), (biases, bias_moments), seen + 1), cost


@jax.jit
def _networks_of_crop(polynomial: Tree, biases: Array, tone: Array) -> Array:
    networks = at_tone(polynomial, tone)
    return joined(
        networks._replace(
            wide_bias=networks.wide_bias + biases[:SYNTHESIS_WIDTH],
            narrow_bias=networks.narrow_bias + biases[SYNTHESIS_WIDTH:],
        )
    )


@jax.jit
def _shared_step(
    state: Tree, biases: Array, bias_moments: Tree, by_networks: Array, tone: Array, scale: Array, step: Array,
    seen: Array, cosine: Array,
) -> tuple[Tree, Array, Tree]:  # fmt: skip
    polynomial, moments = state
    gradient = jax.tree.map(lambda g: g * scale, unflat(by_networks, COLOURS))
    by_biases = jnp.concatenate([gradient.wide_bias, gradient.narrow_bias]) + 1e-6 * biases
    _, back = jax.vjp(lambda p: at_tone(p, tone), polynomial)
    move, moments = soap(limited(back(gradient)[0]), moments, step, DECAYS_SHARED)
    polynomial = jax.tree.map(lambda p, m: p - 2e-3 * cosine * m, polynomial, move)
    move_b, bias_moments = adam(by_biases, bias_moments, seen, DECAYS_OWN)
    return (polynomial, moments), biases - 1e-2 * cosine * move_b, bias_moments


def share(
    pictures: ndarray, start: Tree, first_latents: Callable[[ndarray, float], Array], n_visits: int, file: Path
) -> Tree:
    """The polynomials, from those given. Every crop is seen `n_visits` times; `first_latents(picture, tone)` are what
    its latents start from.
    """
    layout, n = Layout((SIZE, SIZE)), len(pictures)
    tones = np.linspace(*TONE_RANGE, n, dtype=np.float32)[np.random.default_rng(1).permutation(n)]
    biases = jnp.zeros(SYNTHESIS_WIDTH + COLOURS)

    def own(i: int) -> Tree:
        latents = np.asarray(first_latents(pictures[i], float(tones[i]))) / np.float32(grid_fit.GAIN)
        return (latents, (0 * latents, 0 * latents)), (biases, adam_start(biases)), np.int64(0)

    state, owns, total = (start, soap_start(start)), [own(i) for i in range(n)], n * n_visits
    first, (state, owns) = restored(file, (state, owns))
    watch = Watch("share", file, first, total)
    for step in range(first, total):
        i = int(np.random.default_rng(step // n).permutation(n)[step % n])
        if step % grid_fit.STEPS_AT_ONCE == 0:
            state = state[0], turned(state[1])
        target = np.ascontiguousarray(pictures[i])
        state, owns[i], loss = share_step(layout, state, owns[i], target, float(tones[i]), step, step / total)
        watch.tell(step, loss, (state, owns))
    return state[0]


def stray(pictures: ndarray, polynomial: Tree, n_steps: int, file: Path) -> GridPrior:
    """The prior, of fits of each picture from the shared networks."""
    layout = Layout((SIZE, SIZE))
    tones = np.linspace(*TONE_RANGE, len(pictures)) * 0.95
    mean = jax.tree.map(lambda a: jnp.zeros_like(a[0]), polynomial)
    empty = [(mean, jax.tree.map(lambda a: np.float32(0), mean))] * len(pictures)
    results: list[Tree]
    first, results = restored(file, empty)
    watch = Watch("stray", file, first, len(pictures))
    for step in range(first, len(pictures)):
        networks = at_tone(polynomial, jnp.float32(tones[step]))
        results[step], loss = stray_fit(layout, networks, pictures[step], float(tones[step]), n_steps)
        watch.tell(step, loss, results)
    distances = [jax.tree.map(np.abs, change) for change, _ in results]
    spread = jax.tree.map(lambda *d: _spread(np.stack(d)), *distances)
    steps = jax.tree.map(lambda *octaves: np.int64(round(4 * float(np.median(octaves)))), *[o for _, o in results])
    whole = [
        jax.tree.map(
            lambda a, k=k: np.round(np.asarray(a[k], np.float64) * 2**WEIGHT_BITS).astype(np.int64), polynomial
        )
        for k in range(3)
    ]
    return GridPrior((whole[0], whole[1], whole[2]), spread, steps)


def _spread(distances: ndarray) -> ndarray:
    """Eighths of octaves of the mean distance of each parameter, drawn towards that of its array."""
    mean = (distances.sum(0) + 3 * distances.mean()) / (len(distances) + 3)
    spread: ndarray = np.round(8 * (np.log2(np.maximum(mean, 1e-4)) + WEIGHT_BITS)).astype(np.int64)
    return spread


def stray_fit(layout: Layout, networks: Networks, target: ndarray, tone: float, n_steps: int) -> tuple[Tree, float]:
    """One fit: changes of the networks, and the base-2 logarithm of each array's best step (in units of the last bit)
    for a picture of `REFERENCE_PIXELS`.
    """
    weight = grid_prior.NEUTRAL_LAMBDA * 10**tone
    latent_step = grid_prior.NEUTRAL_STEP * 10 ** (tone / 2)
    price = grid_fit.Price(jnp.float32(weight), jnp.float32(latent_step))
    usual = 1 / (0.02 * np.log(2)) * SIZE**2 / REFERENCE_PIXELS  # bits that a change of 1 costs, for a spread of 0.02
    penalty = jax.tree.map(lambda a: jnp.full(a.shape, usual, jnp.float32), networks)
    none = grid_fit.Rounding(False, jax.tree.map(lambda a: jnp.float32(0), networks))
    state = grid_fit.start(networks, jnp.zeros((layout.rows, layout.columns)))
    rates = grid_fit.PEAK_LATENTS, grid_fit.network_peak(n_steps)
    picture = jnp.asarray(target)
    problem = grid_fit.Problem(networks, penalty, picture, price)
    while int(state.step) < n_steps:
        state, _ = grid_fit.run(layout, problem, state, n_steps, none, rates)
    fitted = jax.tree.map(jnp.add, networks, state.change)
    latents = grid_fit.rounded(state) * layout.mask
    rng, step = np.random.default_rng(0), 0.01

    def cost(tree: Tree) -> float:
        costs, _, _ = kernels(layout, COLOURS).cost(flat(tree), latents, picture, latent_step, weight)
        return float(costs[0] / picture.size + weight * costs[1] / SIZE**2)

    least, (leaves, tree) = cost(fitted), jax.tree.flatten(fitted)
    octaves = []
    for i, leaf in enumerate(leaves):
        noise = step * rng.choice([-1.0, 1.0], leaf.shape).astype(np.float32)
        moved = [
            cost(jax.tree.unflatten(tree, [*leaves[:i], leaf + sign * noise, *leaves[i + 1 :]])) for sign in (1, -1)
        ]
        curvature = max((sum(moved) - 2 * least) / step**2 / leaf.size, 1e-9)
        octaves.append(0.5 * np.log2(12 * weight / (REFERENCE_PIXELS * np.log(2) * curvature)) + WEIGHT_BITS)
    changes = jax.tree.map(np.asarray, state.change)
    return (changes, jax.tree.unflatten(tree, [np.float32(o) for o in octaves])), least / weight**LAMBDA_POWER


def guess_step(
    layout: Layout, state: Tree, polynomial: Tree, targets: ndarray, tones: ndarray, step: int, done: float
) -> tuple[Tree, float]:
    """One step of the analysis network with a batch."""
    network, moments = state
    latents = _guessed(layout, network, targets, tones)
    compute, by_latents, losses = kernels(layout, COLOURS), [], []
    for i, (target, tone) in enumerate(zip(targets, tones, strict=True)):
        weight, latent_step = grid_prior.NEUTRAL_LAMBDA * 10**tone, grid_prior.NEUTRAL_STEP * 10 ** (tone / 2)
        smooth, slopes = compute.smooth(
            np.asarray(latents[i]), 1.0, *grid_fit.disturbance(done), step * len(targets) + i
        )
        networks = _networks_of_crop(polynomial, np.zeros(SYNTHESIS_WIDTH + COLOURS, np.float32), tone)
        costs, _, gradient = compute.cost(networks, smooth, target, latent_step, 3 * weight)
        scale = 10 ** (-LAMBDA_POWER * tone) / target.size
        by_latents.append(gradient * slopes * np.float32(scale))
        losses.append(scale * float(costs[0] + 3 * weight * costs[1]))
    state = _guess_descent(layout, network, moments, targets, tones, np.stack(by_latents), step, done)
    return state, float(np.mean(losses))


@functools.partial(jax.jit, static_argnums=0)
def _guessed(layout: Layout, network: Tree, targets: Array, tones: Array) -> Array:
    grids = grid_analysis.analyse(network, jnp.moveaxis(targets, 1, -1), tones)
    return jax.vmap(lambda *g: layout.join(g))(*grids)


@functools.partial(jax.jit, static_argnums=0)
def _guess_descent(
    layout: Layout, network: Tree, moments: Tree, targets: Array, tones: Array, by_latents: Array, step: Array,
    done: Array,
) -> Tree:  # fmt: skip
    _, back = jax.vjp(lambda n: _guessed(layout, n, targets, tones), network)
    move, moments = adam(limited(back(by_latents)[0]), moments, step, DECAYS_GUESS)
    rate = 2e-3 * 0.5 * (1 + jnp.cos(jnp.pi * done)) * jnp.minimum(1.0, (step + 1) / 50)
    return jax.tree.map(lambda p, m: p - rate * m, network, move), moments


def guess(
    sample: Callable[[int], ndarray], polynomial: Tree, network: grid_analysis.Analysis, n_steps: int, file: Path
) -> grid_analysis.Analysis:
    """The analysis network, from the one given; `sample(step)` gives a batch of crops."""
    layout = Layout((SIZE, SIZE))
    first, state = restored(file, (network, adam_start(network)))
    watch = Watch("guess", file, first, n_steps)
    for step in range(first, n_steps):
        targets = sample(step)
        tones = np.linspace(*TONE_RANGE, len(targets)) + np.random.default_rng(step).uniform(-0.2, 0.2, len(targets))
        state, loss = guess_step(layout, state, polynomial, targets, tones.astype(np.float32), step, step / n_steps)
        watch.tell(step, loss, state)
    fitted: grid_analysis.Analysis = state[0]
    return fitted


class Watch:
    """Prints the mean loss and saves the state once a minute, and at the end."""

    def __init__(self, name: str, file: Path, first: int, end: int):
        self._name, self._file, self._first, self._end = name, file, first, end
        self._losses: list[float] = []
        self._begun = self._saved = time.monotonic()

    def tell(self, step: int, loss: float, state: Tree) -> None:
        """After each step."""
        self._losses.append(loss)
        now = time.monotonic()
        if now - self._saved < SAVE_SECONDS and step + 1 < self._end:
            return
        self._saved = now
        left = (now - self._begun) / (step + 1 - self._first) * (self._end - step - 1) / 60
        mean = 1000 * np.mean(self._losses)
        print(f"{self._name}: {step + 1} of {self._end}, {mean:.4f}, {left:.0f} min left", flush=True)
        self._losses.clear()
        save(self._file, step + 1, state)


def save(file: Path, step: int, tree: Tree) -> None:
    """Writes a state, atomically."""
    temporary = file.with_suffix(".tmp.npz")
    np.savez(temporary, *map(np.asarray, jax.tree.leaves(tree)), step=step)
    temporary.replace(file)


def restored(file: Path, tree: Tree) -> tuple[int, Tree]:
    """The step to go on with, and the state that was saved; or the first, and `tree`."""
    if not file.is_file():
        return 0, tree
    with np.load(file, allow_pickle=False) as stored:
        leaves = [stored[f"arr_{i}"] for i in range(len(stored.files) - 1)]
        return int(stored["step"]), jax.tree.unflatten(jax.tree.structure(tree), leaves)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m inrzip.priors.train_grid", description=__doc__)
    parser.add_argument("folder", type=Path, help="photographs")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the states and the two files that come of it"
    )
    parser.add_argument("--prefixes", nargs="+", default=["mei", "drone", "buddha", "hific"], help="of names to use")
    parser.add_argument("--crops", type=int, default=96, help="crops that networks are shared by")
    parser.add_argument("--visits", type=int, default=400, help="steps with each of them")
    parser.add_argument("--afresh", action="store_true", help="begin with nothing, not with the package's prior")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of crops")
    parser.add_argument("--fits", type=int, default=24, help="fits that tell how far parameters stray")
    parser.add_argument("--fit-steps", type=int, default=300)
    parser.add_argument("--guesses", type=int, default=20_000, help="steps of the analysis network")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    prepare()

    def some(count: int, seed: int) -> ndarray:
        return crops(options.folder, options.prefixes, count, seed)

    start, network = beginning(options.afresh)
    layout, analyse = Layout((SIZE, SIZE)), jax.jit(grid_analysis.analyse)

    def first_latents(picture: ndarray, tone: float) -> Array:
        if options.afresh:
            return jnp.zeros((layout.rows, layout.columns))
        grids = analyse(network, jnp.moveaxis(jnp.asarray(picture), 0, -1)[None], jnp.float32(tone)[None])
        return layout.join([grid[0] for grid in grids])

    seed = options.seed
    polynomial = share(some(options.crops, seed + 5), start, first_latents, options.visits, options.out / "share.npz")
    prior = stray(some(options.fits, seed + 11), polynomial, options.fit_steps, options.out / "stray.npz")
    (options.out / "grid_photographs_new.npz").write_bytes(grid_prior.dumps(prior))
    pool = some(16 * options.crops, seed + 23)

    def batch(step: int) -> ndarray:
        return pool[np.random.default_rng(step).choice(len(pool), ANALYSIS_BATCH, replace=False)]

    network = guess(batch, polynomial, network, options.guesses, options.out / "guess.npz")
    (options.out / grid_prior.ANALYSIS).write_bytes(grid_analysis.dumps(network))


def beginning(afresh: bool) -> tuple[Tree, grid_analysis.Analysis]:
    """What training begins with: polynomials and an analysis network, those of the package or random ones."""
    if afresh:
        polynomial = jax.tree.map(lambda a: jnp.stack([a, 0 * a, 0 * a]), random_networks(0))
        return polynomial, grid_analysis.random_analysis(jax.random.key(1))
    means = map(grid_prior.as_floats, grid_prior.load(grid_prior.LATEST).mean)
    return jax.tree.map(lambda *a: jnp.stack(a), *means), grid_analysis.loads(grid_prior.load_analysis())


if __name__ == "__main__":
    main()
