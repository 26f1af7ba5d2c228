"""`python -m benchmarks speed`: seconds, peak memory and multiply-accumulates of recipes, as ratios to a peer.

Each method encodes, and decodes, in a fresh process of its own, so that its peak memory is its own; seconds are of the
calls alone, with all compiling that they do ("again": a second decoding in the same process). The peer runs in the same
command. Multiply-accumulates are counted in the programs that run, for as many steps as are taken; their share of the
machine's rate is against a large matrix product timed in the same command.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from inrzip import fitting
from inrzip.architectures.base import FrameRepresentation
from inrzip.errors import InrzipError
from inrzip.files import atomic_output
from inrzip.job import Job
from inrzip.reader import Reader
from inrzip.signal import Kind

from . import machine
from .items import Item, find_files, load_item
from .macs import TRAINING_FACTOR, count_macs, matmul_rate
from .methods import Method
from .ours import Effort, knows, recipe_method
from .peers import PEERS

PEER_OF = {Kind.IMAGE: "jpeg", Kind.VIDEO: "x265", Kind.AUDIO: "opus", Kind.SHAPE: "draco", Kind.VOLUME: "sz3"}
KIB_PER_MIB = 1024  # ru_maxrss is in KiB on Linux
COUNTED_POINTS = 1024


@dataclasses.dataclass(frozen=True)
class Source:
    """What a process needs to load its item again."""

    path: Path
    max_frames: int | None
    size: tuple[int, int] | None

    def load(self) -> Item:
        return load_item(self.path, self.max_frames, self.size)


@dataclasses.dataclass(frozen=True)
class Run:
    """One method with one item. Times in seconds, memory in MiB, None for what is not counted (a peer's work).

    Ratios are to the peer of the item's kind; shares are of the machine's matrix product rate.
    """

    item: str
    method: str
    bytes: int
    encode_seconds: float
    decode_seconds: float
    decode_again_seconds: float
    encode_mib: float
    decode_mib: float
    encode_macs_per_sample: float | None
    decode_macs_per_sample: float | None
    encode_ratio: float = 1.0
    decode_ratio: float = 1.0
    encode_share: float | None = None
    decode_share: float | None = None


@dataclasses.dataclass(frozen=True)
class Setting:
    """A recipe ("recipe" or "recipe:codec") or peer; effort and quality are a recipe's."""

    text: str
    effort: int = 1
    quality: float = 50.0


def _method(setting: Setting, kind: Kind) -> tuple[Method, float]:
    """The method, and the quality point to take: the middle of a peer's ladder."""
    if setting.text in PEERS:
        peer = PEERS[setting.text]
        return peer, peer.ladder[len(peer.ladder) // 2]
    return recipe_method(setting.text, kind, Effort(setting.effort), (setting.quality,)), setting.quality


@contextlib.contextmanager
def counted_training() -> Iterator[list[int]]:
    """Within it, the list's one number is the multiply-accumulates of all training steps that were taken."""
    total, steps = [0], [0]
    fit, advance = Job.fit, fitting._advance

    def counting_steps(state: Any, static: Any, examples: Any, clock: Any, count: int) -> Any:
        steps[0] += count
        return advance(state, static, examples, clock, count)

    def counting_fit(self: Job, name: str, module: Any, examples: Any, schedule: Any, **rest: Any) -> Any:
        inputs, targets = examples.batch(jax.random.key(0), 0)
        arrays, static = eqx.partition(module, eqx.is_array)

        def forward(arrays: Any, inputs: Any, targets: Any) -> Any:
            return eqx.combine(arrays, static).prepare()[0].predict_training(inputs, targets)

        a_step = TRAINING_FACTOR * count_macs(forward, arrays, inputs, targets)
        before = steps[0]
        fitted = fit(self, name, module, examples, schedule, **rest)
        total[0] += a_step * (steps[0] - before)
        return fitted

    Job.fit, fitting._advance = counting_fit, counting_steps  # type: ignore[method-assign]
    try:
        yield total
    finally:
        Job.fit, fitting._advance = fit, advance  # type: ignore[method-assign]


def _encode(source: Source, setting: Setting) -> tuple[bytes, float, float, int]:
    """File, seconds, peak MiB, and multiply-accumulates of all fitting steps. Runs in a process of its own."""
    item = source.load()
    method, quality = _method(setting, item.kind)
    with counted_training() as counted:
        begun = time.perf_counter()
        data = method.encode(item, quality)
        seconds = time.perf_counter() - begun
    return data, seconds, _peak_mib(), counted[0]


def _decode(source: Source, setting: Setting, data: bytes) -> tuple[float, float, float, int]:
    """Seconds of a first and a second decoding, peak MiB, and multiply-accumulates. Runs in a process of its own."""
    item = source.load()
    method, _ = _method(setting, item.kind)
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        method.decode(data, item)
        seconds.append(time.perf_counter() - begun)
    peak = _peak_mib()
    return seconds[0], seconds[1], peak, decoding_macs(data) if method.ours else 0


def decoding_macs(data: bytes) -> int:
    """Multiply-accumulates of decoding everything in an `.inrz` file once."""
    total = 0.0
    with Reader(data, max_memory=None) as reader:
        for index in range(reader.container.header.n_segments):
            network = reader.segment(index)
            arrays, static = eqx.partition(network, eqx.is_array)
            frames = isinstance(network, FrameRepresentation)
            inputs = np.zeros(1, np.float32) if frames else np.zeros((COUNTED_POINTS, len(network.grid.shape)), "f4")

            def predict(a: Any, i: Any, static: Any = static) -> Any:
                return eqx.combine(a, static).predict(i)

            macs = count_macs(predict, arrays, inputs)
            total += macs * network.grid.shape[0] if frames else macs * network.grid.n_points / COUNTED_POINTS
    return round(total)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB


def _alone(function: Any, *arguments: Any) -> Any:
    """Calls a function in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def measure_run(source: Source, item: Item, setting: Setting) -> Run:
    """Encodes and decodes with one method, each in a process of its own."""
    data, encode_seconds, encode_mib, encode_macs = _alone(_encode, source, setting)
    first, again, decode_mib, decode_macs = _alone(_decode, source, setting, data)
    n = int(np.prod(item.spec.shape))
    ours = setting.text not in PEERS
    name = f"{setting.text} -e {setting.effort}" if ours else setting.text
    per_sample = (encode_macs / n, decode_macs / n) if ours else (None, None)
    return Run(item.name, name, len(data), encode_seconds, first, again, encode_mib, decode_mib, *per_sample)


def against(run: Run, peer: Run, n_samples: int, rate: float) -> Run:
    """`run` with its ratios to the peer and its shares of the machine's rate."""
    shares: list[float | None] = [None, None]
    if run.encode_macs_per_sample is not None and run.decode_macs_per_sample is not None:
        shares = [
            run.encode_macs_per_sample * n_samples / run.encode_seconds / rate,
            run.decode_macs_per_sample * n_samples / run.decode_again_seconds / rate,
        ]
    return dataclasses.replace(
        run,
        encode_ratio=run.encode_seconds / peer.encode_seconds,
        decode_ratio=run.decode_again_seconds / peer.decode_again_seconds,
        encode_share=shares[0],
        decode_share=shares[1],
    )


HEAD = (
    "| item | method | bytes | encode | × peer | decode first / again | × peer | MiB encode / decode "
    "| MAC/sample encode / decode | % of matmul rate |\n|---|---|---|---|---|---|---|---|---|---|"
)


def table_row(run: Run) -> str:
    """The run as a row of Markdown."""
    macs = share = "–"
    if run.encode_macs_per_sample is not None and run.decode_macs_per_sample is not None:
        macs = f"{run.encode_macs_per_sample:.3g} / {run.decode_macs_per_sample:.3g}"
    if run.encode_share is not None and run.decode_share is not None:
        share = f"{100 * run.encode_share:.0f} / {100 * run.decode_share:.0f}"
    return (
        f"| {run.item} | {run.method} | {run.bytes} | {run.encode_seconds:.2f} s | {run.encode_ratio:.3g} "
        f"| {run.decode_seconds:.3f} / {run.decode_again_seconds:.3f} s | {run.decode_ratio:.3g} "
        f"| {run.encode_mib:.0f} / {run.decode_mib:.0f} | {macs} | {share} |"
    )


def _plan(source: Source, recipes: Sequence[str]) -> tuple[Item, list[str]]:
    """The item and the recipes that are for its kind. Raises InrzipError if there is none."""
    item = source.load()
    able = [text for text in recipes if knows(text, item.kind)]
    if not able:
        raise InrzipError(f"{source.path}: no recipe of --recipes is for signals of kind {item.kind.name.lower()}")
    return item, able


def main(options: argparse.Namespace) -> int:
    """Prints the table, and writes speed.json to --out. Raises InrzipError for what a user can mend."""
    sources = [Source(path, options.max_frames, options.size) for path in find_files(options.data)]
    plans = [_plan(source, options.recipes) for source in sources]
    rate = _alone(matmul_rate)
    print(f"Matrix product of this machine: {rate / 1e9:.1f} GMAC/s (float32)\n\n{HEAD}", flush=True)
    runs = []
    for source, (item, recipes) in zip(sources, plans, strict=True):
        peer = measure_run(source, item, Setting(PEER_OF[item.kind]))
        print(table_row(peer), flush=True)
        runs.append(peer)
        for text in recipes:
            for effort in options.efforts:
                run = measure_run(source, item, Setting(text, effort, options.quality))
                runs.append(against(run, peer, int(np.prod(item.spec.shape)), rate))
                print(table_row(runs[-1]), flush=True)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        meta = machine.facts(options.command) | {"matmul_macs_per_second": rate}
        with atomic_output(options.out / "speed.json", overwrite=True) as temporary:
            temporary.write_text(
                json.dumps({"meta": meta, "runs": [dataclasses.asdict(run) for run in runs]}, indent=1)
            )
        print(f"wrote {options.out}/speed.json", file=sys.stderr)
    return 0
