"""Pictures of odd sizes and samples: `python -m benchmarks.odd_pictures PHOTO --out FILE`.

Each is cut from a photograph, or drawn; compressed by the default recipe, decoded from its file, and stands beside the
PNG of the same picture. PSNR is over the range of its samples, all channels alike. A row of 3x5000 samples tells of
levels that are one sample high, a page of letters of what latent grids are not for.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from numpy import ndarray
from PIL import Image, ImageDraw

import inrzip
from inrzip.files import atomic_output

from .machine import facts

ROW = (3, 5000)
SMALL_GREY = (17, 23)
SIDE = 64
PAGE, LINES = (320, 480), 14
DEEP = 257
"""What makes 8 bits 16."""


def pictures(photo: ndarray) -> Iterator[tuple[str, ndarray]]:
    """Names and samples, all cut from a photograph of 8 bits and three channels, but the page."""
    middle = [n // 2 for n in photo.shape[:2]]
    square = photo[middle[0] : middle[0] + SIDE, middle[1] : middle[1] + SIDE]
    line = np.concatenate(list(photo[middle[0] : middle[0] + ROW[1] // photo.shape[1] + 1]))[: ROW[1]]
    fade = np.broadcast_to(np.linspace(0, 255, SIDE).astype(np.uint8)[:, None, None], (SIDE, SIDE, 1))
    yield "1x1", square[:1, :1]
    yield "3x5000", np.stack([line] * ROW[0])
    yield "17x23, grey", square[: SMALL_GREY[0], : SMALL_GREY[1], 1]
    yield "64x64, grey of 16 bits", square[..., 1].astype(np.uint16) * DEEP
    yield "64x64, colours and alpha", np.concatenate([square, fade], -1)
    yield "320x480, letters", page()


def page() -> ndarray:
    """Black letters on white, as on a screen."""
    image = Image.new("RGB", PAGE[::-1], "white")
    draw = ImageDraw.Draw(image)
    for i in range(LINES):
        text = f"{i}: the quick brown fox jumps over the lazy dog, {i * i} times"
        draw.text((12, 10 + i * PAGE[0] // LINES), text, fill="black")
    return np.asarray(image)


def row(name: str, samples: ndarray, folder: Path, effort: int) -> str:
    """A line of the table."""
    source, packed = folder / "a.png", folder / "a.inrz"
    iio.imwrite(source, samples)
    begun = time.monotonic()
    report = inrzip.compress(source, packed, effort=effort, overwrite=True)
    seconds = time.monotonic() - begun
    with inrzip.Reader(packed) as reader:
        again = reader[...].reshape(samples.shape)
    peak = float(np.iinfo(samples.dtype).max)
    error = float(np.mean((again.astype(np.float64) - samples) ** 2)) / peak**2
    db = "exact" if error == 0 else f"{-10 * np.log10(error):.1f}"
    plain = io.BytesIO()
    iio.imwrite(plain, samples, extension=".png")
    return (
        f"| {name} | {report.recipe} | {packed.stat().st_size:,} | {db} | {seconds:.1f} | {len(plain.getvalue()):,} |"
    )


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.odd_pictures", description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--effort", type=int, default=1, choices=range(1, 10))
    parser.add_argument("--out", type=Path, help="a Markdown file to write as well")
    options = parser.parse_args()
    photo = iio.imread(options.photo)
    lines = ["| picture | recipe | bytes | dB | seconds | PNG, bytes |", "|---|---|---|---|---|---|"]
    print(*lines, sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, samples in pictures(photo):
            lines.append(row(name, samples, Path(folder), options.effort))
            print(lines[-1], flush=True)
    if options.out is not None:
        known = facts(["odd_pictures", *sys.argv[1:]])
        made_by = f"Commit {known['commit']}, {known['source']}; {known['device']}; {known['versions']}."
        head = [
            "# Odd pictures",
            "",
            "`" + known["command"].replace("benchmarks odd", "benchmarks.odd") + "`",
            "",
            made_by,
            "",
        ]
        with atomic_output(options.out, overwrite=True) as temporary:
            temporary.write_text("\n".join([*head, *lines]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
