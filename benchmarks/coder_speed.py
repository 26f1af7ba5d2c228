"""Speed and overhead of the weight coder, next to constriction's range coder: `python -m benchmarks.coder_speed [n
...]`.

constriction is told the exact histogram (Categorical) or the exact scale (QuantizedLaplace), and neither is counted in
its size; ours learns or transmits what it needs, and all of it counts. Times are the best of three, of whole calls, in
ns per symbol.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import constriction
import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.levels import UniformSteps
from inrzip.codecs.weights import QuantisedTensor, decode_tensors, encode_tensors

REPEATS = 3
SIZES = (64, 1024, 7569, 66049)
SCALE = 6.0  # of the weights, in quantisation steps
Source = Callable[[np.random.Generator, int], ndarray]

SOURCES: dict[str, Source] = {
    "laplace": lambda rng, n: rng.laplace(0, SCALE, n),
    "gauss": lambda rng, n: rng.normal(0, SCALE, n),
    "mixed": lambda rng, n: rng.normal(0, SCALE, n) * np.repeat(rng.lognormal(0, 0.5, 64), -(-n // 64))[:n],
}


def best_time(call: Callable[[], object]) -> float:
    """Seconds that the fastest of a few calls takes."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def entropy_bits(values: Int[ndarray, " n"]) -> float:
    """The zero-order entropy of all `values` together, by their own histogram."""
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / values.size)).sum())


def report(name: str, values: Int[ndarray, " n"], bits: float, encode_s: float, decode_s: float) -> None:
    """Prints one line of the table."""
    n = values.size
    overhead = 100 * (bits / entropy_bits(values) - 1)
    print(f"{n:>7} {name:<28} {1e9 * encode_s / n:9.0f} {1e9 * decode_s / n:9.0f} {bits / n:8.3f} {overhead:+8.2f} %")


def measure_ours(source: str, values: Int[ndarray, " n"]) -> None:
    """The whole stream of one tensor, with the choice of its model."""
    tensors = [QuantisedTensor(values, UniformSteps(192))]
    data = encode_tensors(tensors)
    decoded = decode_tensors(data, [values.shape])[0].integers
    assert np.array_equal(decoded, values)
    encode_s = best_time(lambda: encode_tensors(tensors))
    decode_s = best_time(lambda: decode_tensors(data, [values.shape]))
    report(f"{source}: inrzip", values, 8 * len(data), encode_s, decode_s)


def measure_peer(name: str, values: Int[ndarray, " n"], symbols: Int[ndarray, " n"], model: object) -> None:
    """constriction's range coder under a model it is given."""

    def encode() -> ndarray:
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(symbols, model)
        return encoder.get_compressed()

    words = encode()
    decoded = constriction.stream.queue.RangeDecoder(words).decode(model, symbols.size)
    assert np.array_equal(decoded, symbols)
    encode_s = best_time(encode)
    decode_s = best_time(lambda: constriction.stream.queue.RangeDecoder(words).decode(model, symbols.size))
    report(name, values, 32 * len(words), encode_s, decode_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of weights")
    sizes = parser.parse_args().sizes
    models = constriction.stream.model
    print(f"{'weights':>7} {'source: coder':<28} {'encode ns':>9} {'decode ns':>9} {'bits':>8} {'overhead':>10}")
    for n in sizes:
        for source, draw in SOURCES.items():
            values = np.rint(draw(np.random.default_rng(0), n)).astype(np.int32)
            low, high = int(values.min()), int(values.max())
            measure_ours(source, values)
            shifted = (values - low).astype(np.int32)
            histogram = np.bincount(shifted) / n
            measure_peer(f"{source}: Categorical", values, shifted, models.Categorical(histogram, perfect=False))
            laplace = models.QuantizedLaplace(low - 1, high + 1, 0.0, max(0.1, float(np.abs(values).mean())))
            measure_peer(f"{source}: QuantizedLaplace", values, values, laplace)


if __name__ == "__main__":
    main()
