"""`python -m benchmarks.main_job FILE... [--effort N] [--quality Q] [--out FOLDER]`: one line for each file, beside
what people use today.

Each file is compressed, the file on disk decoded again, and measured by code of its own (not by what `compress`
reports). The peer is JPEG for images (4:4:4, the quality whose file comes nearest in bytes), MP3 for sound (libmp3lame,
the bit rate nearest in bytes), Draco for meshes (the position bits nearest in bytes); 16-bit images and volumes are
compared with zlib on the raw samples, which is lossless. Sizes are those of whole files. The table is Markdown on
stdout.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import inrzip
from inrzip.media import read_signal
from inrzip.media.meshes import read_mesh
from inrzip.shape_metrics import compare
from inrzip.signal import Kind, Mesh, ShapeSignal, Signal

MP3_RATES = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table: bytes and quality, ours and the peer's."""

    name: str
    raw: int
    ours: int
    quality: str
    peer: str
    seconds: float


def _psnr(a: np.ndarray, b: np.ndarray, peak: float) -> float:
    return float(10 * np.log10(peak**2 / max(np.mean((a.astype(float) - b.astype(float)) ** 2), 1e-30)))


def _nearest_jpeg(samples: np.ndarray, size: int) -> str:
    from PIL import Image

    image = Image.fromarray(samples if samples.shape[-1] > 1 else samples[..., 0])
    files = []
    for quality in range(1, 96):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
        files.append(buffer.getvalue())
    best = min(files, key=lambda data: abs(len(data) - size))
    decoded = np.asarray(Image.open(io.BytesIO(best))).reshape(samples.shape)
    return f"JPEG {len(best)} B, {_psnr(samples, decoded, 255):.2f} dB"


def _nearest_mp3(signal: Signal, peak: float, size: int) -> str:
    import av

    rate = signal.spec.meta["rate"]
    assert isinstance(rate, tuple)
    samples = signal.read(0, signal.spec.shape[0]).astype(np.float64)
    floats = (samples / (peak / 2)).astype(np.float32)
    results = []
    for kilobits in MP3_RATES:
        buffer = io.BytesIO()
        with av.open(buffer, "w", "mp3") as out:
            layout = "mono" if floats.shape[1] == 1 else "stereo"
            stream: Any = out.add_stream("libmp3lame", rate=int(rate[0]), layout=layout)
            stream.bit_rate, stream.format = kilobits * 1000, "fltp"
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(floats.T), "fltp", layout)
            frame.rate = int(rate[0])
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                out.mux(packet)
        results.append(buffer.getvalue())
    best = min(results, key=lambda data: abs(len(data) - size))
    decoded = np.concatenate([f.to_ndarray().T for f in av.open(io.BytesIO(best), "r").decode(audio=0)])
    return f"MP3 {len(best)} B, {_aligned_psnr(floats, decoded):.2f} dB"


def _aligned_psnr(original: np.ndarray, decoded: np.ndarray) -> float:
    """PSNR at the delay (the codec's) that fits best; both from -1 to 1, so the peak is 2."""
    scores = []
    for lag in range(2400):
        piece = decoded[lag : lag + len(original)]
        scores.append(_psnr(original[: len(piece)], piece, 2.0) if len(piece) > len(original) // 2 else -99.0)
    return max(scores)


def _nearest_draco(mesh: Mesh, size: int) -> str:
    import DracoPy

    best = None
    for bits in range(4, 15):
        data = DracoPy.encode(mesh.vertices, mesh.faces, quantization_bits=bits, compression_level=10)
        if best is None or abs(len(data) - size) < abs(len(best[0]) - size):
            best = data, bits
    assert best is not None
    decoded = DracoPy.decode(best[0])
    quality = compare(mesh, Mesh(np.asarray(decoded.points, np.float64), np.asarray(decoded.faces, np.int64)))
    return f"Draco {best[1]} bit {len(best[0])} B, {quality.psnr:.2f} dB, chamfer {quality.chamfer_percent:.3f} %"


def measure_file(path: Path, out: Path, effort: int, quality: float) -> Row:
    """Compresses, decompresses and measures one file."""
    begun = time.monotonic()
    packed = out / (path.name + ".inrz")
    inrzip.compress(path, packed, effort=effort, quality=quality, overwrite=True)
    seconds = time.monotonic() - begun
    size = packed.stat().st_size
    original = read_signal(path)
    restored = out / (path.stem + ".restored" + (".obj" if original.spec.kind == Kind.SHAPE else path.suffix))
    if original.spec.kind == Kind.AUDIO:
        restored = restored.with_suffix(".wav")
    inrzip.decompress(packed, restored, overwrite=True)
    if isinstance(original, ShapeSignal):
        found = compare(original.mesh, read_mesh(restored).mesh)
        text = f"{found.psnr:.2f} dB, chamfer {found.chamfer_percent:.3f} %, IoU {found.iou:.3f}"
        return Row(path.name, path.stat().st_size, size, text, _nearest_draco(original.mesh, size), seconds)
    samples = original.read(0, original.spec.shape[0])
    again = read_signal(restored, kind=original.spec.kind)
    db = _psnr(samples, again.read(0, again.spec.shape[0]), original.spec.peak)
    if original.spec.kind == Kind.IMAGE and samples.dtype == np.uint8:
        peer = _nearest_jpeg(samples, size)
    elif original.spec.kind == Kind.AUDIO:
        peer = _nearest_mp3(original, original.spec.peak, size)
    else:
        peer = f"zlib {len(zlib.compress(samples.tobytes(), 9))} B, lossless"
    return Row(path.name, samples.nbytes, size, f"{db:.2f} dB", peer, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--effort", type=int, default=5)
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    print(
        "| file | raw bytes | inrzip bytes | quality | peer at nearest bytes | seconds |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for path in options.files:
        row = measure_file(path, options.out, options.effort, options.quality)
        print(f"| {row.name} | {row.raw} | {row.ours} | {row.quality} | {row.peer} | {row.seconds:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
