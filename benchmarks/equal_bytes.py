"""docs/pictures.md: photographs as inrzip, JPEG, WebP and AVIF make them at equal bytes.

`python -m benchmarks.equal_bytes --out docs/pictures` writes the page and its pictures. The photographs come with
scikit-image. A peer gets the greatest quality at which its file is no larger than ours; all files are whole ones.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

import inrzip
from inrzip.files import atomic_output
from inrzip.metrics import psnr

from . import machine
from .items import Item
from .methods import Method
from .peers import PEERS

Picture = UInt8[ndarray, "rows columns 3"]
EFFORT = 3
BPP = 0.25
SHOWN = ("avif", "webp", "jpeg")
SEARCH_STEPS = 9
QUALITIES = (0.0, 100.0)
SIDE = 224
"""Of the square that is shown."""


@dataclasses.dataclass(frozen=True)
class Photograph:
    """`corner`: first row and column of the square that is shown."""

    name: str
    corner: tuple[int, int]


PHOTOGRAPHS = (Photograph("astronaut", (20, 130)), Photograph("coffee", (90, 200)), Photograph("chelsea", (50, 90)))


@dataclasses.dataclass(frozen=True)
class Coded:
    """A whole file's size, and what it decodes to."""

    name: str
    n_bytes: int
    decoded: Picture

    def db(self, original: Picture) -> float:
        """PSNR."""
        return psnr(float(np.mean((self.decoded.astype(np.float64) - original) ** 2)), 255)


def ours(name: str, original: Picture) -> tuple[Coded, Item]:
    """The default recipe's file, and the photograph as peers take it."""
    fitted = inrzip.fit(original, effort=EFFORT, target_bpp=BPP)
    coded = Coded(f"inrzip -e {EFFORT}", fitted.n_bytes, np.asarray(fitted.reader))
    return coded, Item(name, fitted.reader.spec, original)


def theirs(method: Method, item: Item, limit: int) -> Coded | None:
    """The best quality of at most `limit` bytes; None if even the worst takes more."""
    (low, high), best = QUALITIES, None
    for _ in range(SEARCH_STEPS):
        quality = (low + high) / 2
        data = method.encode(item, quality)
        if len(data) <= limit:
            best, low = data, quality
        else:
            high = quality
    if best is None:
        return None
    decoded = method.decode(best, item)
    assert isinstance(decoded, np.ndarray)
    return Coded(method.name, len(best), decoded)


def row(original: Picture, corner: tuple[int, int], coded: list[Coded]) -> Picture:
    """The square of the original and of each file, side by side."""
    top, left = corner
    squares = [p[top : top + SIDE, left : left + SIDE] for p in (original, *(c.decoded for c in coded))]
    return np.concatenate(squares, 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.equal_bytes", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures; the page goes beside it")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    from skimage import data

    lines = [
        "# Pictures at equal bytes",
        "",
        "Written by `python -m benchmarks.equal_bytes --out docs/pictures`; do not edit. From left to right: the",
        f"original, inrzip (`-e {EFFORT} --target-bpp {BPP}`), and each peer at the best quality whose file is no",
        f"larger. Squares of {SIDE} pixels, not scaled; sizes and PSNR are those of whole files. The photographs come",
        "with scikit-image.",
        "",
    ]
    for photograph in PHOTOGRAPHS:
        original: Picture = getattr(data, photograph.name)()
        mine, item = ours(photograph.name, original)
        found = [mine, *filter(None, (theirs(PEERS[name], item, mine.n_bytes) for name in SHOWN))]
        place = options.out / f"{photograph.name}.webp"
        with atomic_output(place, overwrite=True) as temporary:
            Image.fromarray(row(original, photograph.corner, found)).save(
                temporary, "webp", lossless=True, quality=100, method=6
            )
        height, width = original.shape[:2]
        picture = f"![{photograph.name}]({options.out.name}/{place.name})"
        lines += [f"## {photograph.name}, {width}x{height}", "", picture, ""]
        lines += ["| | bytes | PSNR |", "| --- | --- | --- |"]
        lines += [f"| {c.name} | {c.n_bytes:,} | {c.db(original):.2f} dB |" for c in found]
        lines += [""]
        print("\n".join(lines[-len(found) - 3 :]), flush=True)
    lines += [f"Commit {machine.commit()}; {machine.device()}.", ""]
    with atomic_output(options.out.with_suffix(".md"), overwrite=True) as temporary:
        temporary.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
