"""`python -m benchmarks.weight_coders IMAGE VIDEO [--recipes NAMES] [--ways NAMES]`: a network in every code.

Three networks are fitted once in floating point: a SIREN to IMAGE; NeRV and HNeRV to an excerpt of VIDEO (every 4th
frame, the centre 640x1280, averaged 8x8). Each is then quantised in several ways, as coarsely as 0.1 dB of loss
allows, and written in several codes: whole files, decoded again, measured on what came out. With fine-tuning, the
level is the coarsest of a few whose network ends within 0.1 dB; then every way, each prior in the loss among them, is
written in every code. The tables are Markdown on stdout. The names of ways to integers are those of `--codec`.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
from jaxtyping import UInt8

from inrzip import media, plan
from inrzip.architectures.base import Representation
from inrzip.checkpoint import Checkpoint
from inrzip.codecs.axis_tables import AxisTables
from inrzip.codecs.cabac import Cabac
from inrzip.codecs.coder import IntegerCoder
from inrzip.codecs.huffman import HuffmanCoder
from inrzip.codecs.mixture_tables import MixtureTables
from inrzip.codecs.predictive import Predictive
from inrzip.codecs.raw_coder import RawCoder
from inrzip.codecs.shaped_tables import ShapedTables
from inrzip.codecs.sparse import SparseCoder
from inrzip.codecs.tables import AdaptiveTables
from inrzip.codecs.weights import QuantisedTensor
from inrzip.compilation import prepare
from inrzip.compression import segment_task
from inrzip.container import write_container
from inrzip.header import Header
from inrzip.job import Job
from inrzip.measure import measure
from inrzip.media.samples import array_signal
from inrzip.network import encode_network
from inrzip.reader import Reader
from inrzip.recipes import RECIPES
from inrzip.segment import FittedNetwork, Task, as_it_is, find_level, fit_network, module_db, quantised
from inrzip.sensitivity import sensitivities
from inrzip.signal import Kind, Signal
from inrzip.weight_codecs import CODECS, choose_codec

LOSS_DB = 0.1
NETWORKS = (("siren", 27_000, 4), ("nerv", 46_000, 6), ("hnerv", 50_000, 6))
"""Recipe, parameters, effort of the fit."""
TUNED_LEVELS = (2.8, 2.0, 1.4, 1.0)
"""Levels tried with fine-tuning, as multiples of the one that loses 0.1 dB without. The first that will do counts."""
Tensors = Sequence[QuantisedTensor]
Coders = Callable[[Tensors], list[IntegerCoder]]


def _integers(tensors: Tensors) -> list[np.ndarray]:
    return [tensor.integers for tensor in tensors]


CODERS: dict[str, Coders] = {
    "raw": lambda tensors: [RawCoder()],
    "Huffman": lambda tensors: [HuffmanCoder.surveying(_integers(tensors))],
    "sparse Huffman": lambda tensors: [SparseCoder.surveying(_integers(tensors))],
    "Laplace tables": lambda tensors: [AdaptiveTables()],
    "dual axis": lambda tensors: [AxisTables()],
    "mixture": lambda tensors: [MixtureTables()],
    "factorised": lambda tensors: [ShapedTables()],
    "CABAC": lambda tensors: [Cabac()],
    "predictive": lambda tensors: [Predictive()],
    "auto": CODECS["auto"].coders,
}
HALF_CODERS: dict[str, Coders] = {"raw": CODERS["raw"]}
PRUNED_CODERS: dict[str, Coders] = {name: CODERS[name] for name in ("Huffman", "sparse Huffman", "auto")}
AUTO: dict[str, Coders] = {"auto": CODERS["auto"]}
UNTUNED: dict[str, dict[str, Coders]] = {
    "half": HALF_CODERS,
    "huffman": CODERS,
    "pruned": PRUNED_CODERS,
    "auto": CODERS,
    "trellis": {"predictive": CODECS["trellis"].coders},
    "priced": {"predictive": CODECS["priced"].coders},
    "channels": AUTO,
    "outputs": AUTO,
    "codebook": AUTO,
}
"""Ways to integers without fitting, and the codes shown for each."""
TUNED = (
    "auto",
    "channels",
    "learned",
    "laplace",
    "gaussian",
    "mixture",
    "dual-axis",
    "factorised",
    "entropy-penalised",
    "consistent-entropy",
    "codebook",
    "few-bits",
)
"""Ways with fine-tuning: each is shown in every code. The code of the prior that priced the weights comes first."""


def excerpt(path: Path) -> UInt8[np.ndarray, "frames 80 160 3"]:
    """Every 4th frame of a 720p clip: the centre 640x1280, averaged 8x8."""
    signal = media.read_signal(path)
    frames = signal.read(0, signal.spec.shape[0])[:128:4]
    top, left = (frames.shape[1] - 640) // 2, (frames.shape[2] - 1280) // 2
    centre = frames[:, top : top + 640, left : left + 1280].astype(np.float64)
    small: UInt8[np.ndarray, "frames 80 160 3"] = np.rint(centre.reshape(-1, 80, 8, 160, 8, 3).mean((2, 4))).astype(
        "u1"
    )
    return small


def new_job() -> Job:
    """A job that shows and keeps nothing."""
    return Job(Checkpoint(None, ""), None, None)


def fitted_network(
    signal: Signal, recipe: str, n_parameters: int, effort: int, cache: Path | None
) -> tuple[Task, FittedNetwork]:
    """The float network, from the cache if it is there."""
    request = plan.Request(effort=effort)
    task = segment_task(signal, 0, signal.spec.shape[0], 0, request, RECIPES[recipe], choose_codec(None), {}, None)
    stored = None if cache is None else cache / f"{recipe}-{n_parameters}-{effort}.eqx"
    if stored is None or not stored.exists():
        fitted = fit_network(task, n_parameters, new_job())
        if stored is not None:
            eqx.tree_serialise_leaves(stored, fitted.module)
        return task, fitted
    config = task.recipe.architecture.solve(task.grid, n_parameters)
    module: Representation = eqx.tree_deserialise_leaves(stored, config.build(task.grid, jax.random.key(0)))
    return task, FittedNetwork(config, module, sensitivities(module, task.examples))


def written(signal: Signal, fitted: FittedNetwork, tensors: Tensors, make: Coders) -> tuple[int, float, float]:
    """Bytes of the file, PSNR of what it decodes to, seconds to code it."""
    header = Header(signal.spec, fitted.config.number, signal.spec.shape[0])
    begun = time.perf_counter()
    data = write_container(header, [encode_network(fitted.config, tensors, make(tensors))], [])
    seconds = time.perf_counter() - begun
    with Reader(data, max_memory=None) as reader:
        return len(data), measure(signal, reader)["psnr_db"], seconds


def as_codec(network: tuple[Task, FittedNetwork], name: str) -> tuple[Task, FittedNetwork]:
    """The network, made ready for the codec of that name."""
    task, fitted = network
    codec = CODECS[name]
    sensitivity = codec.survey(fitted.module, task.examples)
    return dataclasses.replace(task, codec=codec), dataclasses.replace(fitted, sensitivity=sensitivity)


def compare(signal: Signal, network: tuple[Task, FittedNetwork], ways: Sequence[str]) -> None:
    """The tables of one network."""
    task, fitted = network
    wanted_db = module_db(task, fitted.module, everything=True) - LOSS_DB
    named = functools.cache(functools.partial(as_codec, network))

    @functools.cache
    def level_of(name: str) -> float:
        own, ready = named(name)
        return find_level(lambda level: as_it_is(own, ready, ready.module, level).db(own, everything=True), wanted_db)

    print(f"\n## {task.recipe.name}: {fitted.config}, {wanted_db + LOSS_DB:.2f} dB in floating point\n")
    print("| quantised | code | file bytes | bits/weight | PSNR (dB) | seconds to code |\n|---|---|---|---|---|---|")
    for name, coders in UNTUNED.items():
        if name in ways:
            level = level_of(name) if CODECS[name].fixed_bits is None else 1.0
            tensors = as_it_is(*named(name), fitted.module, level).tensors
            n = sum(tensor.integers.size for tensor in tensors)
            for code, make in coders.items():
                size, psnr, seconds = written(signal, fitted, tensors, make)
                print(f"| {name} | {code} | {size} | {8 * size / n:.3f} | {psnr:.2f} | {seconds:.2f} |", flush=True)
    columns = ["fine-tuned", "level", "PSNR (dB)", "its own", *CODERS]
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name in TUNED:
        if name in ways:
            print(fine_tuned(named(name), level_of(name if name in UNTUNED else "auto"), wanted_db, signal), flush=True)


def fine_tuned(named: tuple[Task, FittedNetwork], start: float, wanted_db: float, signal: Signal) -> str:
    """A line of the table of fine-tuned networks: at the coarsest level that will do, bytes in every code."""
    task, fitted = named
    for factor in (1.0,) if task.codec.fixed_bits else TUNED_LEVELS:
        begun = time.perf_counter()
        found = quantised(task, fitted, fitted.module, start * factor, 0, new_job())
        print(f"{task.codec.name}, level x {factor}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
        if task.codec.fixed_bits or found.db(task, everything=True) >= wanted_db:
            files = [written(signal, fitted, found.tensors, make) for make in (task.codec.coders, *CODERS.values())]
            sizes = " | ".join(str(size) for size, _, _ in files)
            (psnr,) = {round(psnr, 2) for _, psnr, _ in files}
            return f"| {task.codec.name} | x {factor} | {psnr:.2f} | {sizes} |"
    return f"| {task.codec.name} | not within {LOSS_DB} dB at any" + " |" * (len(CODERS) + 3)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.weight_coders", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("image", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--cache", type=Path, help="folder in which fitted networks are kept")
    parser.add_argument("--recipes", default="siren,nerv,hnerv", help="which of the three networks")
    parser.add_argument("--ways", default=",".join((*UNTUNED, *TUNED)), help="which of the ways to integers")
    options = parser.parse_args(arguments)
    prepare()
    if options.cache is not None:
        options.cache.mkdir(parents=True, exist_ok=True)
    image = media.read_signal(options.image)
    video = array_signal(excerpt(options.video), Kind.VIDEO, Path("excerpt.npy"), None)
    for recipe, n_parameters, effort in NETWORKS:
        if recipe not in options.recipes.split(","):
            continue
        signal = image if recipe == "siren" else video
        compare(signal, fitted_network(signal, recipe, n_parameters, effort, options.cache), options.ways.split(","))
    return 0


if __name__ == "__main__":
    sys.exit(main())
