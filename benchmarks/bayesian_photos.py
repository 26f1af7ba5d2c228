"""Photographs by a learned prior: `python -m benchmarks.bayesian_photos PICTURE... --out FOLDER`.

Each picture is compressed at each quality to a file of its own, which is decoded from disk and compared with the
original. Rates are those of whole files, JPEG's too. Published curves are means over all
pictures of Kodak, or those of the same picture where they are printed for it; they count bits as their papers do.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import inrzip
from inrzip.files import atomic_output

from . import machine, published
from .bayesian import at_rate, psnr_db

CURVES = ("COIN", "COIN++", "RECOMBINER")
JPEG_QUALITIES = (1, 3, 5, 8, 12, 18, 25, 35)

Row = dict[str, str | float]


def ours(picture: Path, recipe: str, quality: float, effort: int, folder: Path) -> Row:
    """One file."""
    path, begun = folder / "a.inrz", time.process_time()
    inrzip.compress(picture, path, recipe=recipe, quality=quality, effort=effort, overwrite=True)
    encoding, begun = time.process_time() - begun, time.process_time()
    with inrzip.Reader(path) as reader:
        again = reader[...]
    decoding, original = time.process_time() - begun, np.asarray(Image.open(picture).convert("RGB"))
    return _row(picture, recipe, quality, path.stat().st_size, original, again) | {
        "encode_cpu_s": round(encoding, 1), "decode_cpu_s": round(decoding, 2),
    }  # fmt: skip


def jpeg(picture: Path, quality: int) -> Row:
    """The same of JPEG, with optimised tables."""
    original, out = np.asarray(Image.open(picture).convert("RGB")), io.BytesIO()
    Image.fromarray(original).save(out, "JPEG", quality=quality, optimize=True)
    return _row(picture, "jpeg", quality, len(out.getvalue()), original, np.asarray(Image.open(out)))


def _row(picture: Path, codec: str, quality: float, size: int, original: np.ndarray, again: np.ndarray) -> Row:
    bpp = 8 * size / (original.shape[0] * original.shape[1])
    return {
        "image": picture.stem, "codec": codec, "quality": quality, "bytes": size, "bpp": round(bpp, 4),
        "psnr_db": round(psnr_db(original, again), 3),
    }  # fmt: skip


def table(rows: list[Row], about: str) -> str:
    """The report: our points, and what others have at the same rate."""
    names = [str(row["image"]) for row in rows]
    curves = {name: [c for c in published.load("kodak", [name]) if c.name in CURVES] for name in dict.fromkeys(names)}
    ours_heads, theirs = ["image", "recipe", "`-q`", "bytes", "bpp", "dB"], ["JPEG at that rate", *CURVES]
    heads = [*ours_heads, *theirs, "encode, s of CPU", "decode"]
    lines = ["# Photographs by a learned prior", "", about, "", *(__doc__ or "").split("\n\n")[1].splitlines(), ""]
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        if row["codec"] == "jpeg":
            continue
        name, rate = str(row["image"]), float(row["bpp"])
        peers = [(float(r["bpp"]), float(r["psnr_db"])) for r in rows if (r["image"], r["codec"]) == (name, "jpeg")]
        least = min(peers)
        others = [f"{found:.2f}" if (found := at_rate(peers, rate)) else f"(least: {least[1]:.2f} at {least[0]:.3f})"]
        for wanted in CURVES:
            found = next((at_rate(list(c.pairs), rate) for c in curves[name] if c.name == wanted), None)
            others.append(f"{found:.2f}" if found else "")
        cells = [name, str(row["codec"]), f"{row['quality']:g}", str(row["bytes"]), f"{rate:.3f}"]
        cells += [f"{row['psnr_db']:.2f}", *others]
        lines.append("| " + " | ".join([*cells, f"{row['encode_cpu_s']}", f"{row['decode_cpu_s']}"]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bayesian_photos", description=__doc__)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="folder of tables")
    parser.add_argument("--recipes", nargs="+", default=("combiner",))
    parser.add_argument("--qualities", type=float, nargs="+", default=(20.0, 35.0))
    parser.add_argument("--effort", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    about = (
        f"`python -m benchmarks.bayesian_photos {' '.join(p.name for p in options.pictures)} --recipes "
        f"{' '.join(options.recipes)} --qualities {' '.join(f'{q:g}' for q in options.qualities)} "
        f"--effort {options.effort}`: commit {machine.commit()}; {machine.device()}."
    )
    rows: list[Row] = []
    for picture in options.pictures:
        rows += [jpeg(picture, quality) for quality in JPEG_QUALITIES]
    with tempfile.TemporaryDirectory() as folder:
        for recipe, quality in itertools.product(options.recipes, options.qualities):
            for picture in options.pictures:
                rows.append(ours(picture, recipe, quality, options.effort, Path(folder)))
                print(rows[-1], flush=True)
                _write(options.out, rows, about)


def _write(folder: Path, rows: list[Row], about: str) -> None:
    """What there is so far: a fit takes long."""
    out = io.StringIO()
    heads = ["image", "codec", "quality", "bytes", "bpp", "psnr_db", "encode_cpu_s", "decode_cpu_s"]
    writer = csv.DictWriter(out, heads, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    for name, text in (("photographs.md", table(rows, about)), ("photographs.csv", out.getvalue())):
        with atomic_output(folder / name, overwrite=True) as temporary:
            temporary.write_text(text)


if __name__ == "__main__":
    main()
