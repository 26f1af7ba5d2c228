"""`python -m benchmarks.weight_coders IMAGE VIDEO [--recipes NAMES] [--cache FOLDER]`: a network in every code.

Three networks are fitted once in floating point: a SIREN to IMAGE; NeRV and HNeRV to an excerpt of VIDEO (every 4th
frame, the centre 640x1280, averaged 8x8). Each is then quantised in several ways, as coarsely as 0.1 dB of loss
allows, and written in several codes: whole files, decoded again, measured on what came out. With fine-tuning, the
level is the coarsest of a few whose network ends within 0.1 dB. The table is Markdown on stdout. The names of ways to
integers are those of `--codec`.
"""

from __future__ import annotations

import argparse
import dataclasses
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
    "auto": CODERS,
    "trellis": {"predictive": CODECS["trellis"].coders},
    "priced": {"predictive": CODECS["priced"].coders},
    "channels": AUTO,
    "outputs": AUTO,
    "codebook": AUTO,
}
"""Ways to integers without fitting, and the codes shown for each."""
TUNED: dict[str, dict[str, Coders]] = {
    "auto": CODERS,
    **{name: AUTO for name in ("channels", "learned")},
    **{
        name: {"its own": CODECS[name].coders} | AUTO
        for name in (
            "laplace",
            "gaussian",
            "mixture",
            "dual-axis",
            "factorised",
            "entropy-penalised",
            "consistent-entropy",
        )
    },
    "few-bits": AUTO,
    "codebook": AUTO,
}
"""Ways with fine-tuning."""


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


def report(name: str, signal: Signal, fitted: FittedNetwork, tensors: Tensors, coders: dict[str, Coders]) -> None:
    """One line for each code: bytes of the file, PSNR of what it decodes to."""
    n = sum(tensor.integers.size for tensor in tensors)
    header = Header(signal.spec, fitted.config.number, signal.spec.shape[0])
    for code, make in coders.items():
        begun = time.perf_counter()
        data = write_container(header, [encode_network(fitted.config, tensors, make(tensors))], [])
        seconds = time.perf_counter() - begun
        with Reader(data, max_memory=None) as reader:
            psnr = measure(signal, reader)["psnr_db"]
        print(f"| {name} | {code} | {len(data)} | {8 * len(data) / n:.3f} | {psnr:.2f} | {seconds:.2f} |", flush=True)


def compare(signal: Signal, recipe: str, n_parameters: int, effort: int, cache: Path | None) -> None:
    """The table of one network."""
    task, fitted = fitted_network(signal, recipe, n_parameters, effort, cache)
    float_db = module_db(task, fitted.module, everything=True)
    print(f"\n## {recipe}: {fitted.config}, {float_db:.2f} dB in floating point\n")
    print("| quantised | code | file bytes | bits/weight | PSNR (dB) | seconds to code |\n|---|---|---|---|---|---|")

    def as_codec(name: str) -> tuple[Task, FittedNetwork]:
        codec = CODECS[name]
        sensitivity = codec.survey(fitted.module, task.examples)
        return dataclasses.replace(task, codec=codec), dataclasses.replace(fitted, sensitivity=sensitivity)

    for name, coders in (("half", HALF_CODERS), ("huffman", CODERS), ("pruned", PRUNED_CODERS)):
        report(name, signal, fitted, as_it_is(*as_codec(name), fitted.module, 1.0).tensors, coders)
    levels: dict[str, float] = {}
    for name, coders in UNTUNED.items():
        named = as_codec(name)
        levels[name] = _level_for(named, float_db - LOSS_DB)
        report(f"{name}, {LOSS_DB} dB", signal, fitted, as_it_is(*named, fitted.module, levels[name]).tensors, coders)
    for name, coders in TUNED.items():
        named = as_codec(name)
        begun = time.perf_counter()
        for factor in TUNED_LEVELS:
            level = levels.get(name, levels["auto"]) * factor
            found = quantised(*named, fitted.module, level, 0, new_job())
            if found.db(task, everything=True) >= float_db - LOSS_DB or name == "few-bits":
                seconds = time.perf_counter() - begun
                print(f"fine-tuned {name}: {seconds:.0f} s, level x {factor}", file=sys.stderr, flush=True)
                report(f"{name}, fine-tuned", signal, fitted, found.tensors, coders)
                break


def _level_for(named: tuple[Task, FittedNetwork], wanted_db: float) -> float:
    task, fitted = named
    return find_level(lambda level: as_it_is(task, fitted, fitted.module, level).db(task, everything=True), wanted_db)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.weight_coders", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("image", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--cache", type=Path, help="folder in which fitted networks are kept")
    parser.add_argument("--recipes", default="siren,nerv,hnerv", help="which of the three networks")
    options = parser.parse_args(arguments)
    prepare()
    if options.cache is not None:
        options.cache.mkdir(parents=True, exist_ok=True)
    image = media.read_signal(options.image)
    video = array_signal(excerpt(options.video), Kind.VIDEO, Path("excerpt.npy"), None)
    for recipe, n_parameters, effort in NETWORKS:
        if recipe not in options.recipes.split(","):
            continue
        compare(image if recipe == "siren" else video, recipe, n_parameters, effort, options.cache)
    return 0


if __name__ == "__main__":
    sys.exit(main())
