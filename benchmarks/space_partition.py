"""What space partitioning would win: distortion of blocks of half as many latents more, at the same bits of each.

    python -m benchmarks.space_partition

A block's index names one of 2^16 random candidates. Space partitioning (He, Flamich and Hernández-Lobato, NeurIPS 2024)
first tells in which cell of the prior the latents lie, so that candidates are drawn there alone, and a block can hold
more than an encoder could search for. Here 8 bits tell the cell (of 1, 2, 4 or 8 latents, in cells of equal mass), and
16 the candidate in it; beside it are blocks of 16 bits alone. Latents are unit normal, the nearest candidate is taken,
and candidates are as widely spread as is best for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy import ndarray
from scipy.stats import norm

from .machine import device

BITS, CELL_BITS = 16, 8
CELLED = (1, 2, 4, 8)
WIDTHS = (0.6, 0.8, 1.0, 1.25, 1.5)
SIZES = (4, 8, 16, 32, 64)
SOURCES = 60


def plain(size: int) -> float:
    """Mean squared error of a latent, in blocks of so many."""
    rng = np.random.default_rng(size)
    latents, candidates = rng.normal(size=(SOURCES * 4, size)), rng.normal(size=(1 << BITS, size))
    return min(float(_nearest(latents, candidates * width).mean()) / size for width in WIDTHS)


def partitioned(size: int, celled: int) -> float:
    """The same where `celled` latents of each block say in which of their cells they are."""
    rng, cells = np.random.default_rng(size), 1 << CELL_BITS // celled
    errors = np.zeros(len(WIDTHS))
    for _ in range(SOURCES):
        latents, draw = rng.normal(size=(1, size)), rng.normal(size=(1 << BITS, size))
        place = np.floor(norm.cdf(latents[:, :celled]) * cells)
        inside = norm.ppf((place + rng.random((1 << BITS, celled))) / cells)
        for i, width in enumerate(WIDTHS):
            candidates = np.concatenate([inside, draw[:, celled:] * width], 1)
            errors[i] += _nearest(latents, candidates)[0]
    return float(errors.min()) / SOURCES / size


def _nearest(latents: ndarray, candidates: ndarray) -> ndarray:
    squares = np.square(latents).sum(1)[:, None] + np.square(candidates).sum(1) - 2 * latents @ candidates.T
    found: ndarray = squares.min(1)
    return found


def rows() -> Iterable[str]:
    """Of the table."""
    for size in SIZES:
        rate, wide = BITS / size, size * (BITS + CELL_BITS) // BITS
        alone = plain(size)
        found = [(celled, partitioned(wide, celled)) for celled in CELLED if celled <= wide]
        saved = [f"{100 * 0.5 * math.log2(alone / error) / rate:+.1f} %" for _, error in found]
        saved += [""] * (len(CELLED) - len(saved))
        yield f"| {rate:g} | {size} | {alone:.4f} | {2 ** (-2 * rate):.4f} | {wide} | {' | '.join(saved)} |"


def main() -> None:
    print(f"# Space partitioning\n\n`python -m benchmarks.space_partition`: {device()}.\n")
    print("| bits a latent | in a block of 16 bits | squared error | at the limit | in one of 8 + 16 bits |", end="")
    print("".join(f" bits saved, {celled} latents in cells |" for celled in CELLED))
    print("|---" * (5 + len(CELLED)) + "|")
    for row in rows():
        print(row, flush=True)


if __name__ == "__main__":
    main()
