"""`python -m benchmarks.low_rates IMAGE VIDEO [--recipes NAMES] [--cache FOLDER]`: fine-tuned networks of few bits.

The networks of `benchmarks.weight_coders`, at about 4 to 2 bits a weight: codebooks against uniform steps that were
fitted on as long, and weights of a fixed number of bits. Whole files, decoded again; a Markdown table on stdout.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.weight_coders import LOSS_DB, NETWORKS, as_codec, excerpt, fitted_network, new_job, written
from inrzip import media
from inrzip.compilation import prepare
from inrzip.low_bit import low_bit
from inrzip.media.samples import array_signal
from inrzip.segment import FittedNetwork, Task, as_it_is, find_level, module_db, quantised
from inrzip.signal import Kind, Signal
from inrzip.weight_codecs import CODECS, WeightCodec

FACTORS = (5.6, 8.0, 11.0, 16.0)
"""Levels, as multiples of the one that loses 0.1 dB without fine-tuning."""
WAYS = ("auto", "codebook")
BITS = (4, 5, 6)
"""Of all weights but those of the first and last layers, which have 8."""


def few_bits(bits: int) -> WeightCodec:
    """The codec of that name, for another number of bits."""
    return dataclasses.replace(
        CODECS["few-bits"],
        name=f"few-bits, {bits} bits",
        constrain=lambda network, sensitivity, level: low_bit(network, bits, axis=network.output_axis),
        quantise=lambda network, sensitivity, level: low_bit(network, bits, axis=network.output_axis).quantised(),
    )


def cases(network: tuple[Task, FittedNetwork]) -> Iterator[tuple[Task, FittedNetwork, float]]:
    """The network made ready for each codec, and levels."""
    task, fitted = as_codec(network, "auto")
    wanted_db = module_db(task, fitted.module, everything=True) - LOSS_DB
    start = find_level(lambda level: as_it_is(task, fitted, fitted.module, level).db(task, everything=True), wanted_db)
    for factor in FACTORS:
        for name in WAYS:
            yield *as_codec(network, name), start * factor
    for bits in BITS:
        yield dataclasses.replace(task, codec=few_bits(bits)), fitted, 1.0


def compare(signal: Signal, network: tuple[Task, FittedNetwork]) -> None:
    """The table of one network."""
    task, fitted = network
    half = written(
        signal, fitted, as_it_is(*as_codec(network, "half"), fitted.module, 1.0).tensors, CODECS["half"].coders
    )
    print(f"\n## {task.recipe.name}: {half[1]:.2f} dB, {half[0]} bytes in half floats\n")
    print("| fine-tuned | file bytes | bits/weight | PSNR (dB) |\n|---|---|---|---|")
    for own, ready, level in cases(network):
        tensors = quantised(own, ready, ready.module, level, 0, new_job()).tensors
        size, psnr, _ = written(signal, ready, tensors, own.codec.coders)
        bits = 8 * size / sum(tensor.integers.size for tensor in tensors)
        print(f"| {own.codec.name} | {size} | {bits:.2f} | {psnr:.2f} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.low_rates", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("image", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--cache", type=Path, help="folder in which fitted networks are kept")
    parser.add_argument("--recipes", default="siren,nerv", help="which of the networks")
    options = parser.parse_args(arguments)
    prepare()
    image = media.read_signal(options.image)
    video = array_signal(excerpt(options.video), Kind.VIDEO, Path("excerpt.npy"), None)
    for recipe, n_parameters, effort in NETWORKS:
        if recipe in options.recipes.split(","):
            signal = image if recipe == "siren" else video
            compare(signal, fitted_network(signal, recipe, n_parameters, effort, options.cache))
    return 0


if __name__ == "__main__":
    sys.exit(main())
