"""Curves that papers print, from the CSV files in published/: `codec,image,bpp,psnr_db,source`.

A row without an image is a mean over the data set; rows with images are averaged over those that were measured here.
"""

from __future__ import annotations

import csv
import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from inrzip.errors import InrzipError

FOLDER = Path(__file__).resolve().parent / "published"


@dataclasses.dataclass(frozen=True)
class PublishedCurve:
    """(bpp, dB) by rising rate; `scope`: what was averaged over; `source`: where the numbers are from.

    `items`: the curves of single images, where they are stored and the image was measured here.
    """

    name: str
    pairs: tuple[tuple[float, float], ...]
    scope: str
    source: str
    items: Mapping[str, Sequence[tuple[float, float]]] = dataclasses.field(default_factory=dict)


def available() -> list[str]:
    """Names of the data sets that papers' numbers are stored for."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def load(name: str, items: Collection[str]) -> list[PublishedCurve]:
    """The curves of a data set. Raises InrzipError for one that is not stored."""
    path = FOLDER / f"{name}.csv"
    if name not in available():
        raise InrzipError(f"--published {name}: there are {', '.join(available())}")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    curves = []
    for codec in dict.fromkeys(row["codec"] for row in rows):
        mine = [row for row in rows if row["codec"] == codec]
        if mine[0]["image"]:
            curves.append(_of_images(codec, [row for row in mine if row["image"] in items]))
        else:
            pairs = sorted((float(row["bpp"]), float(row["psnr_db"])) for row in mine)
            curves.append(PublishedCurve(codec, tuple(pairs), f"all images of {name}", mine[0]["source"]))
    return [curve for curve in curves if curve.pairs]


def _of_images(codec: str, rows: list[dict[str, str]]) -> PublishedCurve:
    """Means of the images' n-th points: files list each image's points in the same order."""
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        points[row["image"]].append((float(row["bpp"]), float(row["psnr_db"])))
    means = np.mean(list(points.values()), axis=0) if points else np.zeros((0, 2))
    pairs = tuple(sorted((float(rate), float(db)) for rate, db in means))
    scope, items = f"the {len(points)} images here", {name: sorted(each) for name, each in points.items()}
    return PublishedCurve(codec, pairs, scope, rows[0]["source"] if rows else "", items)
