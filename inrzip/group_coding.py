"""One group of frames as changes of the group before: fit, and code, at a price for each bit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from inrzip.architectures.nirvana import MAX_CHAIN
from inrzip.architectures.scenes import begins_scene
from inrzip.codecs.uniform import bit_price
from inrzip.codecs.weights import QuantisedTensor

from .change_fit import Changing, levels_of, rounded_like
from .errors import InrzipError
from .fitting import Schedule
from .goals import encode_to_size
from .group_chain import Group, encode_changes, encode_whole, has_steps
from .job import Job
from .network import dequantise_network
from .rate_tuning import PRICE_SHARE
from .segment import Quantised, Task, module_loss
from .sensitivity import sensitivities

CHANGE_STEPS = 0.25
"""Steps of a group that starts from the one before, as a part of those of a first one."""
CHANGE_PEAK = 0.25
"""Its largest learning rate, as a part of a first fit's."""
MOSTLY_CHANGED = 0.4
"""A group of which this part of the integers changed is also coded whole, to see which is shorter."""
THINNING_ROUNDS = 10


def is_forced(before: Group) -> bool:
    """Whether the group after `before` has to be coded whole, so that a frame can be found without many others."""
    return before.config.chain >= MAX_CHAIN


def starts_afresh(task: Task, before: Group, anyhow: bool = True) -> bool:
    """Whether a group has nothing to gain from the one before: its integers are no numbers of steps, or (`anyhow`) a
    scene begins.
    """
    if not has_steps(before.tensors):
        return True
    assert task.samples is not None
    span = (task.spec.high - task.spec.low) or 1.0
    variance = float(np.mean(np.var(task.samples.astype(np.float64) / span, axis=(0, 1, 2))))
    return anyhow and begins_scene(module_loss(task, before.network(task.grid)), variance)


class ChangeTask:
    """A group that is fitted, once or several times, from the network of the group before."""

    def __init__(self, task: Task, before: Group, job: Job):
        self._task = task
        self._before = before
        self._job = job
        self._network = before.network(task.grid)
        self._sensitivity = sensitivities(self._network, task.examples)
        self._price = PRICE_SHARE * bit_price(_level(before.tensors, self._sensitivity))
        self._tensors = before.tensors
        self._round = 0

    def encode(self, factor: float) -> bytes:
        """The payload after a fit in which a bit costs `factor` times what it is worth at the level of the steps.
        Another call goes on from there.
        """
        task, before = self._task, self._before
        price = 0.0 if is_forced(before) else factor * self._price
        n_steps = max(1, round(task.schedule.n_steps * CHANGE_STEPS / (1 + self._round)))
        peak = before.config.learning_rate(task.schedule.peak, n_steps) * CHANGE_PEAK
        fitted = self._job.fit(
            f"{task.name}/changes{self._round}",
            Changing(self._network, before.tensors, price),
            task.examples,
            Schedule(n_steps, peak),
            deadline=task.deadline,
            describe=lambda loss: f"{task.db(loss):.2f} dB (changes)",
        )
        self._network, self._round = fitted.network, self._round + 1
        candidates = [rounded_like(fitted.network, before.tensors), before.tensors]
        payloads = [self._payload(tensors) for tensors in candidates]
        costs = [
            self._loss(tensors) + 8 * price * len(data) for tensors, data in zip(candidates, payloads, strict=True)
        ]
        chosen = costs.index(min(costs))
        self._tensors = candidates[chosen]
        return payloads[chosen]

    def db(self) -> float:
        """PSNR in dB of what was coded last, over all frames."""
        return Quantised(self._network, self._tensors).db(self._task, everything=True)

    def _loss(self, tensors: list[QuantisedTensor]) -> float:
        return module_loss(self._task, dequantise_network(self._network, tensors))

    def _payload(self, tensors: list[QuantisedTensor]) -> bytes:
        """Whichever is shorter, where either is possible: changes, or all integers."""
        before, coders = self._before, self._task.codec.coders
        whole = Group(dataclasses.replace(before.config, chain=0), tensors)
        if is_forced(before):
            return encode_whole(whole, coders)
        following = Group(dataclasses.replace(before.config, chain=before.config.chain + 1), tensors)
        changes = encode_changes(following, before, coders)
        changed = sum(int((a.integers != b.integers).sum()) for a, b in zip(tensors, before.tensors, strict=True))
        if changed <= MOSTLY_CHANGED * sum(tensor.integers.size for tensor in tensors):
            return changes
        return min(changes, encode_whole(whole, coders), key=len)

    def within(self, cap: int) -> bytes:
        """What was coded last in `cap` bytes at most: with those changes that matter most; or, where it must be whole,
        fitted anew. Raises InrzipError if nothing is so small.
        """
        if is_forced(self._before):
            return encode_to_size(self._task, cap, self._job)
        pairs = list(zip(self._tensors, self._before.tensors, strict=True))
        weights = [
            np.abs(new.integers - old.integers) * levels_of(old).steps() * math.sqrt(own)
            for (new, old), own in zip(pairs, self._sensitivity, strict=True)
        ]
        flat = np.concatenate([each.ravel() for each in weights])
        order = np.argsort(-flat, kind="stable")
        found, low, high = self._payload(self._before.tensors), 0, int(np.count_nonzero(flat))
        for _ in range(THINNING_ROUNDS):
            middle = (low + high) // 2
            if middle == low:
                break
            kept = np.zeros(len(flat), bool)
            kept[order[:middle]] = True
            data = self._payload(_only(pairs, kept))
            low, high, found = (middle, high, data) if len(data) <= cap else (low, middle, found)
        if len(found) > cap:
            raise InrzipError(f"a size of {cap} bytes for a segment cannot be reached; it takes {len(found)} at least")
        return found


def _only(
    pairs: Sequence[tuple[QuantisedTensor, QuantisedTensor]], kept: Bool[np.ndarray, " integers"]
) -> list[QuantisedTensor]:
    """Of (new, old) tensors the new integers where those of all tensors, in a row, are `kept`; elsewhere the old
    ones.
    """
    tensors, start = [], 0
    for new, old in pairs:
        own = kept[start : start + old.integers.size].reshape(old.integers.shape)
        tensors.append(QuantisedTensor(np.where(own, new.integers, old.integers), old.levels))
        start += old.integers.size
    return tensors


def _level(tensors: Sequence[QuantisedTensor], sensitivity: Sequence[float]) -> float:
    """The level at which `allocate_steps` makes such steps: their geometric mean, in units of what tensors matter."""
    logs = [
        float(np.mean(np.log(levels_of(tensor).steps()))) + math.log(own) / 2
        for tensor, own in zip(tensors, sensitivity, strict=True)
        if own > 0
    ]
    return math.exp(sum(logs) / len(logs)) if logs else 1.0
