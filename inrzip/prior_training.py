"""`train-prior`: learns a prior of latents and the network they go into from a folder of signals.

As in COMBINER and RECOMBINER, in turns: the posteriors of all training signals are fitted together with what signals
share (variational EM; one sample of the latents a step), and after each round the prior's spreads become those that
the posteriors have. Unlike there, each signal has one of several lambdas, so that one prior serves all rates: they
share the network, and each has spreads and blocks of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy import ndarray

from inrzip.architectures import combiner_network as combiner
from inrzip.architectures.combiner import SIDE_OF_CUBES
from inrzip.architectures.combiner_network import Layout, Shared
from inrzip.architectures.network_weights import AnyLayout, AnyShared, WeightLayout
from inrzip.codecs.relative_entropy import FARTHEST, SCALES_PER_OCTAVE, scale_values
from inrzip.priors import latent_prior
from inrzip.priors.field_prior import FieldPrior
from inrzip.priors.latent_prior import LatentPrior, dumps, eighths, identity

from . import media
from .compilation import prepare
from .descent import Moments, adam, adam_start
from .errors import InrzipError
from .files import atomic_output, check_writable
from .posterior_steps import divergence, faster
from .progress import Progress, ProgressCallback
from .signal import Kind, Signal, Spec
from .training_clips import clip

LAYOUTS = {
    "image": Layout(2, 3, 32, 2, (12, 9, 9), (24, 20, 12), 4, 16, (32, 32, 16)),
    "audio": Layout(1, 1, 512, 128, (128,), (1,), 4, 8, (8, 8)),
    "protein": Layout(1, 3, 64, 16, (48,), (8,), 4, 16, (16, 16, 8)),
    "video": Layout(3, 3, SIDE_OF_CUBES, 2, (24, 21, 21, 21), (24, 20, 14, 8), 4, 16, (32, 32, 16)),
    "volume": Layout(3, 1, SIDE_OF_CUBES, 2, (8, 7, 7, 7), (8, 8, 8, 6), 4, 16, (32, 32, 16)),
}
"""The networks of shipped priors. Of sound and proteins it is a transform that laps over to neighbours, above all."""
GAINS = {"image": 1.0, "audio": 8.0, "protein": 90.0, "video": 0.5, "volume": 1.0}
"""Signals are so much larger, around the middle of their range, while they are learned from: then the lambdas below
suit all kinds (videos take fewer bits a pixel). The prior is for signals as they are: the last layer, which needs a map
where it is not 1, is made smaller.
"""
LAMBDAS = tuple(1.6e-2 * 10 ** (-i / 2) for i in range(5))
CLASSES = {1: 12, 2: 3, 3: 6}
"""By axes. Signals are sorted by what happens in them: each class of each lambda is a level."""
SORTINGS, LEAST_VARIANCE = 6, 1e-9
BITS = 16
BLOCK_BITS = 15.6
"""What the latents of a block take in usual signals, together."""
LEAST_BITS = 0.06
"""Latents that take less in usual signals of a level are not coded at it."""
MOST_MEMBERS = 96
FINEST_THUMBNAIL = 3
"""How much larger than thumbnails pictures are that thumbnails are cut out of: parts of large ones are calmer."""
COARSEST_PART = 3
"""Pixels along an axis that parts of large images are made smaller by, at most."""
MOST_FRAMES = 32
"""That are learned from, of a video."""
NEIGHBOURS = {1: 0.8, 2: 0.5, 3: 0.35}
"""How much of a frequency's spread its neighbours have at least, by how far they are."""
OTHERS_FACTOR = 1.4
"""With one stage, how much wider than is best for training signals: others stray further, and a block that cannot reach
its latents costs more than all others. By trial, on eight patches of speech.
"""
FIRST_MEAN, FIRST_DEVIATION = 0.1, 0.9
"""Of the latents that weights of the coordinate network are made of."""
FIRST_OF_WEIGHT = 0.02
"""Both, where latents are weights themselves."""
PEAK_SHARED, PEAK_DEVIATION = 5e-3, 2e-2
"""Largest learning rates: of shared arrays as a part of their root mean square, of logarithms of deviations."""
LEAST_SIZE = 0.01
WARM_SHARE = 0.05
DECAYS = (0.9, 0.99)
LAMBDA_POWER = 0.8
"""Costs are divided by lambda to this power, so that all levels count alike."""
BATCH = 32
MODULATED_RECIPES = ("vc-inr", "coin++")
SAVE_SECONDS = 120.0
LEAST_SPREAD = 2.0**-8
STATISTICS_SHARE = 0.05
"""Rounds at the end in which the network no longer changes."""

Tree = Any
StateT = TypeVar("StateT", bound="Any")


@dataclasses.dataclass(frozen=True)
class TrainReport:
    """What `train_prior` did. `bits` and `db`: of usual training signals at each level, by the model's estimate."""

    path: Path
    bytes: int
    name: str
    patches: int
    rounds: int
    seconds: float
    bits_per_point: tuple[float, ...]
    psnr_db: tuple[float, ...]
    blocks: tuple[int, ...]
    resumed: bool

    def to_json(self) -> dict[str, object]:
        """All fields as plain values."""
        return dataclasses.asdict(self) | {"path": str(self.path)}


class Pieces(Protocol):
    """What patches are cut for."""

    @property
    def axes(self) -> int: ...
    @property
    def side(self) -> int: ...
    @property
    def channels(self) -> int: ...


class State(NamedTuple):
    """`spreads`: the prior's, (levels, latents). `posterior`: means and logarithms of deviations, (items, latents)."""

    shared: AnyShared
    moments: Moments
    spreads: Array
    posterior: tuple[Array, Array]
    speeds: Array  # of the means
    moments_own: Moments  # of the logarithms of deviations
    losses: Array  # of each item: squared error and bits per sample point, as last seen


def train_prior(
    folder: Path | str,
    output: Path | str,
    kind: str = "image",
    *,
    recipe: str = "combiner",
    large: bool = False,
    meta: bool = False,
    start: str | None = None,
    patches: int = 2000,
    rounds: int = 300,
    seed: int = 0,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainReport:
    """Learns a prior from the media files in `folder` and its folders, and writes it to `output`: a file `*.inrprior`,
    or a name among the user's priors.

    `kind`: "image", "audio", "protein", "video" or "volume". `recipe`: whose prior it is to be, "combiner", or of
    images and sound "vc-inr" or "coin++"; or a recipe of networks of positions, such as "siren", whose weights
    `combiner` then codes signals as. `large`: for large images; of "combiner", `train_field_prior` learns these.
    `meta`: meta-learns the network of "vc-inr" or "coin++", through three steps of descent; else patches keep their
    latents. `start`: a prior of `combiner` to go on from, by name or file; "package": the one that comes with inrzip.
    `patches`: pieces of signals that are learned from, drawn at random places
    and, of images and videos, scales; of proteins, turned at random. Of pictures among videos it is learned what a
    camera sees that moves over them. `rounds`: how often each is seen. `stop`: is asked after each round; once true,
    training ends as if it had come to its end. A run that was killed leaves a `.part` file, from which the same call
    goes on. Raises InrzipError.
    """
    if start is not None and recipe != "combiner":
        raise InrzipError(f"priors of {recipe} do not begin with another")
    if recipe in MODULATED_RECIPES:
        from . import modulation_training

        return modulation_training.train(
            Path(folder), output, kind, recipe, large=large, meta=meta, patches=patches, rounds=rounds, seed=seed,
            overwrite=overwrite, progress=progress, stop=stop,
        )  # fmt: skip
    if meta:
        raise InrzipError(f"priors of {recipe} are not meta-learned; those of {' and '.join(MODULATED_RECIPES)} are")
    if large:
        raise InrzipError(f"priors of {recipe} for large signals are not trained so")
    if recipe == "combiner":
        way = Way(recipe, LAYOUTS, GAINS, 1, len(LAMBDAS), classes_of, levels_of, begin, one_round, finished)
    else:
        from . import weight_training

        way = weight_training.way_of(recipe, kind)
    return train(way, folder, output, kind, patches, rounds, seed, overwrite, progress, stop, start)


@dataclasses.dataclass(frozen=True)
class Way:
    """How priors of one form are learned: its name, the networks by kind and by how much signals are made larger,
    patches along an axis of what is learned from, lambdas and classes of each, and the functions of this module.
    """

    name: str
    layouts: Mapping[str, Any]
    gains: Mapping[str, float]
    crop: int
    lambdas: int
    classes: Callable[[Any], int]
    levels_of: Callable[..., Int[ndarray, " items"]]
    begin: Callable[..., Any]
    one_round: Callable[..., Any]
    finished: Callable[..., LatentPrior | FieldPrior]


def train(
    way: Way, folder: Path | str, output: Path | str, kind: str, patches: int, rounds: int, seed: int,
    overwrite: bool, progress: ProgressCallback | None, stop: Callable[[], bool] | None, start: str | None = None,
) -> TrainReport:  # fmt: skip
    """Learns a prior of one form: see `train_prior`."""
    from . import warm_start  # it needs this module

    path, begun = latent_prior.place(str(output)), time.monotonic()
    if kind not in way.layouts:
        raise InrzipError(f"no priors are trained for {kind}; there are {', '.join(way.layouts)}")
    layout = way.layouts[kind]
    items, least = patches // way.crop**layout.axes, 2 * way.lambdas * way.classes(layout)
    if items < least or rounds < 1:
        raise InrzipError(f"a prior takes {least * way.crop**layout.axes} patches and a round, at least")
    path.parent.mkdir(parents=True, exist_ok=True)
    check_writable(path, overwrite)
    prepare()
    known = None if start is None else warm_start.prior_named(start, layout, kind)
    tell = progress or (lambda report: None)
    tell(Progress("reading", 0.0))
    wide = dataclasses.replace(layout, side=layout.side * way.crop)
    targets = training_patches(Path(folder), kind, wide, items, seed)
    targets = combiner.MIDDLE + np.float32(way.gains.get(kind, 1.0)) * (targets - combiner.MIDDLE)
    part = path.with_name(path.name + ".part")
    levels = way.levels_of(layout, targets)
    job = seed, rounds, zlib.crc32(repr((way.name, kind, layout, None if known is None else known.name)).encode())
    one_round = way.one_round
    if known is None:
        before, begin_state = 0, way.begin(layout, targets, levels, seed)
    else:  # it has the first half behind it
        before, begin_state = rounds, warm_start.begin_with(known.prior, layout, targets, levels)
        one_round = functools.partial(way.one_round, first=before)
    state, first = restored(part, begin_state, job)
    at, saved = first, time.monotonic()
    while at < rounds:
        begin_of_round = time.monotonic()
        state = one_round(layout, state, targets, levels, before + at, before + rounds, seed)
        at += 1
        seconds = (rounds - at) * (time.monotonic() - begin_of_round)
        tell(Progress("training", at / rounds, seconds, _summary(way, layout, state, levels)))
        if stop is not None and stop():
            break
        if time.monotonic() - saved >= SAVE_SECONDS:
            save(part, state, at, job)
            saved = time.monotonic()
    prior = way.finished(layout, kind, state, levels)
    data = dumps(prior)
    with atomic_output(path, overwrite) as temporary:
        temporary.write_bytes(data)
    part.unlink(missing_ok=True)
    errors, bits = _by_lambda(way, layout, state, levels)
    return TrainReport(
        path, len(data), f"{identity(data):07x}", items * way.crop**layout.axes, at, time.monotonic() - begun,
        tuple(map(float, bits)), tuple(-10 * math.log10(max(e, 1e-12)) for e in errors),
        tuple(map(len, prior.sizes)) if isinstance(prior, LatentPrior) else (), first > 0,
    )  # fmt: skip


# ---- what is learned from ----


def training_patches(
    folder: Path, kind: str, layout: Pieces, count: int, seed: int, parts: bool = False
) -> Float[ndarray, "count points channels"]:
    """Random patches of the signals in a folder, from 0 to 1. `parts`: as parts of large images are, not as small ones.
    Raises InrzipError if there are none.
    """
    if not folder.is_dir():
        raise InrzipError(f"{folder}: is no folder")
    rng = np.random.default_rng(seed)
    wanted = Kind[kind.upper()]
    signals = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            signal = media.read_signal(path, kind=wanted)
            sides = signal.spec.shape[1:] if _is_still(signal.spec) else signal.spec.shape
            if len(signal.spec.shape) == layout.axes and min(sides) >= layout.side:
                signals.append(_normalised(signal, layout))
        except InrzipError:
            continue
    if not signals:
        raise InrzipError(
            f"{folder}: holds no {kind} of {layout.axes} axes and {layout.side} samples or more along each"
        )
    cut = part_of_image if parts else CUTS[kind]
    return np.stack([cut(signals[i % len(signals)], layout.side, rng) for i in range(count)])


def _is_still(spec: Spec) -> bool:
    return spec.kind == Kind.VIDEO and spec.shape[0] == 1


def _normalised(signal: Signal, layout: Pieces) -> Float[ndarray, "*grid channels"]:
    """The samples of a signal; of a long video, frames from its middle."""
    whole, *others = signal.spec.shape
    n = min(whole, MOST_FRAMES) if signal.spec.kind == Kind.VIDEO else whole
    first = (whole - n) // 2
    spec = dataclasses.replace(signal.spec, shape=(n, *others))
    real = np.float16 if spec.kind == Kind.VIDEO else np.float32  # a film takes much memory
    samples = spec.normalise(signal.read(first, first + n)).reshape(*spec.shape, spec.channels).astype(real)
    if layout.channels == spec.channels:
        return samples
    if layout.channels == 1:
        return np.asarray(samples.mean(-1, keepdims=True))
    return np.ascontiguousarray(
        np.repeat(samples[..., :1], layout.channels, -1) if spec.channels < 3 else samples[..., :3]
    )


def _image_patch(picture: Float[ndarray, "h w c"], side: int, rng: np.random.Generator) -> Float[ndarray, "p c"]:
    """A square of a random scale near that at which all of the picture would be a thumbnail."""
    largest = min(picture.shape[:2]) // side
    return _scaled(picture, side, max(min(2, largest), largest // FINEST_THUMBNAIL), largest, rng)


def part_of_image(picture: Float[ndarray, "h w c"], side: int, rng: np.random.Generator) -> Float[ndarray, "p c"]:
    """The same at a scale near that of the picture itself."""
    return _scaled(picture, side, 1, min(min(picture.shape[:2]) // side, COARSEST_PART), rng)


def _scaled(
    picture: Float[ndarray, "h w c"], side: int, least: int, largest: int, rng: np.random.Generator
) -> Float[ndarray, "p c"]:
    factor = int(np.exp(rng.uniform(np.log(least), np.log(largest + 0.999))))
    top, left = (int(rng.integers(n - side * factor + 1)) for n in picture.shape[:2])
    square = picture[top : top + side * factor, left : left + side * factor]
    small = square.reshape(side, factor, side, factor, -1).mean((1, 3))
    small = small[:, ::-1] if rng.integers(2) else small
    return np.ascontiguousarray(small, np.float32).reshape(side * side, -1)


def _piece(sound: Float[ndarray, "n c"], side: int, rng: np.random.Generator) -> Float[ndarray, "side c"]:
    first = int(rng.integers(len(sound) - side + 1))
    return np.ascontiguousarray(sound[first : first + side], np.float32)


def _block(volume: Float[ndarray, "d h w c"], side: int, rng: np.random.Generator) -> Float[ndarray, "p c"]:
    """A cube, its axes in a random order and direction."""
    at = [int(rng.integers(n - side + 1)) for n in volume.shape[:3]]
    cube = volume[tuple(slice(first, first + side) for first in at)].transpose(*rng.permutation(3), 3)
    cube = np.flip(cube, tuple(axis for axis in range(3) if rng.integers(2)))
    return np.ascontiguousarray(cube, np.float32).reshape(side**3, -1)


def _strand(chain: Float[ndarray, "n 3"], side: int, rng: np.random.Generator) -> Float[ndarray, "side 3"]:
    """Some residues, the whole protein turned at random about the middle, in one order or the other."""
    turn, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    turn = turn * np.sign(np.diag(upper))
    turn[:, 0] *= np.sign(np.linalg.det(turn))  # no mirror
    piece = (_piece(chain, side, rng) - combiner.MIDDLE) @ turn + combiner.MIDDLE
    return np.ascontiguousarray(piece[::-1] if rng.integers(2) else piece, np.float32)


CUTS: Mapping[str, Callable[[Any, int, np.random.Generator], ndarray]] = {
    "image": _image_patch, "audio": _piece, "protein": _strand, "video": clip, "volume": _block,
}  # fmt: skip


# ---- training ----


def classes_of(layout: AnyLayout) -> int:
    """Classes that signals are sorted into, for each lambda."""
    return CLASSES[layout.axes]


def weights_of(layout: AnyLayout) -> Float[ndarray, " levels"]:
    """Lambda of each level."""
    return np.repeat(np.array(LAMBDAS), classes_of(layout)) / layout.gain**2


def levels_of(layout: Layout, targets: Float[ndarray, "count points channels"]) -> Int[ndarray, " count"]:
    """The level of each item: lambdas by turns, and as many of each class, the calm first. Except of images, items then
    move to the class that they cost least in (Lloyd's iterations).
    """
    parts, classes = combiner.analyse(layout, targets), classes_of(layout)
    activity = np.log(np.mean(np.square(parts[-1]), (1, 2)) + 1e-8)
    quality = np.arange(len(targets)) % len(LAMBDAS)
    levels = np.zeros(len(targets), np.int64)
    for i, weight in enumerate(LAMBDAS):
        mine = np.flatnonzero(quality == i)
        rank = np.argsort(np.argsort(activity[mine]))
        own = rank * classes // len(mine)
        if layout.axes != 2:
            for _ in range(SORTINGS):
                own = _cheapest(layout, [part[mine] for part in parts], own, classes, weight)
        levels[mine] = i * classes + own
    return levels


def _cheapest(layout: Layout, parts: list[ndarray], own: ndarray, classes: int, weight: float) -> ndarray:
    """The class of each item under which it would cost least, the classes being as wide as their items are now.
    `parts`: see `combiner.analyse`.
    """
    costs = np.zeros((classes, len(own)))
    for stage, part in enumerate(parts):
        _, energy = combiner.details(layout, stage)
        noise = weight * layout.channels / (2 * math.log(2) * energy)
        for each in range(classes):
            members = part[own == each] if (own == each).any() else part
            variance = np.mean(np.square(members), (0, 1)) + LEAST_VARIANCE
            shrink = variance / (variance + noise)
            variance = np.mean(np.square(members * shrink), (0, 1)) + noise * shrink + LEAST_VARIANCE
            shrink = variance / (variance + noise)
            square = np.square(part)
            nats = (
                square * shrink**2 / variance + shrink * noise / variance - 1 - np.log(shrink * noise / variance)
            ) / 2
            costs[each] += ((square * (1 - shrink) ** 2 + noise * shrink) / (2 * noise) + nats).sum((1, 2))
    return np.asarray(np.argmin(costs, 0))


def begin(
    layout: Layout, targets: Float[ndarray, "count points channels"], levels: Int[ndarray, " count"], seed: int
) -> State:
    """Where training begins: posteriors as they are best for the network that it begins with, which is linear."""
    items = len(targets)
    shared, of_grids, narrows = scaled_start(layout, 1, targets, weights_of(layout)[levels], seed)
    means, deviations = ([part.reshape(items, -1) for part in parts] for parts in (of_grids, narrows))
    counts = layout.latent_counts()[len(means) :]
    plain = np.repeat([0.0 if rank else 1.0 for rank in layout.ranks], counts)
    draw = np.random.default_rng(seed).normal(0, 1, (items, len(plain)))
    means.append(draw * np.where(plain, FIRST_OF_WEIGHT, FIRST_MEAN))
    deviations.append(np.log(np.where(plain, FIRST_OF_WEIGHT, FIRST_DEVIATION)) + 0 * draw)
    joined = tuple(jnp.asarray(np.concatenate(parts, 1), jnp.float32) for parts in (means, deviations))
    shared = jax.tree.map(jnp.asarray, shared)
    spreads = jnp.ones((len(weights_of(layout)), layout.n_latents))
    state = State(
        shared, adam_start(shared), spreads, (joined[0], joined[1]), jnp.zeros_like(joined[0]), adam_start(joined[1]),
        jnp.ones((items, 2)),
    )  # fmt: skip
    return with_spreads(layout, state, levels)


def scaled_start(
    layout: Layout, crop: int, targets: Float[ndarray, "count points channels"], weights: Float[ndarray, " count"],
    seed: int,
) -> tuple[Shared, list[ndarray], list[ndarray]]:  # fmt: skip
    """The network that training begins with, whose latents are spread as widely as 1; and what is best for it: means
    and logarithms of deviations of each grid, (items, cells, channels). `crop`: patches along an axis of an item, as
    one grid.
    """
    shared = combiner.start(layout, seed)
    kernels, means, deviations = [kernel.copy() for kernel in shared.kernels], [], []
    price = weights[:, None, None] * layout.channels / math.log(2)
    wide = dataclasses.replace(layout, side=layout.side * crop)
    for stage, own in enumerate(combiner.analyse(wide, targets)):
        spread = np.sqrt(np.mean(np.square(own), (0, 1))) + 1e-4
        kernel = kernels[stage].reshape(combiner.TAPS**layout.axes, -1, kernels[stage].shape[-1])
        kernel[:, -len(spread) :] *= spread[:, None]
        _, energy = combiner.details(layout, stage)
        narrow = np.broadcast_to(1 / np.sqrt(1 + 2 * energy * spread**2 / price), own.shape)
        means.append(own / spread * (1 - narrow**2))
        deviations.append(np.log(narrow))
    return shared._replace(kernels=tuple(kernels)), means, deviations


def rates_at(at: int, rounds: int) -> Float[ndarray, " 2"]:
    """Learning rates of a round: of shared arrays, and of logarithms of deviations."""
    done = at / rounds
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done / (1 - STATISTICS_SHARE))))
    rates = np.array([PEAK_SHARED, PEAK_DEVIATION], np.float32) * max(
        min(cosine, (done + 1 / rounds) / WARM_SHARE), 0.02
    )
    if done >= 1 - STATISTICS_SHARE:
        rates[0] = 0.0
    return rates


def one_round(
    layout: AnyLayout, state: State, targets: ndarray, levels: ndarray, at: int, rounds: int, seed: int, first: int = 0
) -> State:
    """Every item once, in batches of random order, and then the spreads. `first`: the round that the run began with,
    from which steps are counted.
    """
    order = np.random.default_rng((seed, at)).permutation(len(targets))
    key = jax.random.fold_in(jax.random.key(seed), at)
    rates = rates_at(at, rounds)
    size = min(BATCH, len(targets))
    for i in range(len(targets) // size):
        index = np.sort(order[i * size : (i + 1) * size])
        step = (at - first) * (len(targets) // size) + i
        state = _step(
            layout, state, index, targets[index], levels[index], jnp.asarray(rates),
            jnp.asarray([step, at - first]), jax.random.fold_in(key, i),
        )  # fmt: skip
    return with_spreads(layout, state, levels)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _step(
    layout: AnyLayout, state: State, index: Array, targets: Array, levels: Array, rates: Array,
    steps: Array, key: PRNGKeyArray,
) -> State:  # fmt: skip
    mine = tuple(part[index] for part in state.posterior)
    spreads = state.spreads[levels]
    weights = jnp.asarray(weights_of(layout), jnp.float32)[levels]

    def cost(shared: AnyShared, posterior: tuple[Array, Array]) -> tuple[Array, Array]:
        mean, log_deviation = posterior
        values = layout.sampled(shared, mean, jnp.exp(log_deviation), key)
        errors = jnp.mean((values - targets) ** 2, (1, 2))
        bits = divergence(mean, jnp.exp(log_deviation), spreads).sum(1) / targets.shape[1]
        costs = (errors + weights * bits) / weights**LAMBDA_POWER
        return costs.sum(), jnp.stack([errors, bits], 1)

    (_, losses), gradients = jax.value_and_grad(cost, (0, 1), has_aux=True)(state.shared, mine)
    return moved(state, index, gradients, weights, targets.shape[1], losses, rates, steps)


def moved(
    state: StateT, index: Array, gradients: Tree, weights: Array, n_points: int, losses: Array, rates: Array,
    steps: Array,
) -> StateT:  # fmt: skip
    """The state after a step of the shared arrays and of the posteriors of the items at `index`. `gradients` are by
    both, of the sum of costs over lambda to `LAMBDA_POWER`; `weights`: lambda of each; `n_points` of each; `rates` of
    shared arrays and of deviations; `steps`: the number of the step, and of the round.
    """
    by_shared, by_own = gradients
    move, moments = adam(by_shared, state.moments, steps[0], DECAYS)
    shared = jax.tree.map(lambda p, m: p - rates[0] * relative_size(p) * m, state.shared, move)
    nats = by_own[0] * (weights ** (LAMBDA_POWER - 1) * n_points * math.log(2))[:, None]
    speed = faster(state.speeds[index], nats, jnp.exp(state.posterior[1][index]))
    picked = jax.tree.map(lambda m: m[index], state.moments_own)
    move, after = adam(by_own[1], picked, steps[1], DECAYS)
    found: StateT = state._replace(
        shared=shared, moments=moments, speeds=state.speeds.at[index].set(speed),
        posterior=(state.posterior[0].at[index].add(speed), state.posterior[1].at[index].add(-rates[1] * move)),
        moments_own=jax.tree.map(lambda m, a: m.at[index].set(a), state.moments_own, after),
        losses=state.losses.at[index].set(losses),
    )  # fmt: skip
    return found


def relative_size(array: Array) -> Array:
    """What steps of an array are a part of."""
    return jnp.maximum(jnp.sqrt(jnp.mean(array**2)), LEAST_SIZE)


def with_spreads(layout: AnyLayout, state: State, levels: Int[ndarray, " items"]) -> State:
    """With the prior under which the posteriors of each level cost least."""
    mean, log_deviation = state.posterior
    square = mean**2 + jnp.exp(2 * log_deviation)
    mine = levels == np.arange(len(state.spreads))[:, None]
    mine[~mine.any(1)] = True  # a level that nothing has is like all
    rows = jnp.asarray(mine / mine.sum(1, keepdims=True), jnp.float32) @ square
    return state._replace(spreads=jnp.maximum(jnp.sqrt(alike(layout, rows, jnp)), LEAST_SPREAD))


def alike(layout: AnyLayout, rows: Any, xp: ModuleType) -> Any:
    """Statistics of latents, (levels, latents): except in images, all places of a grid are alike, and share theirs."""
    if layout.axes == 2 or isinstance(layout, WeightLayout):
        return rows
    parts, first = [], 0
    for *sides, channels in layout.grid_shapes():
        cells = math.prod(sides)
        own = rows[:, first : first + cells * channels].reshape(-1, cells, channels).mean(1, keepdims=True)
        parts.append(xp.broadcast_to(own, (len(rows), cells, channels)).reshape(len(rows), -1))
        first += cells * channels
    return xp.concatenate([*parts, rows[:, first:]], 1)


def finished(layout: AnyLayout, kind: str, state: State, levels: Int[ndarray, " items"]) -> LatentPrior:
    """The prior, rounded as files hold it; blocks are filled with the latents that cost most first."""
    mean, deviation = np.asarray(state.posterior[0]), np.exp(np.asarray(state.posterior[1]))
    members = [levels == level if (levels == level).any() else levels >= 0 for level in range(len(state.spreads))]
    spread = smoothed(layout, np.asarray(state.spreads))
    wide = [wider(layout, mean[mine], deviation[mine], own) for mine, own in zip(members, spread, strict=True)]
    scales = eighths(spread * np.stack(wide))
    spread = scale_values(scales.astype(np.int64))
    narrowing, order, sizes = [], [], []
    for level, mine in enumerate(members):
        ratio = deviation[mine] / spread[level]
        bits = (((mean[mine] / spread[level]) ** 2 + ratio**2 - 1) / 2 - np.log(ratio)).mean(0) / math.log(2)
        [bits, narrower] = alike(layout, np.stack([bits, np.log(ratio).mean(0)]), np)
        narrowing.append(eighths(np.exp(narrower)))
        falling = np.argsort(-bits, kind="stable")
        coded = falling[: max(int((bits >= LEAST_BITS).sum()), 1)]
        order.append(coded.astype(np.int64))
        sizes.append(block_sizes(bits[coded]))
    last, gain = state.shared, 1.0
    if isinstance(layout, Layout):
        gain = GAINS[kind]
        last = last._replace(
            straight=tuple(array / gain for array in last.straight),
            bases=(*last.bases[:-1], last.bases[-1] / gain),
            maps=(*last.maps[:-1], last.maps[-1] / gain) if layout.ranks[-1] else last.maps,
        )
    shared: AnyShared = jax.tree.map(lambda a: np.asarray(a).astype(np.float16).astype(np.float32), last)
    weights = tuple(map(float, weights_of(layout) / gain**2))
    return LatentPrior(
        layout, shared, kind, weights, scales.astype(np.int64),
        np.stack(narrowing).astype(np.int64), tuple(order), tuple(sizes), BITS,
    )  # fmt: skip


def smoothed(layout: AnyLayout, spread: Float[ndarray, "levels latents"]) -> Float[ndarray, "levels latents"]:
    """With one stage, latents are frequencies: what is strong at one may come at its neighbours in another signal."""
    if len(layout.grids) != 1 or isinstance(layout, WeightLayout):
        return spread
    [(cells, channels)] = layout.grid_shapes()
    bands = spread[:, : cells * channels].reshape(len(spread), cells, -1, layout.channels)
    found = bands.copy()
    for far, share in NEIGHBOURS.items():
        found[:, :, far:] = np.maximum(found[:, :, far:], share * bands[:, :, :-far])
        found[:, :, :-far] = np.maximum(found[:, :, :-far], share * bands[:, :, far:])
    return np.concatenate([found.reshape(len(spread), -1), spread[:, cells * channels :]], 1)


def wider(
    layout: AnyLayout, mean: Float[ndarray, "items latents"], deviation: Float[ndarray, "items latents"],
    spread: Float[ndarray, " latents"],
) -> Float[ndarray, " latents"]:  # fmt: skip
    """By how much candidates are to be spread more widely than the latents.

    An index has its bits whatever the latents are, as a quantiser of fixed rate has. Of these, the best in d dimensions
    has points as dense as the prior's to the power d / (d + 2) (Zador, 1982): the candidates of a normal prior are
    sqrt(1 + 2 / d) times as wide. Latents of real signals are often far out, and candidates end: so the factor is that
    for which the squared error of training signals, by the same theory, is smallest.
    """
    ratio = deviation / spread
    bits = (((mean / spread) ** 2 + ratio**2 - 1) / 2 - np.log(ratio)).mean(0) / math.log(2)
    [bits] = alike(layout, bits[None], np)
    d = np.clip(BLOCK_BITS / np.maximum(bits, 1e-3), 1.0, MOST_MEMBERS)
    far, noise = np.abs(mean) / spread, np.square(ratio).mean(0)
    factors = np.exp2(np.arange(3 * SCALES_PER_OCTAVE) / SCALES_PER_OCTAVE)
    losses = []
    for factor in factors:
        sparse = np.exp(np.minimum(np.square(far / factor) / d, 50.0)).mean(0)
        beyond = np.square(np.maximum(far - factor * FARTHEST, 0)).mean(0) / (d * noise)
        [sparse, beyond] = alike(layout, np.stack([sparse, beyond]), np)
        losses.append(2 / d * math.log(factor) + np.log(sparse + beyond))
    found: Float[ndarray, " latents"] = factors[np.argmin(losses, 0)] * (
        OTHERS_FACTOR if len(layout.grids) == 1 else 1.0
    )
    return found


def block_sizes(bits: Float[ndarray, " coded"]) -> Int[ndarray, " blocks"]:
    """How many latents in turn make a block: as many as take `BLOCK_BITS` together, one at least."""
    sizes: list[int] = []
    total = math.inf
    for each in bits:
        if total + each > BLOCK_BITS or sizes[-1] >= MOST_MEMBERS:
            sizes.append(0)
            total = 0.0
        sizes[-1] += 1
        total += float(each)
    return np.array(sizes, np.int64)


def _by_lambda(way: Way, layout: AnyLayout, state: Any, levels: Int[ndarray, " items"]) -> tuple[ndarray, ndarray]:
    losses = np.asarray(state.losses)
    classes = way.classes(layout)
    means = np.array([losses[levels // classes == i].mean(0) for i in range(way.lambdas)])
    return means[:, 0], means[:, 1]


def _summary(way: Way, layout: AnyLayout, state: Any, levels: Int[ndarray, " items"]) -> str:
    errors, bits = _by_lambda(way, layout, state, levels)
    return ", ".join(f"{b:.2f} bits {-10 * math.log10(e):.1f} dB" for e, b in zip(errors, bits, strict=True))


# ---- runs that were killed ----


def save(path: Path, state: Tree, at: int, job: tuple[int, ...]) -> None:
    """Keeps the state of a run after so many rounds."""
    with atomic_output(path, overwrite=True) as temporary, open(temporary, "wb") as file:
        np.savez(file, *map(np.asarray, jax.tree.leaves(state)), at=at, job=np.array(job))


def restored(path: Path, state: Tree, job: tuple[int, ...]) -> tuple[Tree, int]:
    """The state of a run that was killed, and the round to go on with; or `state` and 0."""
    if not path.is_file():
        return state, 0
    leaves, structure = jax.tree.flatten(state)
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = [stored[f"arr_{i}"] for i in range(len(leaves))]
            at, same = int(stored["at"]), tuple(stored["job"]) == job
    except (OSError, ValueError, KeyError, EOFError):
        return state, 0
    if not same or [a.shape for a in found] != [a.shape for a in leaves]:
        return state, 0
    return jax.tree.unflatten(structure, [jnp.asarray(a) for a in found]), at
