"""Bytes without loss next to other codecs: `python -m benchmarks.lossless FILE... [-e 5] [--recipe NAME]`.

Each file is compressed with `--lossless`, decoded from disk and compared, and coded by the lossless codecs of its kind:
PNG, WebP, JPEG 2000 and JPEG XL (effort 9) for images; FLAC (level 8) for sounds; JPEG XL slice by slice and xz for
volumes and videos. All of them are decoded and compared, too. Sizes are of whole files, seconds those of
`inrzip.compress` (with its own check) and of `numpy.asarray(inrzip.open(..))`, in one process.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import lzma
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

import inrzip
from inrzip import media
from inrzip.reader import Reader
from inrzip.signal import Kind, Spec

Samples = Shaped[ndarray, "*grid channels"]
RGB = 3
JXL_EFFORT, FLAC_LEVEL, FLAC_LEVELS, XZ_PRESET = 9, 8, 8, 9 | lzma.PRESET_EXTREME


@dataclasses.dataclass(frozen=True)
class Codec:
    """A lossless codec, for one signal."""

    name: str
    encode: Callable[[], bytes]
    decode: Callable[[bytes], Samples]


def _flat(samples: Samples) -> Samples:
    return np.ascontiguousarray(samples[..., 0] if samples.shape[-1] == 1 else samples)


def image_codecs(samples: Samples) -> list[Codec]:
    import imagecodecs

    flat, shape = _flat(samples), samples.shape

    def codec(name: str, encode: Callable[[], Any], decode: Callable[[bytes], Any]) -> Codec:
        return Codec(name, lambda: bytes(encode()), lambda data: decode(data).reshape(shape))

    found = [
        codec("PNG", lambda: imagecodecs.png_encode(flat, level=9), imagecodecs.png_decode),
        codec(
            "JPEG 2000",
            lambda: imagecodecs.jpeg2k_encode(flat, level=0, reversible=True, codecformat="J2K"),
            imagecodecs.jpeg2k_decode,
        ),
        codec(
            "JPEG XL",
            lambda: imagecodecs.jpegxl_encode(flat, lossless=True, effort=JXL_EFFORT),
            imagecodecs.jpegxl_decode,
        ),
    ]
    if samples.dtype == np.uint8 and samples.shape[-1] >= RGB:
        webp = codec("WebP", lambda: imagecodecs.webp_encode(flat, lossless=True, method=6), imagecodecs.webp_decode)
        found.insert(1, webp)
    return found


def sound_codecs(samples: Samples, spec: Spec) -> list[Codec]:
    import soundfile

    if spec.sample_type not in ("i2", "i3"):
        return []
    wide = spec.sample_type == "i3"

    def encode() -> bytes:
        out = io.BytesIO()
        rate = spec.meta.get("rate", (44100, 1))
        assert isinstance(rate, tuple)
        data = (samples.astype(np.int32) << 8) if wide else samples.astype(np.int16)
        subtype = "PCM_24" if wide else "PCM_16"
        level = FLAC_LEVEL / FLAC_LEVELS
        soundfile.write(out, data, int(rate[0] / rate[1]), subtype, format="FLAC", compression_level=level)
        return out.getvalue()

    def decode(coded: bytes) -> Samples:
        found, _ = soundfile.read(io.BytesIO(coded), dtype="int32" if wide else "int16", always_2d=True)
        decoded: Samples = found >> 8 if wide else found
        return decoded

    return [Codec("FLAC", encode, decode)]


def volume_codecs(samples: Samples) -> list[Codec]:
    import imagecodecs

    raw, shape, dtype = samples.tobytes(), samples.shape, samples.dtype
    lowest = min(int(samples.min()), 0)
    unsigned = (samples.astype(np.int64) - lowest).astype(np.uint16 if dtype.itemsize > 1 else np.uint8)
    slices = unsigned.reshape(-1, *shape[-3:])
    lengths: list[int] = []

    def encode() -> bytes:
        coded = [bytes(imagecodecs.jpegxl_encode(_flat(part), lossless=True, effort=JXL_EFFORT)) for part in slices]
        lengths[:] = [len(part) for part in coded]
        return b"".join(coded)

    def decode(data: bytes) -> Samples:
        ends = np.cumsum(lengths)
        parts = [imagecodecs.jpegxl_decode(data[end - n : end]) for end, n in zip(ends, lengths, strict=True)]
        return (np.stack(parts).reshape(shape).astype(np.int64) + lowest).astype(dtype)

    return [
        Codec(
            "xz",
            lambda: lzma.compress(raw, preset=XZ_PRESET),
            lambda data: np.frombuffer(lzma.decompress(data), dtype).reshape(shape),
        ),
        Codec("JPEG XL", encode, decode),
    ]


def codecs(samples: Samples, spec: Spec) -> list[Codec]:
    """The lossless codecs of a signal's kind."""
    if spec.kind == Kind.IMAGE:
        return image_codecs(samples)
    return sound_codecs(samples, spec) if spec.kind == Kind.AUDIO else volume_codecs(samples)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lossless", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("-e", "--effort", type=int, default=5)
    parser.add_argument("--recipe")
    parser.add_argument("--kind")
    options = parser.parse_args()
    inrzip.fit(np.zeros((9, 9, 3), np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None], "context", lossless=True)
    totals: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "a.inrz"
        for path in options.files:
            report = inrzip.compress(
                path,
                out,
                lossless=True,
                recipe=options.recipe,
                effort=options.effort,
                kind=options.kind,
                overwrite=True,
            )
            begun = time.monotonic()
            with Reader(out) as reader:
                decoded = np.asarray(reader)
                spec = reader.spec
            seconds = time.monotonic() - begun
            signal = media.read_signal(path, kind=spec.kind)
            samples = np.asarray(signal.read(0, spec.shape[0])).reshape(*spec.shape, spec.channels)
            assert np.array_equal(decoded.reshape(samples.shape), samples)
            row = {f"inrzip {report.recipe}": report.bytes}
            theirs: dict[str, float] = {}
            for codec in codecs(samples, spec):
                data = codec.encode()
                begun = time.monotonic()
                assert np.array_equal(codec.decode(data), samples), codec.name
                theirs[codec.name], row[codec.name] = time.monotonic() - begun, len(data)
            points = int(np.prod(spec.shape))
            best = min(theirs, key=row.__getitem__)
            sizes = ", ".join(f"{c} {n} ({8 * n / points:.3f})" for c, n in row.items())
            print(
                f"{path.name}: {sizes}; {100 * (report.bytes / row[best] - 1):+.1f} % to {best}; "
                f"encoded in {report.seconds:.0f} s, decoded in {seconds:.1f} s ({seconds / theirs[best]:.0f} times "
                f"what {best} takes, {1e6 * seconds / spec.n_samples:.1f} µs for a sample)",
                flush=True,
            )
            for name, size in row.items():
                totals.setdefault(name, []).append(size)
    print(
        "all: "
        + ", ".join(f"{codec} {sum(sizes)}" for codec, sizes in totals.items() if len(sizes) == len(options.files))
    )


if __name__ == "__main__":
    main()
