"""Speed and bytes of the coder of what samples differ from a prediction (`inrzip.codecs.residual`), next to codecs that
code the samples themselves: `python -m benchmarks.residual_speed FILE...`.

Pictures are cropped to `--size` pixels from their middle, sounds to `--seconds` from theirs. Each is coded twice: with
a prediction as a small network makes it (means of blocks of 8 samples along each axis, interpolated), and with one that
says nothing (the middle of the range everywhere). Peers are JPEG XL at effort 3 and PNG for pictures and FLAC at level
8 for sounds; zlib at level 6 of the differences from the good prediction, modulo 2^bits, is the floor. All streams are
decoded and compared. Times are processor time, the best of three whole calls in one thread, in ns for a sample; the
ratios are those of times and bytes to the first peer's.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped
from numpy import ndarray

from benchmarks.lossless import sound_codecs
from inrzip import media
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.residual import decode_samples, encode_samples
from inrzip.signal import Kind, Spec

BLOCK = 8
REPEATS = 3
JXL_EFFORT, ZLIB_LEVEL = 3, 6
Samples = Shaped[ndarray, "*grid channels"]


@dataclasses.dataclass(frozen=True)
class Row:
    """What a codec takes: bytes, and seconds."""

    name: str
    n_bytes: int
    encode_s: float
    decode_s: float


def smooth(samples: Int[ndarray, "*grid channels"]) -> Int[ndarray, "*grid channels"]:
    """Means of blocks, interpolated between their centres and rounded: a prediction that misses what is fine."""
    values = samples.astype(np.float64)
    for axis in range(samples.ndim - 1):
        moved = np.moveaxis(values, axis, 0)
        n = len(moved)
        starts = np.arange(0, n, BLOCK)
        lengths = np.minimum(n - starts, BLOCK)
        means = np.add.reduceat(moved, starts) / lengths.reshape(-1, *[1] * (moved.ndim - 1))
        place = np.clip((np.arange(n) + 0.5) / BLOCK - 0.5, 0, len(means) - 1)
        low = np.minimum(place.astype(int), max(len(means) - 2, 0))
        share = (place - low).reshape(-1, *[1] * (moved.ndim - 1))
        high = np.minimum(low + 1, len(means) - 1)
        values = np.moveaxis(means[low] * (1 - share) + means[high] * share, 0, axis)
    return np.rint(values).astype(np.int32)


def best_time(call: Callable[[], object]) -> float:
    """Seconds of the processor that the fastest of a few calls takes: other work beside it does not count."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def ours(name: str, samples: Int[ndarray, "..."], prediction: Int[ndarray, "..."], bits: int) -> Row:
    def encode() -> bytes:
        encoder = RangeEncoder()
        encode_samples(encoder, samples, prediction, bits)
        return encoder.finish()

    def decode() -> ndarray:
        decoder = RangeDecoder(data)
        found = decode_samples(decoder, prediction, bits)
        decoder.finish()
        return found

    data = encode()
    assert np.array_equal(decode(), samples), name
    return Row(name, len(data), best_time(encode), best_time(decode))


def peer(name: str, encode: Callable[[], Any], decode: Callable[[bytes], Any], samples: Samples) -> Row:
    data = bytes(encode())
    assert np.array_equal(np.asarray(decode(data)).reshape(samples.shape), samples), name
    return Row(name, len(data), best_time(encode), best_time(lambda: decode(data)))


def picture_peers(samples: Samples) -> list[Row]:
    import imagecodecs

    flat = np.ascontiguousarray(samples[..., 0] if samples.shape[-1] == 1 else samples)
    return [
        peer(
            f"JPEG XL, effort {JXL_EFFORT}",
            lambda: imagecodecs.jpegxl_encode(flat, lossless=True, effort=JXL_EFFORT, numthreads=1),
            lambda data: imagecodecs.jpegxl_decode(data, numthreads=1),
            samples,
        ),
        peer("PNG", lambda: imagecodecs.png_encode(flat), imagecodecs.png_decode, samples),
    ]


def sound_peers(samples: Samples, spec: Spec) -> list[Row]:
    return [peer(c.name, c.encode, c.decode, samples) for c in sound_codecs(samples, spec)]


def floor(samples: Int[ndarray, "..."], prediction: Int[ndarray, "..."], bits: int) -> Row:
    dtype = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32

    def encode() -> bytes:
        return zlib.compress((samples - prediction).astype(dtype).tobytes(), ZLIB_LEVEL)

    def decode(data: bytes) -> ndarray:
        found = np.frombuffer(zlib.decompress(data), dtype).reshape(samples.shape).astype(np.int64) + prediction
        wrapped: ndarray = (found + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
        return wrapped

    return peer(f"zlib, level {ZLIB_LEVEL}, of the differences", encode, decode, samples)


def middle(path: Path, size: int, seconds: float) -> tuple[Samples, Spec]:
    """The middle of a picture or a sound."""
    signal = media.read_signal(path)
    spec = signal.spec
    samples = np.asarray(signal.read(0, spec.shape[0])).reshape(*spec.shape, spec.channels)
    rate = spec.meta.get("rate", (44100, 1))
    assert isinstance(rate, tuple)
    wanted = [int(seconds * rate[0] / rate[1])] if spec.kind == Kind.AUDIO else [size, size]
    for axis, n in enumerate(wanted):
        start = max(0, (samples.shape[axis] - n) // 2)
        samples = np.take(samples, range(start, min(start + n, samples.shape[axis])), axis)
    return np.ascontiguousarray(samples), spec


def measure(path: Path, size: int, seconds: float) -> None:
    samples, spec = middle(path, size, seconds)
    bits = 24 if spec.sample_type == "i3" else 8 * spec.dtype.itemsize
    offset = 0 if spec.sample_type.startswith("i") else 1 << (bits - 1)
    signed = (samples.astype(np.int64) - offset).astype(np.int32)
    good = smooth(signed)
    rows = picture_peers(samples) if spec.kind == Kind.IMAGE else sound_peers(samples, spec)
    rows += [
        floor(signed, good, bits),
        ours("residual, means of blocks as the prediction", signed, good, bits),
        ours("residual, no prediction", signed, np.zeros_like(signed), bits),
    ]
    n, first = math.prod(samples.shape), rows[0]
    for row in rows:
        print(
            f"| {path.name} | {row.name} | {row.n_bytes:,} | {row.n_bytes / first.n_bytes:.2f} "
            f"| {1e9 * row.encode_s / n:.0f} | {row.encode_s / first.encode_s:.1f} "
            f"| {1e9 * row.decode_s / n:.0f} | {row.decode_s / first.decode_s:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.residual_speed", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, help="pictures or sounds of whole numbers")
    parser.add_argument("--size", type=int, default=256, help="of pictures, in pixels (256)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of sounds (4)")
    options = parser.parse_args()
    print("| file | codec | bytes | ratio | encode, ns | ratio | decode, ns | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for path in options.files:
        measure(path, options.size, options.seconds)


if __name__ == "__main__":
    main()
