"""A video of groups of frames to a goal (NIRVANA): how many bytes each group gets.

A group that begins a scene is coded like any other recipe's segment (`inrzip.goals`, `inrzip.psnr_goal`). The next ones
are coded as changes (`inrzip.group_coding`), at the same price for a bit: groups that move take more bytes, and those
that stand still next to none. To a size, a quick pass over the video comes first, which tells what each group takes at
one price; then the real one, whose price is corrected as the budget runs.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence

from inrzip.architectures.base import Grid
from inrzip.codecs.weights import TAGGED_FROM

from .errors import InrzipError, TargetMissed
from .goals import encode_to_size
from .group_chain import Group, decode_group
from .group_coding import CHANGE_STEPS, ChangeTask, is_forced, starts_afresh
from .job import Job
from .psnr_goal import WINDOW_DB, encode_to_psnr
from .segment import Coded, Goal, Task

PILOT_STEPS = 0.25
"""Steps of the quick pass, as a part of those of the real one."""
PILOT_TIME = 0.2
"""What of the progress display it takes."""
CHANGE_SHARE = 0.35
"""What changes take at first guess, as a part of what a whole network takes."""
LEAST_SHARE = 0.92
"""A file below this part of the size asked for is coded again, with other shares for its groups."""
MAX_PASSES = 2
MOST_ROUNDS = 3
"""Fits of a group of more bytes than there are, or of a last one of fewer, at prices that follow."""
OVERDRAWN = 1.5
"""What a price is multiplied with, at least, where a group takes more bytes than there are."""
MOST_CORRECTION = 3.0
"""What a price is multiplied with, or divided by, from group to group at most."""
FACTOR_RANGE = (1e-3, 1e3)
"""How far a price may go from what the level of the steps makes of it."""
QUALITY_ROUNDS = 3
QUALITY_FACTOR = 4.0
"""Fits of a group to a PSNR, and what its price is divided by if the last did not reach it."""
IDLE_BYTES = 48
"""What a group without changes takes, about: so much is kept for each group to come."""
SMALLEST_WHOLE = 24

Tasks = Callable[[int, float | None], Task]
"""The task of a group, by its number, with a deadline."""


@dataclasses.dataclass(frozen=True)
class Groups:
    """The groups of a video: the grid of each, where their tasks come from, and when all must be done (as of
    `time.monotonic`).
    """

    grids: Sequence[Grid]
    task: Tasks
    deadline: float | None


class Budget:
    """Bytes of a pass. Shares are in proportion to what groups are `expected` to take, of what is left.

    Not `exact`: shares stay as they were, and the price too, so that sizes can be compared.
    """

    def __init__(self, size: int, expected: Sequence[float], exact: bool = True):
        self._left = size
        self._expected = expected
        self._rest = list(itertools.accumulate(reversed(expected)))[::-1]
        self._exact = exact
        self.factor = 1.0
        """What the price of a bit is multiplied with."""

    def share(self, index: int) -> int:
        """What a group should take."""
        rest = self._rest[index if self._exact else 0]
        return min(int(self._left * self._expected[index] / max(rest, 1)), self.cap(index))

    def cap(self, index: int) -> int:
        """What it may take."""
        return self._left - IDLE_BYTES * (len(self._expected) - 1 - index)

    def spend(self, index: int, payload: bytes, changes: bool) -> None:
        """Takes note of a group that is coded, whole or as changes, and corrects the price."""
        if not self._exact:
            return
        if changes:
            self.correct(len(payload) / max(self.share(index), 1))
        self._left -= len(payload)

    def correct(self, ratio: float) -> None:
        """After changes took `ratio` times what they should."""
        factor = self.factor * min(max(ratio, 1 / MOST_CORRECTION), MOST_CORRECTION)
        self.factor = min(max(factor, FACTOR_RANGE[0]), FACTOR_RANGE[1])


Encode = Callable[[int, Task, Group | None, Job], Coded]
"""Codes a group, given the one before (None: there is none)."""
Spend = Callable[[int, bytes, bool], None]


def encode_groups(groups: Groups, goal: Goal, job: Job) -> list[Coded]:
    """The payloads of all groups; `goal.size` is of all together, in bytes, and never exceeded. Raises InrzipError."""
    n = len(groups.grids)
    expected: Sequence[float] = [1.0] + [CHANGE_SHARE] * (n - 1)
    if goal.psnr_db is not None:
        return _to_quality(groups, int(goal.size / sum(expected)), goal.psnr_db, job)
    if goal.size < SMALLEST_WHOLE + IDLE_BYTES * (n - 1):
        least = SMALLEST_WHOLE + IDLE_BYTES * (n - 1)
        raise TargetMissed(f"{goal.size} bytes are too few for {n} groups of frames, which need {least}")
    if n > 1 and groups.deadline is None:  # where time is limited, the real pass needs all of it
        outline = _pass(groups, Budget(goal.size, expected, exact=False), job, 0)
        expected = [len(coded.payload) for coded in outline]
    best: list[Coded] = []
    for number in range(1, MAX_PASSES + 1):
        found = _pass(groups, Budget(goal.size, expected), job, number)
        best = max(best, found, key=_total)
        enough = _total(found) >= LEAST_SHARE * goal.size or n == 1
        if enough or job.stopping or groups.deadline is not None:
            break
        expected = [len(coded.payload) for coded in found]
    return best


def _total(coded: Sequence[Coded]) -> int:
    return sum(len(each.payload) for each in coded)


def _pass(groups: Groups, budget: Budget, job: Job, number: int) -> list[Coded]:
    """All groups to a size; pass 0 is the quick one."""
    quick, last = number == 0, len(groups.grids) - 1

    def encode(index: int, task: Task, before: Group | None, job: Job) -> Coded:
        return _encode_to_share(index, task, before, budget, job, index == last and not quick)

    return _run(groups, encode, budget.spend, job, number, quick)


def _to_quality(groups: Groups, size: int, psnr_db: float, job: Job) -> list[Coded]:
    """All groups to a PSNR; `size` is the first guess for one that is coded whole."""

    def encode(index: int, task: Task, before: Group | None, job: Job) -> Coded:
        return _encode_to_quality(task, before, size, psnr_db, job)

    return _run(groups, encode, lambda index, payload, changes: None, job, 0, quick=False)


def _run(groups: Groups, encode: Encode, spend: Spend, job: Job, number: int, quick: bool) -> list[Coded]:
    """One pass over the video. What an interrupted job has coded is not coded again, but counts like the rest."""
    coded: list[Coded] = []
    before: Group | None = None
    n, known, whole_share = len(groups.grids), job.checkpoint, job.share
    deadline = groups.deadline
    for i, grid in enumerate(groups.grids):
        job.label = f"segment {i + 1}/{n}" if n > 1 else ""
        job.share = _share_of(whole_share, number, n > 1, i / n, (i + 1) / n)
        place = number * n + i
        if place not in known.payloads:
            task = _shortened(groups.task(i, _time_of(deadline, i, n)), f"pass{number}/", PILOT_STEPS if quick else 1)
            found = encode(i, task, before, job)
            known.finish_segment(place, found.payload, found.note)
        payload = known.payloads[place]
        before = decode_group(payload, grid, before, None, TAGGED_FROM)
        spend(i, payload, before.config.chain > 0)
        coded.append(Coded(payload, known.notes.get(place)))
    job.share = whole_share
    return coded


def _share_of(whole: tuple[float, float], number: int, piloted: bool, *bounds: float) -> tuple[float, float]:
    """The part of a job's progress that lies between two parts of a pass."""
    pilot = PILOT_TIME if piloted else 0.0
    low, high = (0.0, pilot) if number == 0 and piloted else (pilot, 1.0)
    first, second = (whole[0] + (whole[1] - whole[0]) * (low + (high - low) * bound) for bound in bounds)
    return first, second


def _shortened(task: Task, prefix: str, share: float) -> Task:
    """The task with a name of its own, and a part of its steps."""
    schedule = dataclasses.replace(task.schedule, n_steps=max(1, round(task.schedule.n_steps * share)))
    return dataclasses.replace(task, name=prefix + task.name, schedule=schedule)


def _time_of(deadline: float | None, index: int, n: int) -> float | None:
    """When a group has to be done: the first takes as long as several others."""
    left = n - 1 - index + (1 / CHANGE_STEPS if index == 0 else 1)
    return None if deadline is None else _part_of(deadline, (1 / CHANGE_STEPS if index == 0 else 1) / left)


def _part_of(deadline: float, share: float) -> float:
    now = time.monotonic()
    return now + max(deadline - now, 0.0) * share


def _encode_to_share(index: int, task: Task, before: Group | None, budget: Budget, job: Job, is_last: bool) -> Coded:
    """A group of about its share of the budget."""
    if before is None or starts_afresh(task, before):
        try:
            return Coded(encode_to_size(task, budget.share(index), job))
        except InrzipError:
            if before is None or starts_afresh(task, before, anyhow=False):
                raise
    changing, best = ChangeTask(task, before, job), b""
    share, cap = max(budget.share(index), 1), budget.cap(index)
    for _ in range(MOST_ROUNDS):
        data = changing.encode(budget.factor)
        best = max(best, data, key=len) if len(data) <= cap else best
        enough = LEAST_SHARE * share if is_last else 0
        if is_forced(before) or enough <= len(data) <= cap or job.stopping:
            break
        budget.correct(max((len(data) / share) ** 2, OVERDRAWN if len(data) > cap else 0))
    return Coded(best or changing.within(cap))


def _encode_to_quality(task: Task, before: Group | None, size: int, psnr_db: float, job: Job) -> Coded:
    """A group of a PSNR or a little more."""
    if before is None or starts_afresh(task, before):
        return encode_to_psnr(task, size, psnr_db, job)
    changing, best, factor = ChangeTask(task, before, job), None, 1.0
    for _ in range(QUALITY_ROUNDS):
        data = changing.encode(factor)
        reached = changing.db()
        if reached >= psnr_db and (best is None or len(data) < len(best)):
            best = data
        if psnr_db <= reached <= psnr_db + WINDOW_DB or (best is not None and reached < psnr_db) or job.stopping:
            break
        factor *= QUALITY_FACTOR if reached >= psnr_db else 1 / QUALITY_FACTOR
    return encode_to_psnr(task, size, psnr_db, job) if best is None else Coded(best)
