"""`train-prior --recipe coin++` and `vc-inr`: learns a network that latents modulate, and how these are distributed.

COIN++ and VC-INR find a signal's latents by a few steps from 0, and meta-learn the network by differentiating through
these: see `inrzip.meta_training`. Unless that is asked for, each training patch keeps its latents from round to round,
and moves them a step whenever it is seen (an auto-decoder): that takes one evaluation in place of four. The network
sees latents rounded as files have them, each patch with one of several steps, so that one network serves all rates;
latents are pulled to where they cost less. In the end files are made of some patches, and their integers counted.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from inrzip.architectures import modulated_network as network
from inrzip.architectures.modulated_network import Layout, Shared
from inrzip.priors import latent_prior
from inrzip.priors.integer_tables import Family
from inrzip.priors.latent_prior import eighths, identity
from inrzip.priors.modulation_prior import ModulationPrior, dumps, step_size

from .compilation import prepare
from .context_counting import with_contexts
from .descent import Moments, adam, adam_start
from .errors import InrzipError
from .files import atomic_output, check_writable
from .integer_prices import price
from .modulation_fit import IMPATIENCE, STEP_RATE, bits_of, encode_patches, lambda_of, push, rounded
from .prior_training import TrainReport, restored, save, training_patches
from .progress import Progress, ProgressCallback

LAYOUTS = {
    ("coin++", "image"): Layout(False, 2, 3, 32, (600,), 96, (32, 32)),
    ("vc-inr", "image"): Layout(True, 2, 3, 32, (576, 192, 192), 192, (48, 32), 4, 32),
    ("coin++", "audio"): Layout(False, 1, 1, 512, (256,), 96, (32, 32)),
    ("vc-inr", "audio"): Layout(True, 1, 1, 512, (320,), 128, (48, 32), 4, 32),
}
"""The networks that are trained."""
STEPS = (14, 21, 28, 35, 42)
"""Of the levels, as numbers of steps: as many octaves of lambda as `--quality` 25 to 75 takes."""
CLASSES = {"coin++": 1, "vc-inr": 8}
"""COIN++ has one distribution of latents, as in the paper."""
CLASSES_OF_LARGE = {"coin++": 1, "vc-inr": 16}
"""Of parts of large images."""
PEAK = 2e-3
"""Largest learning rate, as a part of what each parameter begins as, or of the root mean square of its array."""
WAVE_RATE, LEAST_SIZE = 0.02, 0.02
WARM_SHARE, DECAYS = 0.05, (0.9, 0.98)
LAMBDA_POWER = 0.8
"""Costs are divided by lambda to this power, so that all levels count alike."""
BATCH = 32
LEAST_PATCHES = 64
SAVE_SECONDS = 60.0
TRAINING = 0.85
"""The part of the job that training is."""
COUNTED_PATCHES, COUNTED_IF_STOPPED, COUNTED_STEPS = 1920, 192, 16
"""Of which files are made, in so many steps of descent, to count what is in them; and of how many in a hurry."""
CLASS_ROUNDS = 4
COMMON_WEIGHT = 12.0
"""The curve of a class counts so many patches that are like all."""
PROBES, PROBE_PATCHES = 8, 32
FAMILIES = (Family.LAPLACE, Family.GAUSS)
LAST_TABLE = 44
COUNTED = 48
"""Latents whose integers are smaller are looked at by how often each value is there."""

Tree = Any


class State(NamedTuple):
    """`latents`, `speeds`: (items, latents). `classes`: of each item. `losses`: of each item, squared error of a sample
    and bits of a patch.
    """

    shared: Shared
    moments: Moments
    latents: Array
    speeds: Array
    classes: Array
    losses: Array


class Way(Protocol):
    """How networks are learned: this module, or `inrzip.meta_training`. States have `shared` and `losses`."""

    def begin(self, layout: Layout, shared: Shared, latents: ndarray, classes: ndarray) -> Any: ...
    def one_round(
        self, layout: Layout, state: Any, targets: ndarray, levels: ndarray, sizes: Shared, at: int, rounds: int,
        seed: int,
    ) -> Any: ...  # fmt: skip
    def outcome(self, layout: Layout, state: Any, targets: ndarray) -> tuple[ndarray, ndarray]: ...


def train(
    folder: Path,
    output: Path | str,
    kind: str,
    recipe: str,
    *,
    large: bool = False,
    meta: bool = False,
    patches: int,
    rounds: int,
    seed: int = 0,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainReport:
    """As `inrzip.train_prior`, for recipes of modulations. Raises InrzipError."""
    from . import meta_training  # it needs this module

    way: Way = meta_training if meta else sys.modules[__name__]
    path, begun = latent_prior.place(str(output)), time.monotonic()
    if (recipe, kind) not in LAYOUTS:
        raise InrzipError(f"no priors of {recipe} are trained for {kind}")
    if patches < LEAST_PATCHES or rounds < 1:
        raise InrzipError(f"a prior takes {LEAST_PATCHES} patches and a round, at least")
    path.parent.mkdir(parents=True, exist_ok=True)
    check_writable(path, overwrite)
    prepare()
    layout = LAYOUTS[recipe, kind]
    tell = progress or (lambda report: None)
    tell(Progress("reading", 0.0))
    if large and kind != "image":
        raise InrzipError(f"no priors of {recipe} are trained for large {kind}")
    targets = training_patches(folder, kind, layout, patches, seed, parts=large)
    part, named = path.with_name(path.name + ".part"), repr((recipe, kind, large, meta))
    job = seed, rounds, zlib.crc32(named.encode())
    first_shared, latents = network.start(layout, targets, seed)
    classes = sorted_by_activity(latents, (CLASSES_OF_LARGE if large else CLASSES)[recipe])
    state, first = restored(part, way.begin(layout, first_shared, latents, classes), job)
    sizes, levels = sizes_of(first_shared), np.arange(len(targets)) % len(STEPS)
    at, saved, n_counted = first, time.monotonic(), COUNTED_PATCHES
    while at < rounds:
        began = time.monotonic()
        state = way.one_round(layout, state, targets, levels, sizes, at, rounds, seed)
        at += 1
        seconds = (rounds - at) * (time.monotonic() - began)
        tell(Progress("training", TRAINING * at / rounds, seconds, _summary(state, levels)))
        if stop is not None and stop():
            n_counted = COUNTED_IF_STOPPED
            break
        if time.monotonic() - saved >= SAVE_SECONDS:
            save(part, state, at, job)
            saved = time.monotonic()
    latents, classes = way.outcome(layout, state, targets)
    prior = finished(layout, kind, state.shared, latents, classes)
    prior = recounted(
        prior, targets[:n_counted], lambda done: tell(Progress("counting", TRAINING + (1 - TRAINING) * done)), stop
    )
    data = dumps(prior)
    with atomic_output(path, overwrite) as temporary:
        temporary.write_bytes(data)
    part.unlink(missing_ok=True)
    errors, bits = _by_level(state, levels)
    points = targets.shape[1]
    return TrainReport(
        path, len(data), f"{identity(data):07x}", len(targets), at, time.monotonic() - begun,
        tuple(float(b) / points for b in bits), tuple(-10 * math.log10(max(e, 1e-12)) for e in errors),
        (), first > 0,
    )  # fmt: skip


# ---- training ----


def sizes_of(shared: Shared) -> Shared:
    """What the learning rate of each parameter is a part of."""

    def size(array: ndarray) -> ndarray:
        return np.full(array.shape, max(float(np.sqrt(np.mean(array**2))), LEAST_SIZE), np.float32)

    def own(array: ndarray) -> ndarray:
        return np.asarray(np.abs(array) + 0.1 * np.sqrt(np.mean(array**2)), np.float32)

    found: Shared = jax.tree.map(size, shared)
    return found._replace(
        waves=np.full(shared.waves.shape, WAVE_RATE, np.float32),
        phases=np.full(shared.phases.shape, WAVE_RATE, np.float32),
        moves=own(shared.moves),
        out=own(shared.out),
        straight=tuple(map(own, shared.straight)),
    )


def learning_rate(at: int, rounds: int) -> float:
    """Of a round: rises at first, then falls as a cosine."""
    done = at / rounds
    return PEAK * max(min(0.5 * (1 + math.cos(math.pi * done)), (done + 1 / rounds) / WARM_SHARE), 0.02)


def begin(
    layout: Layout, shared: Shared, latents: Float[ndarray, "items latents"], classes: Int[ndarray, " items"]
) -> State:
    """Where training begins."""
    every = jax.tree.map(jnp.asarray, shared)
    return State(
        every, adam_start(every), jnp.asarray(latents), jnp.zeros_like(latents), jnp.asarray(classes),
        jnp.ones((len(latents), 2)),
    )  # fmt: skip


def outcome(
    layout: Layout, state: State, targets: ndarray
) -> tuple[Float[ndarray, "items latents"], Int[ndarray, " items"]]:
    """The latents of items, and their classes."""
    return np.asarray(state.latents), np.asarray(state.classes)


def one_round(
    layout: Layout, state: State, targets: ndarray, levels: ndarray, sizes: Shared, at: int, rounds: int, seed: int
) -> State:
    """Every item once, in batches of random order; and then each gets the class that it costs least with."""
    classes = np.asarray(state.classes)
    order = np.random.default_rng((seed, at)).permutation(len(targets))
    rate = learning_rate(at, rounds)
    spreads, size = spreads_of(np.asarray(state.latents), classes), min(BATCH, len(targets))
    deltas = np.array([step_size(step) for step in STEPS], np.float32)
    for i in range(len(targets) // size):
        index = np.sort(order[i * size : (i + 1) * size])
        state = _step(
            layout, state, index, targets[index], deltas[levels[index]], spreads[classes[index]], sizes,
            jnp.asarray([rate, at * (len(targets) // size) + i], jnp.float32),
        )  # fmt: skip
    return state._replace(classes=jnp.asarray(sorted_by_cost(np.asarray(state.latents), classes)))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _step(
    layout: Layout, state: State, index: Array, targets: Array, deltas: Array, spreads: Array, sizes: Shared,
    rates: Array,
) -> State:  # fmt: skip
    latents, delta = state.latents[index], deltas[:, None]
    weights = lambda_of(deltas)

    def cost(shared: Shared, own: Array) -> tuple[Array, Array]:
        used = own + jax.lax.stop_gradient(rounded(own, delta, jnp) - own)
        squares = jnp.sum((network.evaluate(layout, shared, used, jnp) - targets) ** 2, (1, 2))
        return jnp.sum(squares / weights**LAMBDA_POWER), squares

    (_, squares), (by_shared, by_own) = jax.value_and_grad(cost, (0, 1), has_aux=True)(state.shared, latents)
    move, moments = adam(by_shared, state.moments, rates[1], DECAYS)
    shared = jax.tree.map(lambda p, m, size: p - rates[0] * size * m, state.shared, move, sizes)
    slope = by_own * (weights**LAMBDA_POWER)[:, None] / 2 + latents - rounded(latents, delta, jnp)
    slope = slope + push(latents, delta, spreads)
    speed = IMPATIENCE * state.speeds[index] - STEP_RATE * slope
    bits = bits_of(latents, delta, spreads).sum(1)
    losses = jnp.stack([squares / targets[0].size, bits], 1)
    return State(
        shared, moments, state.latents.at[index].add(speed), state.speeds.at[index].set(speed), state.classes,
        state.losses.at[index].set(losses),
    )  # fmt: skip


# ---- classes of patches ----


def sorted_by_activity(latents: Float[ndarray, "items latents"], n_classes: int) -> Int[ndarray, " items"]:
    """As many items in each class, the calm first."""
    activity = np.log(np.square(latents[:, latents.shape[1] // 16 :]).sum(1) + 1e-8)
    return np.argsort(np.argsort(activity)) * n_classes // len(latents)


def spreads_of(
    latents: Float[ndarray, "items latents"], classes: Int[ndarray, " items"]
) -> Float[ndarray, "k latents"]:
    """Mean absolute values of latents in each class."""
    every = np.abs(latents)
    common = every.mean(0)
    rows = []
    for i in range(int(classes.max(initial=0)) + 1):
        mine = every[classes == i]
        rows.append((mine.sum(0) + COMMON_WEIGHT * common) / (len(mine) + COMMON_WEIGHT))
    return np.asarray(np.maximum(np.stack(rows), 1e-4), np.float32)


def sorted_by_cost(latents: Float[ndarray, "items latents"], classes: Int[ndarray, " items"]) -> Int[ndarray, " items"]:
    """Each item in the class that it would cost least in."""
    if classes.max(initial=0) == 0:
        return classes
    delta = np.float32(step_size(STEPS[len(STEPS) // 2]))
    spreads = spreads_of(latents, classes)
    costs = np.stack([np.asarray(bits_of(latents, delta, own)).sum(1) for own in spreads])
    found = np.argmin(costs, 0)
    return found if len(np.unique(found)) == len(spreads) else classes


# ---- the prior ----


def finished(
    layout: Layout, kind: str, shared: Shared, latents: Float[ndarray, "items latents"], classes: Int[ndarray, " items"]
) -> ModulationPrior:
    """The prior, rounded as files hold it."""
    shared = jax.tree.map(lambda a: np.asarray(a).astype(np.float16).astype(np.float32), shared)
    for _ in range(CLASS_ROUNDS):
        classes = sorted_by_cost(latents, classes)
    n_classes = int(classes.max(initial=0)) + 1
    coded = []
    for step in STEPS:
        delta = np.float32(step_size(step))
        coded.append((np.rint(rounded(latents, delta, np) / delta).astype(np.int64), classes))
    scales, families, shares = counted(coded, n_classes)
    stiffness = eighths(curvature(layout, shared, latents[:PROBE_PATCHES]))
    return ModulationPrior(layout, shared, kind, np.array(STEPS), scales, families, shares, stiffness.astype(np.int64))


def recounted(
    prior: ModulationPrior,
    targets: Float[ndarray, "items points channels"],
    tell: Callable[[float], None],
    stop: Callable[[], bool] | None = None,
) -> ModulationPrior:
    """The prior with what the integers of patches are like that are coded with it, at each level, and of VC-INR
    what they say of others. `tell`: is told how much is done. `stop`: once true, what is left is hurried.
    """
    coded, inside = [], np.ones(targets.shape[:2], np.float32)
    for i, step in enumerate(STEPS):

        def watch(done: float, _: str, i: int = i) -> bool:
            tell((i + done) / len(STEPS))
            return stop is not None and stop()

        patches = encode_patches(prior, targets, inside, step, COUNTED_STEPS, watch)
        coded.append((np.stack([each.integers for each in patches]), np.array([each.group for each in patches])))
    scales, families, shares = counted(coded, prior.n_classes)
    found = dataclasses.replace(prior, scales=scales, families=families, shares=shares)
    return with_contexts(found, coded) if prior.layout.gated else found  # COIN++ has none in the paper


def counted(
    coded: Sequence[tuple[Int[ndarray, "items latents"], Int[ndarray, " items"]]], n_classes: int
) -> tuple[Int[ndarray, "levels classes latents"], Int[ndarray, "classes latents"], Int[ndarray, " classes"]]:
    """The scales, families and shares of a prior, of the integers and classes of patches at each level."""
    found = [best_tables(integers, classes, n_classes) for integers, classes in coded]
    tables, prices = (np.stack(each) for each in zip(*found, strict=True))  # levels, families, classes, latents
    families = np.argmin(prices.sum(0), 0)
    scales = 2 * np.take_along_axis(tables, families[None, None], 1)[:, 0]
    return scales, families, np.bincount(np.concatenate([own for _, own in coded]), minlength=n_classes) + 1


def best_tables(
    integers: Int[ndarray, "items latents"], classes: Int[ndarray, " items"], n_classes: int
) -> tuple[Int[ndarray, "2 classes latents"], Float[ndarray, "2 classes latents"]]:
    """For each family, the table that the integers of each class and latent are cheapest with, and what they take, in
    bits.
    """
    magnitudes, n = np.abs(integers), integers.shape[1]
    shape = (len(FAMILIES), n_classes, n)
    tables, prices = np.zeros(shape, np.int64), np.full(shape, np.inf)
    wide = np.flatnonzero(magnitudes.max(0) >= COUNTED)
    counts = np.stack([_histograms(magnitudes[classes == i]) for i in range(n_classes)])
    counts += COMMON_WEIGHT / len(integers) * counts.sum(0)
    for place, family in enumerate(FAMILIES):
        for table in range(LAST_TABLE + 1):
            found = counts @ price(family, table, np.arange(COUNTED))
            each = price(family, table, integers[:, wide])
            for i in range(n_classes):
                found[i, wide] = each[classes == i].sum(0) + COMMON_WEIGHT * each.mean(0)
            better = found < prices[place]
            tables[place][better], prices[place][better] = table, found[better]
    return tables, prices


def _histograms(magnitudes: Int[ndarray, "items latents"]) -> Float[ndarray, "latents counted"]:
    n = magnitudes.shape[1]
    places = np.arange(n) * COUNTED + np.minimum(magnitudes, COUNTED - 1)
    return np.bincount(places.ravel(), minlength=n * COUNTED).reshape(n, COUNTED).astype(np.float64)


def curvature(layout: Layout, shared: Shared, latents: Float[ndarray, "items latents"]) -> Float[ndarray, " latents"]:
    """The mean squared change of a patch's samples by a change of each latent."""
    rng = np.random.default_rng(0)

    @jax.jit
    def probe(shared: Shared, own: Array, signs: Array) -> Array:
        _, back = jax.vjp(lambda z: network.evaluate(layout, shared, z, jnp), own)
        return jnp.square(back(signs)[0]).mean(0)

    total = np.zeros(layout.n_latents)
    count = len(latents) * layout.side**layout.axes * layout.channels
    for _ in range(PROBES):
        signs = rng.choice([-1.0, 1.0], count).astype(np.float32)
        total += np.asarray(probe(shared, jnp.asarray(latents), signs.reshape(len(latents), -1, layout.channels)))
    return total / PROBES + 1e-6


def _by_level(state: Any, levels: Int[ndarray, " items"]) -> tuple[ndarray, ndarray]:
    losses = np.asarray(state.losses)
    means = np.array([losses[levels == i].mean(0) for i in range(len(STEPS))])
    return means[::-1, 0], means[::-1, 1]


def _summary(state: Any, levels: Int[ndarray, " items"]) -> str:
    errors, bits = _by_level(state, levels)
    return ", ".join(f"{b:.0f} bits {-10 * math.log10(e):.1f} dB" for e, b in zip(errors, bits, strict=True))
