"""`python -m benchmarks.coder_overhead`: what the automatic code takes for independent Laplace weights, over entropies.

Two entropies: that of the very integers by their own histogram, which a decoder does not know, and that of the rounded
density they were drawn from. The latter over the former is what even a decoder that knows the density must spend.
Numbers are means of several draws; all side information counts.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.levels import UniformSteps
from inrzip.codecs.weights import QuantisedTensor, encode_tensors

SIZES = (1024, 7569, 66049)
SCALES = (0.5, 1, 2, 5, 10, 20, 50)
DRAWS = 8
REACH = 60
"""Multiples of the scale beyond which there is no mass to speak of."""


def histogram_bits(values: Int[ndarray, " n"]) -> float:
    """Bits of all `values` at their zero-order entropy."""
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / values.size)).sum())


def density_bits(scale: float) -> float:
    """Bits of one integer: a Laplace variable of that scale, rounded."""
    edges = np.arange(-REACH * scale, REACH * scale + 1) + 0.5
    below = np.where(edges < 0, np.exp(-np.abs(edges) / scale) / 2, 1 - np.exp(-np.abs(edges) / scale) / 2)
    masses = np.diff(below)
    masses = masses[masses > 0]
    return float(-(masses * np.log2(masses)).sum())


def main() -> None:
    print(
        "| weights | scale in steps | bits/weight | over the integers' entropy | over the density's entropy "
        "| the density's over the integers' |"
    )
    print("|---|---|---|---|---|---|")
    for n in SIZES:
        for scale in SCALES:
            rng = np.random.default_rng(0)
            over = []
            for _ in range(DRAWS):
                values = np.rint(rng.laplace(0, scale, n)).astype(np.int32)
                bits = 8 * len(encode_tensors([QuantisedTensor(values, UniformSteps(0))]))
                own, true = histogram_bits(values), n * density_bits(scale)
                over.append((bits / own - 1, bits / true - 1, true / own - 1))
            shares = " | ".join(f"{100 * share:.2f} %" for share in np.mean(over, axis=0))
            print(f"| {n:,} | {scale} | {density_bits(scale):.2f} | {shares} |")


if __name__ == "__main__":
    main()
