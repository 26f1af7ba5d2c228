"""`python -m benchmarks.main_job FILE... [--effort N] [--quality Q] [--out FOLDER]`: one line for each file, beside
what people use today.

Each file is compressed, the file on disk decoded again, and measured by code of its own (not by what `compress`
reports). The peer is JPEG for images, MP3 for sound, Draco for meshes, each at the quality whose file comes nearest in
bytes; 16-bit images and volumes are compared with zlib, which is lossless. Peers and their settings are those of
`benchmarks/peers_*.py`. Sizes are those of whole files. The table is Markdown on stdout.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import inrzip
from inrzip.media import read_signal
from inrzip.signal import Kind, ShapeSignal

from .items import Content, Item, load_item
from .measuring import MAIN_METRIC, distortion
from .peers import PEERS

TRIED: Mapping[str, Sequence[float]] = {
    "jpeg": range(1, 96),
    "mp3": (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    "draco": range(4, 15),
    "zlib": (9,),
}
"""Quality points of each peer, in its own units."""
ENDINGS: Mapping[Kind, str] = {Kind.SHAPE: ".obj", Kind.AUDIO: ".wav"}
"""Of restored files; others have that of the original."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table: bytes and quality, ours and the peer's."""

    name: str
    raw: int
    ours: int
    quality: str
    peer: str
    seconds: float


def peer_of(item: Item) -> str:
    """What people use today for such a signal; without loss where no usual codec takes it."""
    if item.kind == Kind.IMAGE and item.samples.dtype == np.uint8:
        return "jpeg"
    return {Kind.AUDIO: "mp3", Kind.SHAPE: "draco"}.get(item.kind, "zlib")


def nearest_file(peer: str, item: Item, size: int) -> bytes:
    """The peer's file that comes nearest in bytes."""
    files = [PEERS[peer].encode(item, quality) for quality in TRIED[peer]]
    return min(files, key=lambda data: abs(len(data) - size))


def in_words(item: Item, decoded: Content) -> str:
    """The quality of decoded content."""
    exact, _, figures = distortion(item, decoded)
    if exact:
        return "lossless"
    words = f"{figures[MAIN_METRIC[item.kind]]:.2f} dB"
    if item.kind == Kind.SHAPE:
        words += f", chamfer {figures['chamfer-percent']:.3f} %, IoU {figures['iou']:.3f}"
    return words


def measure_file(path: Path, out: Path, effort: int, quality: float) -> Row:
    """Compresses, decompresses and measures one file."""
    begun = time.monotonic()
    packed = out / (path.name + ".inrz")
    inrzip.compress(path, packed, effort=effort, quality=quality, overwrite=True)
    seconds = time.monotonic() - begun
    item, size = load_item(path), packed.stat().st_size
    restored = out / (path.stem + ".restored" + ENDINGS.get(item.kind, path.suffix))
    inrzip.decompress(packed, restored, overwrite=True)
    again = read_signal(restored, kind=item.kind)
    decoded = again.mesh if isinstance(again, ShapeSignal) else again.read(0, again.spec.shape[0])
    name = peer_of(item)
    file = nearest_file(name, item, size)
    peer = f"{name} {len(file)} B, {in_words(item, PEERS[name].decode(file, item))}"
    raw = path.stat().st_size if item.kind == Kind.SHAPE else item.raw_bytes
    return Row(path.name, raw, size, in_words(item, decoded), peer, seconds)


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
