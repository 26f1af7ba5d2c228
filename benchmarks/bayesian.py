"""Thumbnails by a learned prior: `python -m benchmarks.bayesian SPRITES --out FOLDER`.

SPRITES is a picture whose rows are images of 32x32 RGB pixels, as data sets of CIFAR-10 come; the rows asked for are
written as PNG files. Each quality makes one collection of all of them, fitted side by side. Then each member, a whole
file of its own, is written to disk alone, decoded from there, and compared with the original. Rates are those of whole
files: of members as files of one signal, and of the collection with its names. The peers' are those of whole files too.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from numpy import ndarray
from PIL import Image

import inrzip
from inrzip.collection import CollectionFile
from inrzip.files import atomic_output
from inrzip.signal import Kind, Spec

from . import machine, published
from .items import Item
from .peers_images import METHODS
from .plots import svg_of

SIDE = 32
PEERS = ("jpeg", "webp", "avif")
RECIPES = ("combiner", "vc-inr", "coin++")
QUALITIES = (25.0, 37.5, 50.0, 62.5, 75.0)
HELD_OUT = (800, 1000)
PIXELS = SIDE * SIDE

Point = dict[str, float | str]


def psnr_db(a: ndarray, b: ndarray) -> float:
    """PSNR of 8-bit samples."""
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def ours(
    images: UInt8[ndarray, "n 32 32 3"], recipe: str, quality: float, effort: int, prior: str | None, folder: Path
) -> tuple[list[Point], list[dict[str, object]]]:
    """A collection at one quality, and its members as files: means, and a row for each image."""
    sources = []
    for i, image in enumerate(images):
        path = folder / f"{i}.png"
        Image.fromarray(image).save(path)
        sources.append((str(i), path))
    pack = folder / "pack.inrz"
    begun = time.monotonic()
    report = inrzip.compress_together(
        sources, pack, recipe=recipe, quality=quality, effort=effort, prior=prior, overwrite=True,
        progress=lambda p: print(f"\r{p.stage} {p.fraction:.2f}", end="", file=sys.stderr),
    )  # fmt: skip
    encoding = (time.monotonic() - begun) / len(images)
    rows: list[dict[str, object]] = []
    alone, seconds = folder / "alone.inrz", []
    with CollectionFile.open(pack) as members:
        for number, image in enumerate(images):
            with open(alone, "wb") as out:
                members.copy(number, out)
            begun = time.monotonic()
            with inrzip.Reader(alone) as reader:
                again = reader[...]
            seconds.append(time.monotonic() - begun)
            size = alone.stat().st_size
            db = round(psnr_db(again, image), 3)
            rows.append({"recipe": recipe, "image": number, "quality": quality, "bytes": size, "psnr_db": db})
    sizes, dbs = ([float(str(row[key])) for row in rows] for key in ("bytes", "psnr_db"))
    facts: Point = {"psnr_db": float(np.mean(dbs)), "encode_s": encoding, "decode_ms": 1000 * float(np.median(seconds))}
    single: Point = {"codec": f"{recipe}, single files", "bpp": 8 * float(np.mean(sizes)) / PIXELS, **facts}
    together: Point = {"codec": f"{recipe}, collection", "bpp": 8 * report.bytes / PIXELS / len(images), **facts}
    return [single, together], rows


def peers(images: UInt8[ndarray, "n 32 32 3"]) -> list[Point]:
    """Mean rate and PSNR of each peer at each of its qualities."""
    spec = Spec(Kind.IMAGE, (SIDE, SIDE), 3, "u1", 0.0, 255.0, {})
    items = [Item(str(i), spec, image) for i, image in enumerate(images)]
    points: list[Point] = []
    for method in METHODS:
        if method.name not in PEERS:
            continue
        for quality in method.ladder:
            files = [method.encode(item, quality) for item in items]
            dbs = [psnr_db(np.asarray(method.decode(f, i)), i.samples) for f, i in zip(files, items, strict=True)]
            bpp = 8 * float(np.mean([len(f) for f in files])) / PIXELS
            points.append({"codec": method.name, "bpp": bpp, "psnr_db": float(np.mean(dbs))})
    return points


def at_rate(curve: list[tuple[float, float]], bpp: float) -> float | None:
    """PSNR of a curve at a rate, linear in the logarithm of the rate; None outside of it."""
    rates, dbs = np.array(sorted(curve)).T
    if not rates[0] <= bpp <= rates[-1]:
        return None
    return float(np.interp(np.log(bpp), np.log(rates), dbs))


def plot(points: list[Point], papers: list[published.PublishedCurve]) -> str:
    """All curves as SVG."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(str(point["codec"]) for point in points):
        pairs = [(p["bpp"], p["psnr_db"]) for p in points if p["codec"] == name]
        axes.semilogx(*zip(*pairs, strict=True), "o-", label=name)
    for curve in papers:
        axes.semilogx(*zip(*curve.pairs, strict=True), "--", marker=".", label=f"{curve.name} (paper)")
    axes.set_xlabel("bits per pixel, whole files (papers: as they count)")
    axes.set_ylabel("mean PSNR, dB")
    axes.set_ylim(15, 42)
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    return svg_of(figure)


def table(points: list[Point], papers: list[published.PublishedCurve], about: str) -> str:
    """The report."""
    recombiner, coinpp = (
        next(list(curve.pairs) for curve in papers if curve.name == name) for name in ("RECOMBINER", "COIN++")
    )
    columns: list[tuple[str, Callable[[Point], str]]] = [
        ("codec", lambda p: str(p["codec"])),
        ("bpp", lambda p: f"{p['bpp']:.3f}"),
        ("dB", lambda p: f"{p['psnr_db']:.2f}"),
        ("dB over RECOMBINER's printed curve", lambda p: _difference(p, recombiner)),
        ("over COIN++'s", lambda p: _difference(p, coinpp)),
        ("encode, s an image", lambda p: f"{p['encode_s']:.2f}" if "encode_s" in p else ""),
        ("decode, ms", lambda p: f"{p['decode_ms']:.1f}" if "decode_ms" in p else ""),
    ]
    lines = ["# Thumbnails by a learned prior", "", about, "", *(__doc__ or "").split("\n\n")[1].splitlines(), ""]
    lines += ["![PSNR over rate](bayesian.svg)", ""]
    lines += ["| " + " | ".join(name for name, _ in columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(cell(point) for _, cell in columns) + " |" for point in points]
    return "\n".join(lines) + "\n"


def _difference(point: Point, curve: list[tuple[float, float]]) -> str:
    there = at_rate(curve, float(point["bpp"]))
    return "" if there is None else f"{float(point['psnr_db']) - there:+.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bayesian", description=__doc__)
    parser.add_argument("sprites", type=Path, help="picture with one image of 32x32 in each row")
    parser.add_argument("--out", type=Path, required=True, help="folder of tables and the plot")
    parser.add_argument("--rows", type=int, nargs=2, default=HELD_OUT, metavar=("FIRST", "END"), help="images to take")
    parser.add_argument("--qualities", type=float, nargs="+", default=QUALITIES)
    parser.add_argument("--effort", type=int, default=5)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="of those with a learned prior")
    parser.add_argument("--prior", help="a prior by name or file (default: the package's)")
    options = parser.parse_args()
    rows = np.asarray(Image.open(options.sprites).convert("RGB"))[slice(*options.rows)]
    images = np.ascontiguousarray(rows.reshape(-1, SIDE, SIDE, 3))
    points, single = [], []
    with tempfile.TemporaryDirectory() as folder:
        for recipe, quality in itertools.product(options.recipes, options.qualities):
            found, each = ours(images, recipe, quality, options.effort, options.prior, Path(folder))
            points += found
            single += each
            print(f"\n{recipe}, quality {quality:g}: {found}", flush=True)
    points = sorted(points, key=lambda point: str(point["codec"])) + peers(images)
    papers = published.load("cifar10", [])
    more = f" --prior {Path(options.prior).name}" if options.prior else ""
    if tuple(options.qualities) != QUALITIES:
        more += f" --qualities {' '.join(f'{quality:g}' for quality in options.qualities)}"
    about = (
        f"`python -m benchmarks.bayesian {options.sprites.name} --rows {options.rows[0]} {options.rows[1]} "
        f"--recipes {' '.join(options.recipes)} --effort {options.effort}{more}`: {len(images)} images; "
        f"commit {machine.commit()}; {machine.device()}."
    )
    out = io.StringIO()
    writer = csv.DictWriter(out, ["recipe", "image", "quality", "bytes", "psnr_db"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(single)
    options.out.mkdir(parents=True, exist_ok=True)
    texts = {"README.md": table(points, papers, about), "bayesian.svg": plot(points, papers)}
    for name, text in (*texts.items(), ("images.csv", out.getvalue())):
        with atomic_output(options.out / name, overwrite=True) as temporary:
            temporary.write_text(text)


if __name__ == "__main__":
    main()
