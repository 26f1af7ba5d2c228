"""Runs points one after the other; what is finished is kept on disk and never run again.

A file in the cache is named by a hash of all that it depends on: the item's content, the method with its settings, the
version of its library and code, and the quality. What was measured of it also depends on the code of the metrics.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from inrzip.files import atomic_output
from inrzip.units import format_duration

from .items import Item
from .measuring import Point, distortion, rate_of
from .methods import CannotCode, Method, NotInstalled, identity, source_hash
from .ours import ROOT, OutOfTime

LONGEST_REASON = 200
METRIC_SOURCES = ("benchmarks/metrics.py", "benchmarks/measuring.py", "inrzip/metrics.py", "inrzip/shape_metrics.py")


@dataclasses.dataclass(frozen=True)
class Task:
    """One point to be measured."""

    item: Item
    method: Method
    quality: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Points measured, why others could not be ((method, reason) pairs), and how many were left for want of time."""

    points: list[Point]
    refused: list[tuple[str, str]]
    n_left: int


class Cache:
    """Files and measurements in a folder."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._digests: dict[Item, str] = {}
        self._identities: dict[Method, str] = {}
        self._metrics = source_hash(*(ROOT / name for name in METRIC_SOURCES))[:12]

    def _key(self, task: Task) -> str:
        digest = self._digests.get(task.item) or task.item.digest()
        self._digests[task.item] = digest
        name = self._identities.get(task.method) or identity(task.method)
        self._identities[task.method] = name
        return hashlib.sha256(repr((digest, name, task.quality)).encode()).hexdigest()[:32]

    def _place(self, task: Task, end: str) -> Path:
        return self._folder / (self._key(task) + end)

    def file(self, task: Task) -> tuple[bytes, float] | None:
        """The compressed file and the seconds that it took, if there is one. A damaged one counts as missing."""
        try:
            facts = json.loads(self._place(task, ".json").read_text())
            data = self._place(task, ".bin").read_bytes()
            known = hashlib.sha256(data).hexdigest() == facts["sha256"]
            return (data, float(facts["encode_seconds"])) if known else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep_file(self, task: Task, data: bytes, encode_seconds: float) -> None:
        with atomic_output(self._place(task, ".bin"), overwrite=True) as temporary:
            temporary.write_bytes(data)
        _write_json(
            self._place(task, ".json"), {"sha256": hashlib.sha256(data).hexdigest(), "encode_seconds": encode_seconds}
        )

    def point(self, task: Task) -> Point | None:
        """What was measured with the metrics of today, if it was. Damaged ones count as missing."""
        try:
            stored = json.loads(self._place(task, f"-{self._metrics}.json").read_text())
            return Point(**{**stored, "item": task.item.name, "method": task.method.name})
        except (OSError, ValueError, TypeError):
            return None

    def keep_point(self, task: Task, point: Point) -> None:
        _write_json(self._place(task, f"-{self._metrics}.json"), dataclasses.asdict(point))


def _write_json(path: Path, value: object) -> None:
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(value))


def measure(task: Task, cache: Cache) -> Point:
    """The point, from the cache as far as it is there. Raises CannotCode, NotInstalled, OutOfTime, and InrzipError."""
    known = cache.point(task)
    if known is not None:
        return known
    stored = cache.file(task)
    if stored is None:
        begun = time.perf_counter()
        data = task.method.encode(task.item, task.quality)
        stored = data, time.perf_counter() - begun
        cache.keep_file(task, *stored)
    data, encode_seconds = stored
    begun = time.perf_counter()
    decoded = task.method.decode(data, task.item)
    decode_seconds = time.perf_counter() - begun
    exact, relative_mse, figures = distortion(task.item, decoded)
    if task.method.lossless and not exact:
        raise CannotCode("decodes to something else, though it is to be lossless")
    rate = rate_of(task.item, len(data))
    names = task.item.name, task.method.name
    point = Point(*names, task.quality, len(data), rate, exact, relative_mse, figures, encode_seconds, decode_seconds)
    cache.keep_point(task, point)
    return point


def make_tasks(items: Sequence[Item], methods: Sequence[Method]) -> list[Task]:
    """Every method with every item of its kind at every quality; a whole curve before the next."""
    return [Task(item, m, quality) for m in methods for quality in m.ladder for item in items if item.kind == m.kind]


def run(tasks: Sequence[Task], cache: Cache, deadline: float | None, tell: Callable[[str], None]) -> Outcome:
    """Measures `tasks` in order until `deadline` (of `time.monotonic`); finished ones count whatever the time."""
    points: list[Point] = []
    refused: dict[tuple[str, str], None] = {}
    seconds: dict[str, list[float]] = {}
    n_left, absent = 0, set()
    for i, task in enumerate(tasks):
        if task.method.name in absent:
            continue
        try:
            known = cache.point(task)
            if known is None and deadline is not None and time.monotonic() > deadline:
                n_left += 1
                continue
            begun = time.monotonic()
            label = f"{task.method.name} {task.quality:g} {task.item.name}"
            tell(f"{i + 1}/{len(tasks)} {label}{_time_left(tasks[i:], seconds)}")
            points.append(known or measure(task, cache))
            if known is None:
                seconds.setdefault(task.method.name, []).append(time.monotonic() - begun)
        except NotInstalled as error:
            absent.add(task.method.name)
            refused[task.method.name, f"not installed: {error}"] = None
        except CannotCode as error:
            refused[task.method.name, f"{task.item.name}: {error}"] = None
        except OutOfTime:
            n_left += 1
        except Exception as error:  # of a library, for one item: the others still count, and the report tells
            refused[task.method.name, f"{task.item.name} at {task.quality:g}: failed: {one_line(error)}"] = None
    return Outcome(points, list(refused), n_left)


def one_line(error: Exception) -> str:
    """The kind and the text of an error, without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]


def _time_left(tasks: Sequence[Task], seconds: dict[str, list[float]]) -> str:
    """What remains, by the mean of each method's points so far; "over" while there is a method without any."""
    if not seconds:
        return ""
    means = {name: sum(each) / len(each) for name, each in seconds.items()}
    left = sum(means.get(task.method.name, 0.0) for task in tasks)
    over = "" if all(task.method.name in means for task in tasks) else "over "
    return f", {over}{format_duration(left)} left"


def stderr_teller(shown: bool = True) -> Callable[[str], None]:
    """Prints one line over and over on a terminal, and one for each change elsewhere."""
    terminal = sys.stderr.isatty()

    def tell(line: str) -> None:
        if shown:
            print(f"\r\x1b[K{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    return tell
