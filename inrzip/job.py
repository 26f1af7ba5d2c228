"""A compression under way: its clock, its checkpoint, its progress display and its user's wish to stop."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .checkpoint import Checkpoint, Progressing
from .examples import Examples
from .fitting import FitState, Schedule, TrainableT, fit, start
from .progress import Progress, ProgressCallback

TreeT = TypeVar("TreeT")

LEAST_STEPS = 50
"""Steps of a fit that begins after its user asked to stop."""


class Job:
    """Runs fits by name. A fit that the checkpoint knows is not run again, and a half-done one goes on where it stood.

    `share`, the part of the whole job that is being worked on as (start, end) fractions, is set by the caller as it
    goes.
    """

    def __init__(self, checkpoint: Checkpoint, progress: ProgressCallback | None, stop: Callable[[], bool] | None):
        self.checkpoint = checkpoint
        self.share = (0.0, 1.0)
        self.label = ""
        self._progress = progress
        self._stop = stop
        self._begun = time.monotonic()
        self._told = 0.0

    @property
    def stopping(self) -> bool:
        """Whether the user wants the best result so far now."""
        return self._stop is not None and self._stop()

    def tell(self, stage: str, done: float = 0.0, detail: str = "", seconds_left: float | None = None) -> None:
        """Reports that `done` (0 to 1) of the current share is complete."""
        if self._progress is None:
            return
        low, high = self.share
        fraction = self._told = max(self._told, low + (high - low) * done)  # a bar that falls back would confuse
        elapsed = time.monotonic() - self._begun
        if seconds_left is None and fraction > 0.02:
            seconds_left = elapsed / fraction * (1 - fraction)
        self._progress(Progress(stage, min(fraction, 1.0), seconds_left, " ".join(filter(None, (self.label, detail)))))

    def fit(
        self,
        name: str,
        module: TrainableT,
        examples: Examples,
        schedule: Schedule,
        *,
        deadline: float | None = None,
        describe: Callable[[float], str] = lambda loss: "",
        within: tuple[float, float] = (0.0, 1.0),
    ) -> TrainableT:
        """`inrzip.fitting.fit`, with memory. `describe` turns a loss into words for the progress display; `within` is
        the part of the current share that this fit takes.
        """
        static: Any = eqx.filter(module, eqx.is_inexact_array, inverse=True)
        begin = start(module, schedule.loss)
        known = self.finished(name, begin.parameters)
        if known is not None:
            return cast(TrainableT, eqx.combine(known, static))
        n_steps = min(schedule.n_steps, LEAST_STEPS) if self.stopping else schedule.n_steps

        def watch(state: FitState, loss: float, n_steps: int, seconds_left: float) -> bool:
            done = within[0] + (within[1] - within[0]) * int(state.step) / max(n_steps, 1)
            self.watch(name, state, done, describe(loss))
            return self.stopping and int(state.step) >= LEAST_STEPS

        state = self.interrupted(name, begin)
        shorter = dataclasses.replace(schedule, n_steps=n_steps)
        fitted = fit(module, examples, shorter, state=state, deadline=deadline, watch=watch)
        self.finish(name, eqx.filter(fitted, eqx.is_inexact_array))
        return fitted

    def finished(self, name: str, like: TreeT) -> TreeT | None:
        """The result of a fit that an earlier run finished, if there is one with arrays like these."""
        saved = self.checkpoint.fits.get(name)
        return None if saved is None or not _alike(like, saved) else cast(TreeT, _fill(like, saved))

    def interrupted(self, name: str, begin: TreeT) -> TreeT:
        """Where the fit of that name stood when an earlier run ended, or else `begin`."""
        current = self.checkpoint.current
        if current is None or current.name != name or not _alike(begin, current.leaves):
            return begin
        return cast(TreeT, _fill(begin, current.leaves))

    def watch(self, name: str, state: PyTree[Array], done: float, detail: str) -> None:
        """To be called about once a second while fitting: shows how far it is, and saves the state at times."""
        self.tell("fitting", done, detail)
        if self.checkpoint.due:
            self.checkpoint.save_if_due(Progressing(name, _leaves(state)))

    def finish(self, name: str, result: PyTree[Array]) -> None:
        """Keeps the result of a fit."""
        self.checkpoint.finish_fit(name, _leaves(result))


def _leaves(tree: PyTree[Array]) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def _alike(tree: Any, leaves: list[np.ndarray]) -> bool:
    """Whether saved leaves can be those of `tree`."""
    return [leaf.shape for leaf in jax.tree.leaves(tree)] == [leaf.shape for leaf in leaves]


def _fill(tree: Any, leaves: list[np.ndarray]) -> Any:
    return jax.tree.unflatten(jax.tree.structure(tree), [jnp.asarray(leaf) for leaf in leaves])
