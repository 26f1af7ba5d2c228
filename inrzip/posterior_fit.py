"""From patches of signals to the indices that files hold: a variational fit, and blocks that are coded one by one.

After COMBINER (Guo et al., NeurIPS 2023, section 3) and RECOMBINER (He et al., ICLR 2024): latents have a Gaussian
posterior, which is fitted to squared error plus lambda times the bits from the prior; then a block of latents is coded,
stays as it came out, and the others make up for it in some more steps, and so on. All patches are fitted side by side.

Own choices: a block's candidate is the one at which the posterior is densest for what the prior is, not a sample; a
block that no candidate suits is split; how many blocks a patch has follows from what they are worth to it at lambda;
and each patch takes the class of priors that suits it best.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, PRNGKeyArray
from numpy import ndarray

from inrzip.architectures.network_weights import AnyLayout, AnyShared
from inrzip.codecs import parted_blocks, relative_entropy
from inrzip.codecs.learned_numbers import NumberCounts
from inrzip.codecs.parted_blocks import Block
from inrzip.codecs.relative_entropy import Part
from inrzip.priors.latent_prior import LatentPrior

from . import part_search
from .descent import Moments, adam, adam_start, best_changes
from .index_search import Search
from .part_search import LEAST_GAP
from .parted_payload import PartedPatch
from .posterior_payload import LEAST_INDEX_BITS, Coded

STEPS_AT_ONCE = 5
"""Of one call of the compiled program."""
CLASS_SHARE, FIRST_SHARE, SETTLE_SHARE = 0.15, 0.35, 0.15
"""Of all steps: those after which classes are chosen, those after which blocks are counted, those before coding."""
MEAN_STEP, MEAN_MOMENTUM, MEAN_LIMIT = 0.25, 0.7, 2.0
"""Means go down the natural gradient: Newton's step where the network is linear and latents do not
meddle, but no more than so many deviations: where these are too large yet, the step would be, too."""
PEAK_DEVIATION = 0.06
CODING_RATE = 0.4
"""Rates while blocks are coded, as a part of the largest; they fall to a tenth of it."""
DECAYS = (0.9, 0.97)
PRICE_STEPS, PRICE_RANGE = (0.85, 1.5), (0.25, 64.0)
"""Each block has a price of its own for a bit, so that it comes to take as many bits as an index has."""
LINEAR_PRICE_RANGE = (0.25, 1.2)
"""With one stage. Rare latents that are far out would be pulled in at a larger price: that is worse than a candidate
that is not very near.
"""
SLACK_BITS = 0.6
PRICE_ROUNDS = 30
EARLY_BLOCKS, EARLY_WEIGHT = 8, 3.0
"""The first blocks are followed by more steps than later ones."""
MANY = 12
"""Patches of a signal from which what is told of blocks can be learned on the way."""
BATCHES = (1, 8, 32)
"""Patches that are fitted side by side: few numbers, so that few programs are compiled."""
SMALLEST_DEVIATION = 1e-4
LEAST_ENERGY = 1e-12
NEARER_STEPS = 12
LINEAR_STEP = 0.05
MOST_MISSING = 20.0


class Problem(NamedTuple):
    """What is fitted: `targets` (patches, samples, channels), `inside` (patches, samples) 1 where there is signal,
    `spread` (patches, latents) of the prior, `block` (patches, latents): each latent's, `price` of a bit.
    """

    targets: Array
    inside: Array
    spread: Array
    block: Array
    price: Array


class State(NamedTuple):
    """`mean` and `narrow` (the logarithm of the deviation), in deviations of the prior. Where `done` is 1, the latent
    is `mean` and does not change. `speed`: of the mean.
    """

    mean: Array
    narrow: Array
    speed: Array
    moments: Moments
    done: Array
    prices: Array
    step: Array


@dataclasses.dataclass(frozen=True)
class Wish:
    """How patches are to be coded: lambda, and with at most so many bits for the blocks of all (None: what lambda
    says).
    """

    weight: float
    bits: int | None = None
    steps: int = 600


Watch = Callable[[float, str], bool]
"""Is told how much is done and a remark; true: what is left is to be hurried."""


def encode_patches(
    prior: LatentPrior,
    targets: Float[ndarray, "patches samples channels"],
    inside: Float[ndarray, "patches samples"],
    wish: Wish,
    watch: Watch,
) -> list[Coded]:
    """Codes patches to a wish. They know nothing of each other, and each may be a signal of its own."""
    coded: list[Coded] = []
    for part, told in _in_turn(len(targets), watch):
        coded += _encode_some(prior, targets[part], inside[part], _share(wish, part, len(targets)), told)
    return coded


def encode_many(
    prior: LatentPrior,
    targets: Float[ndarray, "patches samples channels"],
    inside: Float[ndarray, "patches samples"],
    wish: Wish,
    watch: Watch,
) -> list[PartedPatch]:
    """Codes the patches of one signal, which are many: what is told of their blocks is learned on the way. What they
    take is lambda's choice alone.
    """
    coded: list[PartedPatch] = []
    numbers = NumberCounts()
    for part, told in _in_turn(len(targets), watch):
        coded += _encode_parted(prior, targets[part], inside[part], wish, told, numbers)
    return coded


def _in_turn(n: int, watch: Watch) -> Iterator[tuple[slice, Watch]]:
    """The patches that are fitted side by side, and who is told how far they are."""
    for first in range(0, n, BATCHES[-1]):
        part = slice(first, min(first + BATCHES[-1], n))

        def told(done: float, remark: str, part: slice = part) -> bool:
            return watch((part.start + done * (part.stop - part.start)) / n, remark)

        yield part, told


def bits_of_patches(
    prior: LatentPrior,
    targets: Float[ndarray, "patches samples channels"],
    inside: Float[ndarray, "patches samples"],
    wish: Wish,
    hurried: Callable[[], bool] = lambda: False,
) -> int:
    """What the blocks of all patches would take together, about."""
    total = 0
    for part, told in _in_turn(len(targets), lambda done, remark: hurried()):
        fit = _fitted(prior, targets[part], inside[part], wish, told)
        if len(targets) >= MANY:
            total += fit.count_useful()[1]
        else:
            total += sum(n * bits for n, bits in zip(fit.count_blocks(), fit.bits, strict=True))
    return total


def _share(wish: Wish, part: slice, n: int) -> Wish:
    """What some of `n` patches may take."""
    if wish.bits is None:
        return wish
    return dataclasses.replace(wish, bits=wish.bits * (part.stop - part.start) // n)


def nearest_levels(prior: LatentPrior, weight: float) -> list[int]:
    """The levels whose lambda is nearest: its classes."""
    distance = [abs(math.log(w / weight)) for w in prior.weights]
    return [i for i, d in enumerate(distance) if d < min(distance) + 1e-6]


def _fitted(prior: LatentPrior, targets: ndarray, inside: ndarray, wish: Wish, watch: Watch) -> _Fit:
    """Patches up to where their blocks are counted."""
    classes = nearest_levels(prior, wish.weight)
    fit = _Fit(prior, targets, inside, wish, [classes[len(classes) // 2]] * len(targets))
    n_class, n_first = (max(STEPS_AT_ONCE, round(share * wish.steps)) for share in (CLASS_SHARE, FIRST_SHARE))
    if len(prior.layout.grids) == 1:
        fit.begin_as_linear(classes)
    else:
        if prior.layout.grids:
            fit.come_nearer()
        fit.advance(n_class, 1.0, 1.0, adapt=False)
        if len(classes) > 1:
            fit.choose_classes(classes)
    hurried = watch(CLASS_SHARE, "")
    fit.advance(STEPS_AT_ONCE if hurried else n_first, 1.0, CODING_RATE, adapt=False)
    return fit


def _encode_some(prior: LatentPrior, targets: ndarray, inside: ndarray, wish: Wish, watch: Watch) -> list[Coded]:
    fit = _fitted(prior, targets, inside, wish, watch)
    counts = fit.count_blocks()
    hurried = watch(CLASS_SHARE + FIRST_SHARE, f"{fit.db():.2f} dB")
    n_settle = STEPS_AT_ONCE if hurried else max(STEPS_AT_ONCE, round(SETTLE_SHARE * wish.steps))
    fit.advance(n_settle, CODING_RATE, CODING_RATE, adapt=True)
    done, last = CLASS_SHARE + FIRST_SHARE + SETTLE_SHARE, max(counts)
    effort = np.where(np.arange(last) < EARLY_BLOCKS, EARLY_WEIGHT, 1.0)
    effort *= max(wish.steps * (1 - done), 1) / max(effort.sum(), 1)
    due = 0.0
    blocks: list[list[tuple[int, ...]]] = [[] for _ in counts]
    for block in range(last):
        for patch, indices in fit.code(block, counts):
            blocks[patch].append(indices)
        due += effort[block]
        rate = CODING_RATE * 10 ** (-(block + 1) / last)
        if due >= STEPS_AT_ONCE and not hurried and block + 1 < last:
            fit.advance(int(due), rate, rate, adapt=True)
            due -= STEPS_AT_ONCE * (int(due) // STEPS_AT_ONCE)
        hurried = watch(done + (1 - done) * (block + 1) / last, f"block {block + 1} of {last}")
    return [Coded(level, own, prior.bits - bits) for level, own, bits in zip(fit.levels, blocks, fit.bits, strict=True)]


def _encode_parted(
    prior: LatentPrior, targets: ndarray, inside: ndarray, wish: Wish, watch: Watch, numbers: NumberCounts
) -> list[PartedPatch]:
    fit = _fitted(prior, targets, inside, wish, watch)
    counts, _ = fit.count_useful()
    done, last = CLASS_SHARE + FIRST_SHARE, max(counts)
    hurried = watch(done, f"{fit.db():.2f} dB")
    effort = np.where(np.arange(last) < EARLY_BLOCKS, EARLY_WEIGHT, 1.0)
    effort *= max(wish.steps * (1 - done), 1) / max(effort.sum(), 1)
    due = 0.0
    blocks: list[list[Block]] = [[] for _ in counts]
    for number in range(last):
        for patch, block in fit.code_parts(number, counts, numbers):
            blocks[patch].append(block)
        due += effort[number]
        if due >= STEPS_AT_ONCE and not hurried and number + 1 < last:
            rate = CODING_RATE * 10 ** (-(number + 1) / last)
            fit.advance(int(due), rate, rate, adapt=False)
            due -= STEPS_AT_ONCE * (int(due) // STEPS_AT_ONCE)
        hurried = watch(done + (1 - done) * (number + 1) / last, f"block {number + 1} of {last}")
    return [PartedPatch(level, own[: parted_blocks.useful(own)]) for level, own in zip(fit.levels, blocks, strict=True)]


class _Fit:
    """Patches under way."""

    def __init__(self, prior: LatentPrior, targets: ndarray, inside: ndarray, wish: Wish, levels: list[int]):
        self.prior, self.wish = prior, wish
        self._size = next(size for size in BATCHES if size >= len(targets))
        extra = self._size - len(targets)
        self._n = len(targets)
        self._targets = np.concatenate([targets, np.repeat(targets[-1:], extra, 0)]).astype(np.float32)
        self._inside = np.concatenate([inside, np.repeat(inside[-1:], extra, 0)]).astype(np.float32)
        self._shared: AnyShared = jax.tree.map(jnp.asarray, prior.shared)
        self.levels = levels
        self.bits = [prior.bits] * self._n
        self._room = math.inf  # bits that are left for blocks that are split
        self._most = max(len(sizes) for sizes in prior.sizes)
        narrow = np.array([prior.narrowing[level] for level in self._all_levels()]) / relative_entropy.SCALES_PER_OCTAVE
        zeros = jnp.zeros(narrow.shape)
        self._state = State(
            zeros, jnp.asarray(narrow * math.log(2), jnp.float32), zeros, adam_start(zeros), zeros,
            jnp.ones((self._size, self._most + 1)), jnp.int32(0),
        )  # fmt: skip
        self._set_levels(levels)

    def _all_levels(self) -> list[int]:
        return [*self.levels, *[self.levels[-1]] * (self._size - self._n)]

    def _set_levels(self, levels: list[int]) -> None:
        self.levels = levels
        every = self._all_levels()
        block = np.full((self._size, self.prior.layout.n_latents), self._most, np.int32)
        for row, level in enumerate(every):
            order, sizes = self.prior.order[level], self.prior.sizes[level]
            block[row, order] = np.repeat(np.arange(len(sizes)), sizes)
        self._spread = np.array([self.prior.spread(level) for level in every])
        self._block = block
        points = self._inside.sum(1)
        self._problem = Problem(
            jnp.asarray(self._targets), jnp.asarray(self._inside), jnp.asarray(self._spread), jnp.asarray(block),
            jnp.asarray(np.full(self._size, self.wish.weight) / points, jnp.float32),
        )  # fmt: skip
        self._never(block == self._most)

    def _never(self, where: ndarray) -> None:
        """Latents that stay 0."""
        state = self._state
        self._state = state._replace(
            mean=jnp.where(where, 0.0, state.mean), done=jnp.asarray(where | (np.asarray(state.done) > 0), jnp.float32)
        )

    def advance(self, steps: int, first_rate: float, last_rate: float, adapt: bool) -> None:
        """Steps of the fit, at least `STEPS_AT_ONCE`."""
        calls = max(1, steps // STEPS_AT_ONCE)
        for call in range(calls):
            rate = first_rate + (last_rate - first_rate) * call / calls
            self._state = _advance(
                self.prior.layout, self._shared, self._problem, self._state, jnp.float32(rate),
                jnp.asarray(self._bits_of_all() if adapt else [0] * self._size, jnp.float32), jax.random.key(0),
            )  # fmt: skip

    def come_nearer(self) -> None:
        """Takes means to where they would be best if the network were linear where it is."""
        mean = _nearer(self.prior.layout, self._shared, self._problem, self._state)
        self._state = self._state._replace(mean=mean, speed=jnp.zeros_like(mean))

    def _posterior(self) -> tuple[ndarray, ndarray]:
        mean, narrow = np.asarray(self._state.mean, np.float64), np.asarray(self._state.narrow, np.float64)
        return mean, np.maximum(np.exp(narrow), SMALLEST_DEVIATION)

    def choose_classes(self, classes: Sequence[int]) -> None:
        """Gives each patch the class under which it would cost least, were the network linear around where it is."""
        mean, deviation = self._posterior()
        gap = np.maximum(1 / deviation**2 - 1, LEAST_GAP)
        curvature = gap / self._spread**2  # twice that of the squared error, in nats of the price
        best = mean * self._spread * (1 + 1 / gap)  # where the squared error alone would have it
        found = []
        for level in classes:
            spread, coded = self._level(level)
            square = 1 / (1 / spread**2 + curvature)
            centre = best * curvature * square
            with_it = curvature / 2 * ((centre - best) ** 2 + square) + _nats(centre, square, spread)
            cost = np.where(coded, with_it, curvature / 2 * best**2).sum(1)
            found.append((cost, centre / spread, np.sqrt(square) / spread))
        self._take_cheapest(classes, *map(np.stack, zip(*found, strict=True)))

    def begin_as_linear(self, classes: Sequence[int]) -> None:
        """Begins where the fit would end, were the network linear: near enough with one stage, which is a transform
        above all. Gives each patch the class that it costs least with. Latents of layers begin at 0: the network is far
        from linear in these, and the grid's can do without them.
        """
        layout = self.prior.layout
        slopes, at_zero = linear_part(self.prior)
        energy = self._inside @ np.square(slopes).sum(-1).T
        slopes, n_grid = slopes.reshape(len(slopes), -1), sum(layout.latent_counts()[: len(layout.grids)])
        targets = (self._targets - at_zero).reshape(self._size, -1)  # also what fills the patch beyond the signal
        price = 2 * math.log(2) / (layout.channels * self.wish.weight)  # of a squared error, twice, in nats
        curvature = price * energy + LEAST_ENERGY
        products, wanted = price * slopes @ slopes.T, price * targets @ slopes.T
        found = []
        for level in classes:
            spread, coded = self._level(level)
            free = np.flatnonzero(coded[:n_grid])
            centre = np.zeros((self._size, len(spread)))
            system = products[np.ix_(free, free)] + np.diag(1 / spread[free] ** 2)
            centre[:, free] = scipy.linalg.solve(system, wanted[:, free].T, assume_a="pos").T
            square = 1 / (1 / spread**2 + curvature)
            nats = _nats(centre, square, spread)
            missed = price / 2 * np.square(targets - centre @ slopes).sum(1)
            cost = missed + np.where(coded, curvature / 2 * square + nats, 0).sum(1)
            cost += self._crowded(level, nats, curvature / 2 * centre**2)
            found.append((cost, centre / spread, np.sqrt(square) / spread))
        self._take_cheapest(classes, *map(np.stack, zip(*found, strict=True)))

    def _level(self, level: int) -> tuple[ndarray, ndarray]:
        """How widely latents of a level are spread, and which are coded."""
        coded = np.zeros(self.prior.layout.n_latents, bool)
        coded[self.prior.order[level]] = True
        return self.prior.spread(level).astype(np.float64), coded

    def _take_cheapest(self, classes: Sequence[int], costs: ndarray, means: ndarray, deviations: ndarray) -> None:
        """Of all classes: what each patch costs, and its posterior, in deviations of the prior."""
        choice = np.argmin(costs, 0)
        rows = np.arange(self._size)
        zeros = jnp.zeros(means.shape[1:])
        self._state = self._state._replace(
            mean=jnp.asarray(means[choice, rows], jnp.float32),
            narrow=jnp.asarray(np.log(deviations[choice, rows]), jnp.float32), done=zeros,
            speed=zeros, moments=adam_start(zeros), step=jnp.int32(0),
        )  # fmt: skip
        self._set_levels([classes[i] for i in choice[: self._n]])

    def _crowded(self, level: int, nats: ndarray, lost: ndarray) -> Float[ndarray, " patches"]:
        """What it costs that blocks have only so many bits: with d latents, each missing bit makes the squared error
        4^(1 / d) times as large, which was 1/2 nat for each of them; but never larger than if they are `lost`.
        """
        total = np.zeros(len(nats))
        for members in self.prior.blocks(level):
            missing = (nats[:, members].sum(1) / math.log(2) - self.prior.bits) / len(members)
            worse = len(members) / 2 * np.expm1(math.log(4) * np.clip(missing, 0, MOST_MISSING))
            total += np.minimum(worse, lost[:, members].sum(1))
        return total

    def count_blocks(self) -> list[int]:
        """How many blocks of each patch are worth their bits; latents of the others stay 0 from now on.

        Indices of a patch have as many bits as its fullest block takes, and no more than the prior's.
        """
        gain, taken = self._worth()
        worth = []
        for row, level in enumerate(self.levels):
            n = len(self.prior.sizes[level])
            coded = self._block[row] < self._most
            of_block, own = (
                np.bincount(self._block[row], np.where(coded, each[row], 0), self._most + 1)[:n]
                for each in (gain, taken)
            )
            first = _best(of_block - np.minimum(own, self.prior.bits))
            fullest = own[: max(first, 1)].max()
            self.bits[row] = int(np.clip(math.ceil(fullest), min(LEAST_INDEX_BITS, self.prior.bits), self.prior.bits))
            worth.append(of_block)
        counts = _counts(worth, self.bits, self.wish.bits)
        if self.wish.bits is not None:
            self._room = self.wish.bits - sum(map(operator.mul, counts, self.bits))
        every = np.array([*counts, *[counts[-1]] * (self._size - self._n)])
        self._never((self._block == self._most) | (self._block >= every[:, None]))
        return counts

    def count_useful(self) -> tuple[list[int], int]:
        """How many blocks of each patch are worth what their latents take, and what that is, in bits; latents of the
        others stay 0 from now on.
        """
        gain, taken = self._worth()
        counts, total = [], 0.0
        for row, level in enumerate(self.levels):
            n = len(self.prior.sizes[level])
            own, of_block = (
                np.bincount(self._block[row], each[row] * (self._block[row] < self._most), self._most + 1)[:n]
                for each in (taken, gain)
            )
            counts.append(_best(of_block - own))
            total += float(own[: counts[-1]].sum())
        every = np.array([*counts, *[counts[-1]] * (self._size - self._n)])
        self._never((self._block == self._most) | (self._block >= every[:, None]))
        return counts, round(total)

    def _worth(self) -> tuple[ndarray, ndarray]:
        """Bits that coding a latent is worth, and that it takes."""
        mean, deviation = self._posterior()
        gap = np.maximum(1 - deviation**2, LEAST_GAP)
        gain = (mean**2 / (2 * deviation**2 * gap) - gap / 2) / math.log(2)
        taken = ((mean**2 + deviation**2 - 1) / 2 - np.log(deviation)) / math.log(2)
        return gain, taken

    def code_parts(self, number: int, counts: Sequence[int], numbers: NumberCounts) -> list[tuple[int, Block]]:
        """Codes one block of all patches that have it, as `parted_blocks`: pairs of patch and block."""
        mean, deviation = self._posterior()
        new_mean, done = np.asarray(self._state.mean).copy(), np.asarray(self._state.done).copy()
        rows = [i for i, count in enumerate(counts) if count > number]
        members = [self.prior.blocks(self.levels[row])[number] for row in rows]
        every = [
            part_search.latents_of(mean[row, own], deviation[row, own]) for row, own in zip(rows, members, strict=True)
        ]
        found = part_search.blocks_of(numbers, every, min(self.prior.bits, parted_blocks.MAX_BITS))
        for row, own, block in zip(rows, members, found, strict=True):
            parted_blocks.learn(numbers, block, len(own))
            values = parted_blocks.values(block, self.prior.scales[self.levels[row]][own])
            new_mean[row, own], done[row, own] = values / self._spread[row, own], 1
        self._state = self._state._replace(mean=jnp.asarray(new_mean), done=jnp.asarray(done))
        return list(zip(rows, found, strict=True))

    def _bits_of_all(self) -> list[int]:
        return [*self.bits, *[self.bits[-1]] * (self._size - self._n)]

    def code(self, block: int, counts: Sequence[int]) -> list[tuple[int, tuple[int, ...]]]:
        """Codes one block of all patches that have it: pairs of patch and indices."""
        mean, deviation = self._posterior()
        prices = np.asarray(self._state.prices)
        new_mean, done = np.asarray(self._state.mean).copy(), np.asarray(self._state.done).copy()
        found = []
        most = max(int(self.prior.sizes[level][block]) for i, level in enumerate(self.levels) if counts[i] > block)
        for level in sorted(set(self.levels)):
            rows = [i for i, own in enumerate(self.levels) if own == level and counts[i] > block]
            if not rows:
                continue
            members = self.prior.blocks(level)[block]
            at = np.ix_(np.array(rows), members)
            own = [self.bits[row] for row in rows]
            chosen = relative_entropy.choose(block, self.prior.bits, mean[at], deviation[at], most=most, index_bits=own)
            scales = self.prior.scales[level][members]
            for row, index in zip(rows, chosen, strict=True):
                search = Search(
                    block, mean[row, members], deviation[row, members], float(prices[row, block]),
                    self.prior.bits, self.bits[row], most,
                )  # fmt: skip
                indices, _ = search.best(Part(0, len(members), 0), self._room, int(index))
                self._room -= (len(indices) - 1) * self.bits[row]
                values = relative_entropy.decoded(block, indices, self.bits[row], scales)
                new_mean[row, members] = values / self._spread[row, members]
                found.append((row, tuple(indices)))
            done[at] = 1
        self._state = self._state._replace(mean=jnp.asarray(new_mean), done=jnp.asarray(done))
        return found

    def db(self) -> float:
        """PSNR of the means of the posteriors: a remark for the progress display."""
        error = _error(self.prior.layout, self._shared, self._problem, self._state)
        return -10 * math.log10(max(float(error[: self._n].mean()), 1e-12))


def linear_part(
    prior: LatentPrior,
) -> tuple[Float[ndarray, "latents samples channels"], Float[ndarray, "samples channels"]]:
    """How values change with each latent around 0, and the values of latents of 0."""
    step = np.float32(LINEAR_STEP)
    inputs = np.concatenate([np.zeros((1, prior.layout.n_latents)), step * np.eye(prior.layout.n_latents)])
    values = prior.layout.evaluate(prior.shared, inputs.astype(np.float32), np)
    return (values[1:] - values[0]) / step, values[0]


def _nats(centre: ndarray, square: ndarray, spread: ndarray) -> ndarray:
    """What Gaussians take under priors of that spread around 0."""
    found: ndarray = ((centre**2 + square) / spread**2 - 1 - np.log(square / spread**2)) / 2
    return found


def _best(worth: ndarray) -> int:
    """How many from the first on are worth most together."""
    return int(np.argmax(np.concatenate([[0.0], np.cumsum(worth)])))


def _counts(worth: Sequence[ndarray], bits: Sequence[int], room: int | None) -> list[int]:
    """Blocks of each patch, of which the first are worth so many bits and cost `bits` each: those that are worth more
    than they cost, or, where these need more than `room`, than so many times as much that they do not.
    """

    def at(price: float) -> list[int]:
        return [_best(own - price * n) for own, n in zip(worth, bits, strict=True)]

    def total(counts: list[int]) -> int:
        return sum(map(operator.mul, counts, bits))

    counts = at(1.0)
    if room is None or total(counts) <= room:
        return counts
    low, high = 1.0, 2.0
    while total(at(high)) > room:
        low, high = high, 2 * high
    for _ in range(PRICE_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if total(at(middle)) > room else (low, middle)
    counts, most = at(high), at(low)
    for i, wanted in enumerate(most):  # what is left, for those that are next
        counts[i] += min(wanted - counts[i], (room - total(counts)) // bits[i])
    return counts


def _errors(problem: Problem, values: Array) -> Array:
    squares = jnp.mean((values - problem.targets) ** 2, -1) * problem.inside
    return squares.sum(1) / problem.inside.sum(1)


@functools.partial(jax.jit, static_argnums=0)
def _error(layout: AnyLayout, shared: AnyShared, problem: Problem, state: State) -> Array:
    return _errors(problem, layout.evaluate(shared, state.mean * problem.spread, jnp))


@functools.partial(jax.jit, static_argnums=0)
def _nearer(layout: AnyLayout, shared: AnyShared, problem: Problem, state: State) -> Array:
    """Means that would be best under the prior if the network were linear where it is: by conjugate gradients, each
    latent in deviations of its posterior. Steps of a fit are of such deviations, too, and would take long.
    """
    n_grids = sum(layout.latent_counts()[: len(layout.grids)])  # what weights do is far from linear: they stay
    unit = jnp.exp(state.narrow) * (1 - state.done) * (jnp.arange(layout.n_latents) < n_grids)
    factor = jnp.sqrt(math.log(2) / (layout.channels * problem.inside.sum(1) * problem.price))
    weights = problem.inside[..., None] * factor[:, None, None]

    def errors(changes: Array) -> Array:
        """The network's values, such that the sum of their squares is the cost in nats."""
        latents = (state.mean + unit * changes) * problem.spread
        weighted: Array = (layout.evaluate(shared, latents, jnp) - problem.targets) * weights
        return weighted

    return state.mean + unit * best_changes(errors, state.mean, unit, NEARER_STEPS)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=3)
def _advance(
    layout: AnyLayout, shared: AnyShared, problem: Problem, state: State, rate: Array, bits: Array, key: PRNGKeyArray
) -> State:
    """A few steps. `bits`: what blocks of each patch are to take; 0: the price of a bit is the same everywhere."""

    def cost(posterior: tuple[Array, Array], now: PRNGKeyArray, done: Array, prices: Array) -> Array:
        mean, narrow = posterior
        free = 1 - done
        values = layout.sampled(shared, mean * problem.spread, free * jnp.exp(narrow) * problem.spread, now)
        each = divergence(mean, jnp.exp(narrow), jnp.ones(())) * free
        by_latent = jnp.take_along_axis(prices, problem.block, 1)
        total = _errors(problem, values) / problem.price + (by_latent * each).sum(1)
        return total.sum()

    def step(state: State, _: None) -> tuple[State, None]:
        now = jax.random.fold_in(key, state.step)
        gradient = jax.grad(cost)((state.mean, state.narrow), now, state.done, state.prices)
        return descended(state, gradient, rate), None

    state, _ = jax.lax.scan(step, state, None, length=STEPS_AT_ONCE)
    each = divergence(state.mean, jnp.exp(state.narrow), jnp.ones(())) * (1 - state.done)
    rows = jnp.arange(each.shape[0])[:, None]
    taken = jnp.zeros_like(state.prices).at[rows, problem.block].add(each)
    limits = LINEAR_PRICE_RANGE if len(layout.grids) == 1 else PRICE_RANGE
    return state._replace(prices=next_prices(state.prices, taken, bits[:, None], limits))


def descended(state: State, gradient: tuple[Array, Array], rate: Array) -> State:
    """A step of the latents that are not coded yet; `gradient` in bits, by means and logarithms of deviations."""
    free = 1 - state.done
    speed = free * faster(state.speed, gradient[0] * math.log(2), jnp.exp(state.narrow))
    move, moments = adam(gradient[1] * free, state.moments, state.step, DECAYS)
    return state._replace(
        mean=state.mean + jnp.sqrt(rate) * speed, narrow=state.narrow - rate * PEAK_DEVIATION * move * free,
        speed=speed, moments=moments, step=state.step + 1,
    )  # fmt: skip


def next_prices(prices: Array, taken: Array, bits: Array, limits: tuple[float, float]) -> Array:
    """Prices of a bit at which blocks come nearer to the `bits` that they are to take; those of 0 keep theirs."""
    too_much = jnp.clip(jnp.sqrt(taken / jnp.maximum(bits, 1.0)), *PRICE_STEPS)
    factor = jnp.where((taken > bits) | (taken < bits - SLACK_BITS), too_much, 1.0)
    return jnp.where(bits > 0, jnp.clip(prices * factor, *limits), prices)


def faster(speed: Array, gradient: Array, deviation: Array) -> Array:
    """The next speed of means; `gradient` in nats."""
    push = jnp.clip(deviation * gradient, -MEAN_LIMIT, MEAN_LIMIT)
    return MEAN_MOMENTUM * speed - MEAN_STEP * deviation * push


def divergence(mean: Array, deviation: Array, spread: Array) -> Array:
    """Bits from a prior around 0 to Gaussian posteriors, for each latent."""
    ratio = deviation / spread
    return ((mean / spread) ** 2 + ratio**2 - 1 - 2 * jnp.log(ratio)) / (2 * math.log(2))
