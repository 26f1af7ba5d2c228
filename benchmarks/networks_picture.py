"""One photograph as every recipe for images makes it of equal bytes, as one picture and a table.

`python -m benchmarks.networks_picture --out docs/pictures/networks.webp` (scikit-image's cat, averaged down).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageDraw

import inrzip
from inrzip.files import atomic_output
from inrzip.recipes import RECIPES
from inrzip.signal import Kind

from .items import area_averaged

Picture = UInt8[ndarray, "rows columns 3"]
PHOTOGRAPH = "chelsea"
SIZE = (128, 192)
"""Rows and columns."""
COLUMNS = 5
LABEL = 16


def labelled(picture: Picture, text: str) -> Picture:
    """The picture with a line of text below."""
    canvas = Image.new("RGB", (picture.shape[1], picture.shape[0] + LABEL), "white")
    canvas.paste(Image.fromarray(picture))
    ImageDraw.Draw(canvas).text((2, picture.shape[0] + 2), text, fill="black")
    return np.asarray(canvas)


def tiled(pictures: list[Picture]) -> Picture:
    """Pictures of one size in rows of `COLUMNS`."""
    blank = np.full_like(pictures[0], 255)
    padded = pictures + [blank] * (-len(pictures) % COLUMNS)
    rows = [np.concatenate(padded[i : i + COLUMNS], 1) for i in range(0, len(padded), COLUMNS)]
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks_picture", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a .webp file")
    parser.add_argument("--bytes", type=int, default=3000, help="of each file, at most (default: %(default)s)")
    parser.add_argument("--effort", type=int, default=1, help="1 to 9 (default: %(default)s)")
    usual = ",".join(name for name, recipe in RECIPES.items() if Kind.IMAGE in recipe.kinds)
    parser.add_argument("--recipes", default=usual, help="separated by commas (default: all for images)")
    options = parser.parse_args()
    from skimage import data

    photograph: Picture = getattr(data, PHOTOGRAPH)()
    original = area_averaged(photograph[:, : photograph.shape[0] * SIZE[1] // SIZE[0]], *SIZE)
    found = []
    print("| recipe | bytes | PSNR | parameters | bits of each |\n|---|---|---|---|---|")
    for name in options.recipes.split(","):
        fitted = inrzip.fit(original, name, target_size=options.bytes, effort=options.effort)
        psnr = fitted.quality["psnr_db"]
        found.append((psnr, labelled(np.asarray(fitted.reader), f"{name}  {psnr:.2f} dB")))
        bits = 8 * fitted.n_bytes / max(fitted.n_parameters, 1)
        row = f"| `{name}` | {fitted.n_bytes:,} | {psnr:.2f} | {fitted.n_parameters:,} | {bits:.1f} |"
        print(row, flush=True)
    found.sort(key=lambda pair: -pair[0])
    picture = tiled([labelled(original, "original"), *(p for _, p in found)])
    with atomic_output(options.out, overwrite=True) as temporary:
        Image.fromarray(picture).save(temporary, "webp", quality=90, method=6)


if __name__ == "__main__":
    main()
