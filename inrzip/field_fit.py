"""From a field of patches to the indices that files hold: as `inrzip.posterior_fit`, but for one signal whose patches
are fitted together, with latents of groups and of the whole above them (RECOMBINER).

How many latents are coded follows from what they are worth at lambda, in the prior's order. What a block is filled with
follows from what latents of this signal take, compared with what they usually do. All blocks have the same candidates,
so one matrix product finds the indices of many.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from inrzip.architectures import combiner_field as fields
from inrzip.architectures.combiner_field import Field
from inrzip.architectures.combiner_network import Layout, Shared
from inrzip.codecs import parted_blocks, relative_entropy
from inrzip.codecs.learned_numbers import NumberCounts
from inrzip.codecs.parted_blocks import MAX_BITS, Block
from inrzip.priors.field_prior import FILLS_PER_BIT, MAX_FILL, UNITS_PER_BIT, FieldPrior

from . import part_search
from .descent import TINY, adam_start, best_changes
from .field_payload import CodedField
from .part_search import LEAST_GAP
from .posterior_fit import CODING_RATE, Watch
from .posterior_steps import SMALLEST_DEVIATION, State, descended, divergence

STEPS_AT_ONCE = 5
CLASS_SHARES = (0.12, 0.24)
"""Of all steps: those after which classes are chosen."""
FIT_SHARE = 0.6
ROUNDS = 24
"""Blocks are coded in so many rounds, at most, with steps between."""
BLOCK_BITS = 16.0
"""That blocks take on average: of smaller ones there are more to tell of; in larger ones, candidates lie far apart."""
LEAST_FILL = 40
FIRST_ROUNDS, FIRST_STEPS = 2, 12
"""At the beginning: so often the network is taken for linear, with so many steps of conjugate gradients."""
USUAL_PATCHES = 64
"""Of what priors are learned from."""


class Problem(NamedTuple):
    """`targets` (patches, samples, channels), `inside` (patches, samples) 1 where there is signal; the prior's `spread`
    of each latent; `price` of a bit.
    """

    targets: Array
    inside: Array
    spread: Array
    price: Array


class FieldFit:
    """A signal under way, at one lambda."""

    def __init__(
        self,
        prior: FieldPrior,
        field: Field,
        targets: Float[ndarray, "patches samples channels"],
        inside: Float[ndarray, "patches samples"],
        weight: float,
        steps: int,
        watch: Watch,
    ):
        self.prior, self.field, self._steps, self._watch = prior, field, max(steps, STEPS_AT_ONCE), watch
        self.weight = int(np.argmin([abs(math.log(w / weight)) for w in prior.weights]))
        mine = prior.usual[self.weight * prior.classes :][: prior.classes]
        self.classes = np.full(field.n_patches, int(np.argmax(mine.sum(1))))  # the busiest: all that may matter is seen
        self._targets, self._inside = jnp.asarray(targets), jnp.asarray(inside)
        self._price = weight / float(inside.sum())
        self._shared: Shared = jax.tree.map(jnp.asarray, prior.shared)
        n = fields.n_latents(prior.layout, field)
        narrow = prior.at_each(prior.narrowing, self.weight, self.classes, field)
        narrow = narrow * math.log(2) / relative_entropy.SCALES_PER_OCTAVE
        last = n - fields.n_weights(prior.layout)  # those of the signal are the narrower, the more patches know them
        narrow[last:] -= 0.5 * math.log(max(1.0, field.n_patches / USUAL_PATCHES))
        zeros = jnp.zeros(n)
        self._state = State(
            zeros, jnp.asarray(narrow, jnp.float32), zeros,
            adam_start(zeros), zeros, jnp.ones(1), jnp.int32(0),
        )  # fmt: skip
        self._set_classes(self.classes)
        for _ in range(FIRST_ROUNDS):
            nearer = _nearer(prior.layout, field, self._shared, self._problem, self._state)
            self._state = self._state._replace(mean=nearer)
        self.blocks: list[Int[ndarray, " members"]] = []
        self.fill, self._counts = MAX_FILL, NumberCounts()

    def _set_classes(self, classes: Int[ndarray, " patches"]) -> None:
        self.classes = classes
        self._spread = self.prior.spread(self.weight, classes, self.field)
        self._problem = Problem(self._targets, self._inside, jnp.asarray(self._spread), jnp.float32(self._price))
        self._never(self.prior.at_each(self.prior.usual, self.weight, classes, self.field) == 0)

    def _set_blocks(self, blocks: list[Int[ndarray, " members"]]) -> None:
        """Latents of no block stay 0."""
        self.blocks = blocks
        never = np.ones(len(self._spread), bool)
        for members in blocks:
            never[members] = False
        self._never(never)

    def _never(self, where: Bool[ndarray, " latents"]) -> None:
        """These latents stay 0, and no others."""
        mean = jnp.where(jnp.asarray(where), 0.0, self._state.mean)
        self._state = self._state._replace(mean=mean, done=jnp.asarray(where, jnp.float32))

    def advance(self, steps: int, first_rate: float, last_rate: float, within: tuple[float, float]) -> bool:
        """Steps of the fit, at least `STEPS_AT_ONCE`; whether what is left is to be hurried."""
        calls = max(1, steps // STEPS_AT_ONCE)
        hurried = False
        for call in range(calls):
            rate = first_rate + (last_rate - first_rate) * call / calls
            self._state, error = _advance(
                self.prior.layout, self.field, self._shared, self._problem, self._state, jnp.float32(rate)
            )
            db = -10 * math.log10(max(float(error), 1e-12))
            hurried = self._watch(within[0] + (within[1] - within[0]) * (call + 1) / calls, f"{db:.2f} dB")
            if hurried:
                break
        return hurried

    def settle(self, part: float = 1.0) -> float:
        """The fit up to where it is known what is coded; the bits that this will take, about. `part`: of the steps."""
        steps, done, hurried = self._steps * part, 0.0, False
        for share in (*CLASS_SHARES, FIT_SHARE):
            wanted = STEPS_AT_ONCE if hurried else round((share - done) * steps)
            last = share == FIT_SHARE
            hurried = self.advance(wanted, 1.0, CODING_RATE if last else 1.0, (done, share)) or hurried
            if not last:
                self._choose_classes()
            done = share
        return self._choose_blocks()

    def _posterior(self) -> tuple[ndarray, ndarray]:
        mean, narrow = np.asarray(self._state.mean, np.float64), np.asarray(self._state.narrow, np.float64)
        return mean, np.maximum(np.exp(narrow), SMALLEST_DEVIATION)

    def _choose_classes(self) -> None:
        """Gives each patch the class under which it would cost least, were the network linear around where it is."""
        prior, n = self.prior, self.field.n_patches
        own = n * prior.layout.n_latents
        mean, deviation = (part[:own].reshape(n, -1) for part in self._posterior())
        spread = self._spread[:own].reshape(n, -1)
        gap = np.maximum(1 / deviation**2 - 1, LEAST_GAP)
        curvature = gap / spread**2  # twice that of the squared error, in nats of the price
        best = mean * spread * (1 + 1 / gap)  # where the squared error alone would have it
        costs, posteriors = [], []
        kinds = fields.kinds_of_latents(prior.layout)
        for k in range(prior.classes):
            level = self.weight * prior.classes + k
            wide = relative_entropy.scale_values(prior.scales[level, kinds]).astype(np.float64)
            square = 1 / (1 / wide**2 + curvature)
            centre = best * curvature * square
            nats = ((centre**2 + square) / wide**2 - 1 - np.log(square / wide**2)) / 2
            with_it = curvature / 2 * ((centre - best) ** 2 + square) + nats
            costs.append(np.where(prior.usual[level, kinds] > 0, with_it, curvature / 2 * best**2).sum(1))
            posteriors.append((centre / wide, np.log(np.sqrt(square) / wide)))
        choice = np.argmin(costs, 0)
        new = [np.stack([p[i] for p in posteriors])[choice, np.arange(n)].ravel() for i in range(2)]
        state = self._state
        zeros = jnp.zeros(state.mean.shape)
        self._state = state._replace(
            mean=state.mean.at[:own].set(jnp.asarray(new[0], jnp.float32)),
            narrow=state.narrow.at[:own].set(jnp.asarray(new[1], jnp.float32)),
            speed=zeros, moments=adam_start(zeros), step=jnp.int32(0),
        )  # fmt: skip
        self._set_classes(choice)

    def _choose_blocks(self) -> float:
        """As many as are worth their bits, filled with what latents take here."""
        mean, deviation = self._posterior()
        gap = np.maximum(1 - deviation**2, LEAST_GAP)
        gain = (mean**2 / (2 * deviation**2 * gap) - gap / 2) / math.log(2)  # bits that coding a latent is worth
        taken = ((mean**2 + deviation**2 - 1) / 2 - np.log(deviation)) / math.log(2)
        parts = list(self.prior.parts(self.weight, self.classes, self.field))
        worth = np.cumsum([float((gain - taken)[members].sum()) for _, members in parts])
        count = int(np.argmax(np.concatenate([[0.0], worth])))
        usual = sum(units * len(members) for units, members in parts[:count]) / UNITS_PER_BIT
        really = sum(float(taken[members].sum()) for _, members in parts[:count])
        self.fill = int(np.clip(round(BLOCK_BITS * FILLS_PER_BIT * usual / max(really, TINY)), LEAST_FILL, MAX_FILL))
        n, blocks = sum(len(members) for _, members in parts[:count]), []
        for _, members in self.prior.blocks(self.weight, self.classes, self.field, self.fill) if n else ():
            blocks.append(members)
            n -= len(members)
            if n <= 0:
                break
        self._set_blocks(blocks)
        return really

    def code(self) -> CodedField:
        """Codes block after block."""
        blocks, steps = self.blocks, (1 - FIT_SHARE) * self._steps
        rounds = max(1, min(ROUNDS, int(steps / STEPS_AT_ONCE), len(blocks)))
        coded: list[Block] = []
        hurried = False
        for i, part in enumerate(np.array_split(np.arange(len(blocks)), rounds)):
            coded += self._code_blocks([blocks[number] for number in part])
            now, end = (FIT_SHARE + (1 - FIT_SHARE) * (i + j) / rounds for j in range(2))
            if i + 1 < rounds and not hurried:
                rate = CODING_RATE * 10 ** (-(i + 1) / rounds)
                hurried = self.advance(round(steps / rounds), rate, rate, (now, end))
            else:
                self._watch(end, f"{len(coded)} of {len(blocks)} blocks")
        coded = coded[: parted_blocks.useful(coded)]
        return CodedField(self.weight, self.classes, self.fill, coded[: parted_blocks.tellable(coded)])

    def _code_blocks(self, blocks: list[Int[ndarray, " members"]]) -> list[Block]:
        """What blocks are coded as; their latents are so from now on."""
        mean, deviation = self._posterior()
        new_mean, done = np.asarray(self._state.mean).copy(), np.asarray(self._state.done).copy()
        scales = self.prior.at_each(self.prior.scales, self.weight, self.classes, self.field)
        every = [part_search.latents_of(mean[members], deviation[members]) for members in blocks]
        found = part_search.blocks_of(self._counts, every, min(self.prior.bits, MAX_BITS))
        for block, members in zip(found, blocks, strict=True):
            parted_blocks.learn(self._counts, block, len(members))
            new_mean[members] = parted_blocks.values(block, scales[members]) / self._spread[members]
            done[members] = 1
        self._state = self._state._replace(mean=jnp.asarray(new_mean), done=jnp.asarray(done))
        return found


@functools.partial(jax.jit, static_argnums=(0, 1))
def _nearer(layout: Layout, field: Field, shared: Shared, problem: Problem, state: State) -> Array:
    """Means that would be best under the prior if the network were linear where it is: by conjugate gradients, each
    latent in deviations of its posterior. Steps of a fit are of such deviations, too, and would take long.
    """
    # what weights do is far from linear: they stay as they are
    n_grids = layout.n_latents - fields.n_weights(layout)
    of_grids = np.zeros(len(state.mean), np.float32)
    of_grids[: field.n_patches * layout.n_latents].reshape(field.n_patches, -1)[:, :n_grids] = 1
    unit = jnp.exp(state.narrow) * (1 - state.done) * of_grids

    def errors(changes: Array) -> Array:
        """The network's values, such that the sum of their squares is the cost in nats."""
        latents = ((state.mean + unit * changes) * problem.spread)[None]
        values = fields.evaluate(layout, shared, field.counts, fields.combined(layout, field, latents, jnp), jnp)[0]
        factor = jnp.sqrt(math.log(2) / (layout.channels * problem.inside.sum() * problem.price))
        weighted: Array = (values - problem.targets) * problem.inside[..., None] * factor
        return weighted

    return state.mean + unit * best_changes(errors, state.mean, unit, FIRST_STEPS)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=4)
def _advance(
    layout: Layout, field: Field, shared: Shared, problem: Problem, state: State, rate: Array
) -> tuple[State, Array]:
    """A few steps, and the squared error of the last."""

    def cost(posterior: tuple[Array, Array], noise: Array, done: Array) -> tuple[Array, Array]:
        mean, narrow = posterior
        free = 1 - done
        latents = (mean + free * noise * jnp.exp(narrow)) * problem.spread
        bits = (divergence(mean, jnp.exp(narrow), jnp.ones(())) * free).sum()
        values = fields.evaluate(layout, shared, field.counts, fields.combined(layout, field, latents[None], jnp), jnp)
        squares = jnp.mean((values[0] - problem.targets) ** 2, -1) * problem.inside
        error = squares.sum() / problem.inside.sum()
        return error / problem.price + bits, error

    def step(state: State, _: None) -> tuple[State, Array]:
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), state.step), state.mean.shape)
        gradient, error = jax.grad(cost, has_aux=True)((state.mean, state.narrow), noise, state.done)
        return descended(state, gradient, rate), error

    state, errors = jax.lax.scan(step, state, None, length=STEPS_AT_ONCE)
    return state, errors[-1]
