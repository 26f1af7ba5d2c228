"""Patches under way to their indices, side by side: posteriors, classes and blocks (see `inrzip.posterior_fit`)."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Float
from numpy import ndarray

from inrzip.architectures.network_weights import AnyShared
from inrzip.codecs import parted_blocks, relative_entropy
from inrzip.codecs.learned_numbers import NumberCounts
from inrzip.codecs.parted_blocks import Block
from inrzip.codecs.relative_entropy import Part
from inrzip.priors.latent_prior import LatentPrior

from . import part_search, posterior_steps
from .descent import adam_start
from .index_search import Search
from .part_search import LEAST_GAP
from .posterior_payload import LEAST_INDEX_BITS
from .posterior_steps import SMALLEST_DEVIATION, STEPS_AT_ONCE, Problem, State

PRICE_ROUNDS = 30
BATCHES = (1, 8, 32)
"""Patches that are fitted side by side: few numbers, so that few programs are compiled."""
LEAST_ENERGY = 1e-12
LINEAR_STEP = 0.05
MOST_MISSING = 20.0


@dataclasses.dataclass(frozen=True)
class Wish:
    """How patches are to be coded: lambda, and with at most so many bits for the blocks of all (None: what lambda
    says).
    """

    weight: float
    bits: int | None = None
    steps: int = 600


class Fit:
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
            self._state = posterior_steps.advance(
                self.prior.layout, self._shared, self._problem, self._state, jnp.float32(rate),
                jnp.asarray(self._bits_of_all() if adapt else [0] * self._size, jnp.float32), jax.random.key(0),
            )  # fmt: skip

    def come_nearer(self) -> None:
        """Takes means to where they would be best if the network were linear where it is."""
        mean = posterior_steps.nearer(self.prior.layout, self._shared, self._problem, self._state)
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
        counts = shared_out(worth, self.bits, self.wish.bits)
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
        blocks = {level: self.prior.blocks(level)[number] for level in {self.levels[row] for row in rows}}
        members = [blocks[self.levels[row]] for row in rows]
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
        error = posterior_steps.error(self.prior.layout, self._shared, self._problem, self._state)
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


def shared_out(worth: Sequence[ndarray], bits: Sequence[int], room: int | None) -> list[int]:
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
