"""Speed and overhead of the weight coder, next to constriction's range coder: `python -m benchmarks.coder_speed [n
...]`.

constriction is told the exact histogram (Categorical) or the exact scale (QuantizedLaplace), and neither is counted in
its size; ours learn or transmit what they need, and all of it counts. Times are the best of three, of whole calls, the
choice of parameters included, in ns per symbol. The overhead is over the zero-order entropy of the rounded weights. The
trellis gives other integers: its bits and overhead are those at the error that rounding makes, half a bit for a factor
of two in squared error, and its time of encoding is that of finding the path, too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import constriction
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.codecs.cabac import Cabac
from inrzip.codecs.coder import IntegerCoder
from inrzip.codecs.levels import UniformSteps
from inrzip.codecs.predictive import DependentPredictive, Predictive
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.tables import AdaptiveTables
from inrzip.codecs.trellis import STEP_RATIO, TrellisSteps, quantise_trellis
from inrzip.codecs.uniform import nearest_step_index
from inrzip.codecs.weights import QuantisedTensor, decode_tensors, encode_tensors

REPEATS = 3
SIZES = (64, 1024, 7569, 66049)
SCALE = 6.0  # of the weights, in quantisation steps
UNIT = nearest_step_index(1.0)
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


def measure_stream(source: str, values: Int[ndarray, " n"]) -> None:
    """The whole stream of one tensor, in the coder that takes least."""
    tensors = [QuantisedTensor(values.astype(np.int32), UniformSteps(UNIT))]
    data = encode_tensors(tensors)
    decoded = decode_tensors(data, [values.shape])[0].integers
    assert np.array_equal(decoded, values)
    encode_s = best_time(lambda: encode_tensors(tensors))
    decode_s = best_time(lambda: decode_tensors(data, [values.shape]))
    report(f"{source}: inrzip, automatic", values, 8 * len(data), encode_s, decode_s)


def encode_with(coder: IntegerCoder, values: Int[ndarray, "..."]) -> bytes:
    encoder = RangeEncoder()
    coder.encode(encoder, values.astype(np.int64))
    return encoder.finish()


def measure_coder(name: str, make: Callable[[], IntegerCoder], values: Int[ndarray, " n"]) -> None:
    """One tensor in one of our coders."""
    data = encode_with(make(), values)
    assert np.array_equal(make().decode(RangeDecoder(data), values.shape), values)
    encode_s = best_time(lambda: encode_with(make(), values))
    decode_s = best_time(lambda: make().decode(RangeDecoder(data), values.shape))
    report(name, values, 8 * len(data), encode_s, decode_s)


def measure_trellis(name: str, weights: Float[ndarray, " n"]) -> None:
    """The same weights on a trellis, at about the same error."""

    def encode() -> tuple[bytes, TrellisSteps, Float[ndarray, " n"]]:
        indices, levels = quantise_trellis(weights, UNIT - STEP_RATIO)
        return encode_with(DependentPredictive(), indices), levels, levels.dequantise(indices)

    data, levels, decoded = encode()
    error = float(((decoded - weights) ** 2).mean())
    rounded = np.rint(weights).astype(np.int64)
    bits = 8 * len(data) + weights.size * np.log2(error / ((rounded - weights) ** 2).mean()) / 2
    encode_s = best_time(encode)
    decode_s = best_time(lambda: DependentPredictive().decode(RangeDecoder(data), levels.arranged))
    report(name, rounded, bits, encode_s, decode_s)


def measure_peer(name: str, values: Int[ndarray, " n"], symbols: Int[ndarray, " n"], model: object) -> None:
    """constriction's range coder under a model it is given."""

    def encode() -> ndarray:
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(symbols, model)
        return np.asarray(encoder.get_compressed())

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
            weights = draw(np.random.default_rng(0), n)
            values = np.rint(weights).astype(np.int64)
            low, high = int(values.min()), int(values.max())
            measure_stream(source, values)
            for make in (AdaptiveTables, Cabac, Predictive):
                measure_coder(f"{source}: {make.__name__}", make, values)
            measure_trellis(f"{source}: trellis", weights)
            shifted = (values - low).astype(np.int32)
            histogram = np.bincount(shifted) / n
            measure_peer(f"{source}: Categorical", values, shifted, models.Categorical(histogram, perfect=False))
            laplace = models.QuantizedLaplace(low - 1, high + 1, 0.0, max(0.1, float(np.abs(values).mean())))
            measure_peer(f"{source}: QuantizedLaplace", values, values.astype(np.int32), laplace)


if __name__ == "__main__":
    main()
