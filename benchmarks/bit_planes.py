"""Steps until a network of bit planes has every bit right, next to the paper's: `python -m benchmarks.bit_planes FILES`

LosslessINR (Han et al., CVPR 2025, table 1) fits images of 256x256 by a SIREN of five layers of 512 that is told which
bit is asked for, with Adam at 1e-4, until no bit is wrong. That is a GPU's work. Here are crops from the middle of
images and smaller networks of the same kind (`inrzip.architectures.bits`, whose logits are eight times what the last
layer says), with all bits in every step, mean binary cross-entropy and constant learning rates. A step's errors are
counted before it moves the weights, in float32; what has none is decoded by the package and compared. A fit that does
not get there within its steps says how many bits were wrong at best.

With `--ternary`, networks of weights -1, 0 and 1 (`inrzip.architectures.ternary`) are fitted, too, in the same way;
their errors are those of the evaluation in whole numbers, which files have, once floats have none.

Next to the steps: bytes of the fitted network in float32, or of the stream of its ternary weights; then those of whole
lossless files of the crop by the recipes `bits` (as it is by default, and with networks that tell all bits, of floats
and ternary) and `context`, PNG and JPEG XL, all decoded and compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped
from numpy import ndarray

import inrzip
from inrzip import media
from inrzip.architectures.base import Grid, parameters
from inrzip.architectures.bits import Bits, BitsConfig, bit_planes
from inrzip.architectures.ternary import Ternary, rounded
from inrzip.codecs.levels import UniformSteps
from inrzip.codecs.weights import QuantisedTensor, encode_tensors
from inrzip.descent import Moments, adam, adam_start
from inrzip.ternary_encoder import UNIT_STEP

from .lossless import image_codecs

DECAYS = (0.9, 0.999)
PAPER = {8: "790 ± 109", 16: "3450 ± 877"}
"""Steps, by the bits of a sample: DIV2K and Kodak, TESTIMAGES and MIT-5k."""
PAPER_TERNARY = "80,000 (128x128, 16 bits)"
POINTS_AT_ONCE = 1 << 14
"""So that a step's values fit into caches, and memory, whatever the size of the crop."""
WATCHED, WATCHED_STEPS = 1 << 20, 10
"""Fits of so many bits say how far they are, after so many steps each."""
FILES: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("bits", "bits", {}),
    ("bits, all by a network", "bits", {"keep": 1}),
    ("bits, all by a ternary network", "bits", {"keep": 1, "ternary": 1}),
    ("context", "context", {}),
)
"""Files that are made: what to call them, the recipe and its settings."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """`steps`: after so many no bit was wrong (None: it did not get there); `wrong`: the fewest that were; `n_bytes`:
    what the network's weights take.
    """

    rate: float
    steps: int | None
    wrong: int
    n_bytes: int


def middle(path: Path, size: int) -> Shaped[ndarray, "size size channels"]:
    """The middle of an image, decoded by the package."""
    signal = media.read_signal(path)
    samples = np.asarray(signal.read(0, signal.spec.shape[0])).reshape(*signal.spec.shape, signal.spec.channels)
    top, left = ((n - size) // 2 for n in samples.shape[:2])
    return np.ascontiguousarray(samples[top : top + size, left : left + size])


def fit(
    samples: Shaped[ndarray, "*grid channels"],
    bits: int,
    width: int,
    depth: int,
    rate: float,
    most: int,
    ternary: bool = False,
) -> Fit:
    """Adam at a constant rate, all bits in every step, until none is wrong or `most` steps are done."""
    planes = bit_planes(samples.astype(np.int64), 0, (1 << bits) - 1)
    grid = Grid(samples.shape[:-1], samples.shape[-1])
    kind = {"ternary": 1} if ternary else {}
    config = BitsConfig.solve(grid, 0, span=(1 << bits) - 1, width=width, depth=depth, **kind)
    axes = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in planes.shape[:-1]), indexing="ij")
    inputs = _parts(np.stack(axes, -1).reshape(-1, planes.ndim - 1))
    targets = _parts(planes.reshape(-1, planes.shape[-1]).astype(np.float32))
    counted = _parts(np.ones((planes.size // planes.shape[-1], 1), np.float32))
    module = config.build(grid, jax.random.key(0))
    arrays, static = eqx.partition(module, eqx.is_inexact_array)

    def loss(arrays: Bits, part: tuple[Array, Array, Array]) -> tuple[Float[Array, ""], Int[Array, ""]]:
        inputs, targets, counted = part
        logits = eqx.combine(arrays, static).logits(inputs)
        wrong = jnp.sum(((logits > 0) != (targets > 0.5)) & (counted > 0))
        return jnp.sum((jax.nn.softplus(logits) - targets * logits) * counted) / planes.size, wrong

    @jax.jit
    def step(arrays: Bits, moments: Moments, number: Int[Array, ""]) -> tuple[Bits, Moments, Int[Array, ""]]:
        def with_part(sums: tuple[Bits, Array], part: tuple[Array, Array, Array]) -> tuple[tuple[Bits, Array], None]:
            return jax.tree.map(jnp.add, sums, jax.grad(loss, has_aux=True)(arrays, part)), None

        nothing = (jax.tree.map(jnp.zeros_like, arrays), jnp.int32(0))
        (gradient, wrong), _ = jax.lax.scan(with_part, nothing, (inputs, targets, counted))
        change, moments = adam(gradient, moments, number, DECAYS)
        return jax.tree.map(lambda a, c: a - rate * c, arrays, change), moments, wrong

    def settled(arrays: Bits) -> Bits:
        """What files hold of the network."""
        found: Bits = eqx.combine(arrays, static)
        if not isinstance(found.network, Ternary):
            return found
        whole: Bits = eqx.tree_at(lambda bits: bits.network.layers, found, [rounded(w) for w in found.network.layers])
        return whole

    def is_exact(arrays: Bits) -> bool:
        decoded = np.rint(settled(arrays).render(grid.axes()).astype(np.float64) * config.span)
        return bool(np.array_equal(decoded, samples))

    moments, fewest, done = adam_start(arrays), planes.size, False
    for number in range(most + 1):
        moved, moments, wrong = step(arrays, moments, jnp.int32(number))
        fewest = min(fewest, int(wrong))
        if planes.size > WATCHED and number % WATCHED_STEPS == 0:
            print(f"step {number}: {int(wrong):,} bits are wrong", file=sys.stderr, flush=True)
        done = not int(wrong) and is_exact(arrays)
        assert done or int(wrong) or ternary, "bits are wrong that the fit took for right"
        if done:
            break
        arrays = moved
    network = settled(arrays)
    return Fit(rate, number if done else None, fewest, _weight_bytes(network))


def _parts(rows: Float[ndarray, "points values"]) -> Float[Array, "parts points values"]:
    """In parts of equal size, which a step sees one after the other; the last one is filled with zeros."""
    n = max(-(-len(rows) // POINTS_AT_ONCE), 1)
    size = -(-len(rows) // n)
    return jnp.asarray(np.pad(rows, [(0, n * size - len(rows)), (0, 0)]).reshape(n, size, -1))


def _weight_bytes(network: Bits) -> int:
    if not isinstance(network.network, Ternary):
        return sum(array.nbytes for array in parameters(network))
    layers = [layer.astype(np.int32) for layer in network.network.whole()]
    return len(encode_tensors([QuantisedTensor(layer, UniformSteps(UNIT_STEP)) for layer in layers]))


def file_sizes(samples: Shaped[ndarray, "*grid channels"], effort: int) -> dict[str, int]:
    """Bytes of whole lossless files, by codec; all are decoded and compared."""
    sizes = {}
    for name, recipe, settings in FILES:
        found = inrzip.fit(samples, recipe, kind="image", lossless=True, effort=effort, settings=settings)
        with inrzip.Reader(found.data) as reader:
            assert np.array_equal(np.asarray(reader).reshape(samples.shape), samples), name
            network = reader.segment(0)
        alone = isinstance(network, Bits) and network.network is None
        sizes[name + " (without a network)" * alone] = len(found.data)
    for codec in image_codecs(samples):
        data = codec.encode()
        assert np.array_equal(codec.decode(data), samples), codec.name
        sizes[codec.name] = len(data)
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bit_planes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, help="images of 8 or 16 bits")
    parser.add_argument("--size", type=int, default=32, help="of the crops, in pixels (32)")
    parser.add_argument("--width", type=int, default=96, help="units of a hidden layer (96)")
    parser.add_argument("--depth", type=int, default=3, help="hidden layers (3)")
    parser.add_argument("--ternary", action="store_true", help="fit networks of ternary weights, too")
    parser.add_argument("--rates", default="1e-3,1e-4", help="learning rates to try, between commas (1e-3,1e-4)")
    parser.add_argument("--steps", type=int, default=400, help="at most, for each rate (400)")
    parser.add_argument("--effort", type=int, default=1, help="of the recipes' files (1)")
    options = parser.parse_args()
    size, depth, width, most = options.size, options.depth, options.width, options.steps
    print(f"Crops of {size}x{size}, networks of {depth} layers of {width}, all bits in every step.\n")
    print("| file | bits | network | rate | steps to no wrong bit | the paper's, 256x256 | network, bytes |")
    print("|---|---|---|---|---|---|---|")
    crops = [(path.name, middle(path, size)) for path in options.files]
    kinds = [("SIREN", False)] + [("ternary", True)] * options.ternary
    for name, samples in crops:
        bits, channels = 8 * samples.dtype.itemsize, samples.shape[-1]
        for (kind, ternary), rate in itertools.product(kinds, map(float, options.rates.split(","))):
            found = fit(samples, bits, width, depth, rate, most, ternary)
            missed = f"more than {most}: {found.wrong:,} of {samples.size * bits:,} bits are wrong"
            steps = missed if found.steps is None else found.steps
            paper = PAPER_TERNARY if ternary else PAPER[bits]
            row = f"| {name} | {channels} x {bits} | {kind} | {rate:g} | {steps} | {paper} | {found.n_bytes:,} |"
            print(row, flush=True)
    print()
    for name, samples in crops:
        sizes = {"raw": samples.nbytes} | file_sizes(samples, options.effort)
        print(f"{name}: " + ", ".join(f"{codec} {n:,}" for codec, n in sizes.items()), flush=True)


if __name__ == "__main__":
    main()
