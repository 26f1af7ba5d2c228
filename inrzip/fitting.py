"""The fitting loop: one compiled program that makes many steps, and a host that only watches the clock.

A fit is a `FitState` that `advance` moves forward. The state holds all that the next step depends on (parameters,
moments, the step's number; random draws are functions of that number), so a fit that was saved and resumed ends as an
unbroken one does.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from inrzip.architectures.base import Trainable

from .descent import Soap, soap, soap_start, turned
from .examples import POINTS_PER_BLOCK, Examples

WARM_UP = 0.1
DECAYS = (0.9, 0.99)
"""Of SOAP's running means. 0.95 and 0.95, 0.95 and 0.99, 0.9 and 0.999: none was better on both a NeRV and a SIREN."""
SOON, SELDOM = 5, 80
"""The axes of SOAP are found anew after so many steps at first, and in the end."""
SETTLING = 10
"""Between them, after about the steps that there were, over this."""
SECONDS_BETWEEN_REPORTS = 1.0
SPIKE = 10.0
"""A loss this many times the best one means that the fit has gone astray: it goes back, and on at half the learning
rate.
"""
ASTRAY = 1.5
PATIENCE = 3
"""Mean losses between judgements that are `ASTRAY` times the best one, `PATIENCE` times in a row, mean the same.
Networks of sines that are fitted too fast do not diverge, but end at the mean of the signal, which is within some dB of
where a fit begins; while what recovers by itself is left alone.
"""
PACE_MEMORY = 0.7
"""How much of the pace seen before counts, beside that of the last chunk."""
LEAST_JUDGED = 4
"""Steps whose mean loss is trusted to find the best parameters."""
JUDGEMENTS = 50
MOST_JUDGED = 500
"""The parameters are compared with the best so many times in a fit, or after so many steps, in whole epochs: else the
best would be those that met the easiest frames. That is at fixed steps, not where the clock happens to end a call, so
that a fit has the same result however fast it runs. A fit with a deadline counts on the steps that it is seen to have.
"""


TrainableT = TypeVar("TrainableT", bound=Trainable)


class FitState(eqx.Module):
    """Where a fit stands. All leaves are arrays, so that it can be saved."""

    parameters: PyTree[Array]
    moments: Soap
    step: Int[Array, ""]
    best: PyTree[Array]
    best_loss: Float[Array, ""]
    recent: Float[Array, ""]  # sum of the losses since the parameters were last compared with the best
    n_recent: Int[Array, ""]
    pace: Float[Array, ""]  # what the schedule's learning rate is multiplied with: halved when the fit goes astray
    n_worse: Int[Array, ""]  # judgements in a row that found it far from the best


@dataclasses.dataclass(frozen=True)
class Schedule:
    """`n_steps` of SOAP (whole epochs of them, if there is one), the learning rate warming up to `peak` and falling to
    zero as a cosine. `loss` is what the fit begins with, if that is known: it then ends with no worse.
    """

    n_steps: int
    peak: float
    loss: float = math.inf


def start(module: eqx.Module, loss: float = math.inf) -> FitState:
    """The state before the first step; `loss` is that of `module`, if it is known."""
    parameters = eqx.filter(module, eqx.is_inexact_array)
    moments = soap_start(_matrices(parameters))
    zero, one, best = jnp.float32(0), jnp.float32(1), jnp.float32(loss)
    return FitState(parameters, moments, jnp.int32(0), parameters, best, zero, jnp.int32(0), one, jnp.int32(0))


def _matrices(arrays: PyTree[Array]) -> PyTree[Array]:
    """Arrays of more axes as matrices, with the last axis as columns: of a convolution, its outputs."""
    return jax.tree.map(lambda a: a.reshape(-1, a.shape[-1]) if a.ndim > 2 else a, arrays)


def _loss(arrays: PyTree[Array], static: PyTree[Any], inputs: Array, targets: Array) -> Float[Array, ""]:
    module: Trainable = eqx.combine(arrays, static)
    return module.training_loss(inputs, targets)


_LossAndGradient = tuple[Float[Array, ""], PyTree[Array]]


def _prepared(module: Trainable) -> tuple[Trainable, Float[Array, ""]]:
    """What predicts, and the penalty. A constraint stands around a network that may itself be made of its arrays."""
    network, penalty = module.prepare()
    made, more = network.prepare()
    return made, penalty + more


def _loss_and_gradient(module: Trainable, inputs: Array, targets: Array) -> _LossAndGradient:
    """Mean squared error and penalty, and their gradient by the arrays of `module`."""
    (prepared, penalty), pull_back = eqx.filter_vjp(_prepared, module)
    arrays, static = eqx.partition(prepared, eqx.is_inexact_array)
    error, gradient = _error_and_gradient(arrays, static, inputs, targets)
    return error + penalty, pull_back((gradient, jnp.ones_like(penalty)))[0]


def _error_and_gradient(arrays: PyTree[Array], static: PyTree[Any], inputs: Array, targets: Array) -> _LossAndGradient:
    """Mean squared error and its gradient; point batches block by block."""
    evaluate: Callable[..., _LossAndGradient] = jax.value_and_grad(_loss)
    n_blocks = inputs.shape[0] // POINTS_PER_BLOCK
    if inputs.ndim != 2 or targets.ndim != 2 or n_blocks < 2:
        return evaluate(arrays, static, inputs, targets)

    def body(total: _LossAndGradient, block: tuple[Array, Array]) -> tuple[_LossAndGradient, None]:
        return jax.tree.map(jnp.add, total, evaluate(arrays, static, *block)), None

    def cut(points: Array) -> Array:
        return points.reshape(n_blocks, POINTS_PER_BLOCK, points.shape[-1])

    zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, arrays))
    total, _ = jax.lax.scan(body, zero, (cut(inputs), cut(targets)))
    mean: _LossAndGradient = jax.tree.map(lambda x: x / n_blocks, total)
    return mean


def learning_rate(step: Array, n_steps: Array, peak: Array) -> Array:
    """Linear warm-up, then a cosine to zero."""
    done = step / n_steps
    return peak * jnp.minimum(done / WARM_UP, 1.0) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(done, 1.0)))


Clock = tuple[Int[Array, ""], Float[Array, ""], PRNGKeyArray]
"""What a step's learning rate and random draws depend on besides its number: steps in all, peak learning rate, key."""


def _one_step(
    state: FitState, static: PyTree[Any], examples: Examples, clock: Clock
) -> tuple[FitState, Float[Array, ""]]:
    n_steps, peak, key = clock
    inputs, targets = examples.batch(jax.random.fold_in(key, state.step), state.step)
    loss, gradient = _loss_and_gradient(eqx.combine(state.parameters, static), inputs, targets)
    moves, moments = soap(_matrices(gradient), state.moments, state.step, DECAYS)
    rate = learning_rate(state.step + 1, n_steps, peak) * state.pace
    moved = jax.tree.map(lambda w, m: w - rate * m.reshape(w.shape), state.parameters, moves)
    recent, n_recent = state.recent + loss, state.n_recent + 1
    best = state.best, state.best_loss
    return FitState(moved, moments, state.step + 1, *best, recent, n_recent, state.pace, state.n_worse), loss


_single_step = eqx.filter_jit(_one_step)


@eqx.filter_jit
def _loop(
    state: FitState,
    static: PyTree[Any],
    examples: Examples,
    clock: Clock,
    count: Int[Array, ""],
) -> tuple[FitState, Float[Array, ""]]:
    def body(_: Array, carry: tuple[FitState, Array]) -> tuple[FitState, Array]:
        state, loss = _one_step(carry[0], static, examples, clock)
        return state, carry[1] + loss

    final: tuple[FitState, Array] = jax.lax.fori_loop(0, count, body, (state, jnp.float32(0)))
    return final


@eqx.filter_jit
def _judge(state: FitState) -> FitState:
    """Keeps the parameters if the steps that led to them were better than any before."""
    mean = state.recent / state.n_recent
    better = (mean < state.best_loss) & (state.n_recent >= LEAST_JUDGED)
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.parameters, state.best)
    best_loss = jnp.where(better, mean, state.best_loss)
    n_worse = jnp.where(mean > ASTRAY * state.best_loss, state.n_worse + 1, 0)
    fresh = best, best_loss, jnp.float32(0), jnp.int32(0)
    return FitState(state.parameters, state.moments, state.step, *fresh, state.pace, n_worse)


def _advance(
    state: FitState, static: PyTree[Any], examples: Examples, clock: Clock, count: int
) -> tuple[FitState, float]:
    """`count` steps; returns the new state and the mean loss on the way.

    Point-wise networks run the loop inside one program. Convolutions inside a loop are compiled without their fast
    kernels on CPUs (measured: 7 times slower), so networks of whole frames make one call a step.
    """
    if examples.compiled_loop:
        state, total = _loop(state, static, examples, clock, jnp.int32(count))
    else:
        total = jnp.float32(0)
        for _ in range(count):
            state, loss = _single_step(state, static, examples, clock)
            total = total + loss
    return state, float(total / count)


def fit(
    module: TrainableT,
    examples: Examples,
    schedule: Schedule,
    *,
    seed: int = 0,
    state: FitState | None = None,
    deadline: float | None = None,
    watch: Callable[[FitState, float, int, float], bool] | None = None,
) -> TrainableT:
    """Fits `module` to `examples` and returns it with the best parameters seen.

    `state`: where an interrupted fit stood. `deadline` (as of `time.monotonic`): the schedule is shortened so that it
    ends by then, as its pace is seen to be. `watch(state, loss, n_steps, seconds_left)` is called about once a second,
    and ends the fit by returning True.
    """
    state = start(module, schedule.loss) if state is None else state
    static = eqx.filter(module, eqx.is_inexact_array, inverse=True)
    key = jax.random.key(seed)
    epoch = examples.steps_per_epoch
    scheduled = _whole(schedule.n_steps, epoch) or schedule.n_steps
    n_steps = scheduled
    interval, settled = _judged_after(n_steps, epoch), deadline is None
    longest, pace = 1, None
    while int(state.step) < n_steps:
        step, turn = int(state.step), _turned_after(int(state.step))
        count = min(longest, n_steps - step, interval - step % interval, turn - step % turn)
        begun = time.monotonic()
        clock = (jnp.int32(n_steps), jnp.float32(schedule.peak), key)
        state, loss = _advance(state, static, examples, clock, count)
        if int(state.step) % turn == 0:
            state = dataclasses.replace(state, moments=turned(state.moments))
        seconds = time.monotonic() - begun
        if int(state.step) % interval == 0:
            state = _judge(state)
            state = _recover(state) if int(state.n_worse) >= PATIENCE else state
        if pace is None:  # the first call compiled; what it tells about the pace is worthless
            pace = 0.0
            continue
        pace = seconds / count if pace == 0 else PACE_MEMORY * pace + (1 - PACE_MEMORY) * seconds / count
        if deadline is not None:
            n_steps = min(scheduled, int(state.step) + max(int((deadline - time.monotonic()) / pace), 0))
            if not settled and count >= LEAST_JUDGED:  # a call long enough to tell the pace
                interval, settled = _judged_after(n_steps, epoch), True
        if not np.isfinite(loss) or loss > SPIKE * float(state.best_loss):
            state = _recover(state)
        if watch is not None and watch(state, loss, n_steps, (n_steps - int(state.step)) * pace):
            break
        longest = max(1, min(int(SECONDS_BETWEEN_REPORTS / max(pace, 1e-6)), 4 * longest))
    if 2 * int(state.n_recent) >= interval:
        state = _judge(state)
    kept = state.best if np.isfinite(float(state.best_loss)) else state.parameters
    fitted: TrainableT = eqx.combine(kept, static)
    return fitted


def _judged_after(n_steps: int, epoch: int) -> int:
    """Steps between judgements."""
    return max(_whole(min(max(LEAST_JUDGED, n_steps // JUDGEMENTS), MOST_JUDGED), epoch), epoch)


def _turned_after(step: int) -> int:
    """Steps between two turns of the axes, around this step. They double, and at multiples of themselves: so turns are
    at the same steps however a fit is cut into calls.
    """
    n_doublings = max((step // (SOON * SETTLING)).bit_length() - 1, 0)
    return min(SOON << n_doublings, SELDOM)


def _whole(n_steps: int, epoch: int) -> int:
    """The multiple of `epoch` at or below `n_steps`."""
    return n_steps // epoch * epoch


def _recover(state: FitState) -> FitState:
    """After a divergence: back to the best parameters, with fresh moments, and on at half the learning rate."""
    moments = soap_start(_matrices(state.parameters))
    fresh = state.best, state.best_loss, jnp.float32(0), jnp.int32(0)
    return FitState(state.best, moments, state.step, *fresh, state.pace / 2, jnp.int32(0))
