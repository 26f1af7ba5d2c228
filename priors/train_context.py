"""Makes the prior of exact samples from folders of media: `python -m inrzip.priors.train_context --images FOLDER ...`.

What networks see of a piece of each file (`inrzip.codecs.context.collect`) is put together, and a network is fitted to
it for each number of axes and of earlier planes: pictures have two axes, sounds one, videos, as volumes, three. Planes
are also taken alone, as grey pictures and single channels are. A file that is there already (`--out`) is gone on from:
networks of axes for which no folder is named stay as they are.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Shaped
from numpy import ndarray
from scipy import ndimage

from inrzip import context_fit, media
from inrzip.codecs import context
from inrzip.codecs.context import Looks, Network
from inrzip.codecs.context_layout import earlier_planes
from inrzip.compilation import prepare
from inrzip.context_coding import compact, plane_order
from inrzip.priors import context_prior
from inrzip.signal import Kind

HIDDEN = 48
SIZES = {Kind.IMAGE: (192, 192), Kind.AUDIO: (40_000,), Kind.VIDEO: (6, 80, 112)}
"""Of a piece, at most: rows and columns, samples, or frames, rows and columns."""
PIECES = {Kind.IMAGE: 2, Kind.AUDIO: 2, Kind.VIDEO: 12}
MOST_ZOOM, MOST_NOISE, SHARED_NOISE = 2.0, 2.5, 0.5
"""Half of the pictures are made smoother, up to so many times larger, and noisy again, by as many levels at most: the
photographs there are were made smaller, and those that people have were not.
"""


def pieces(folder: Path, prefixes: Sequence[str], kind: Kind, seed: int) -> Iterator[Shaped[ndarray, "*grid channels"]]:
    """Random pieces of the files of a folder whose names begin with one of `prefixes`."""
    rng = np.random.default_rng(seed)
    for path in sorted(folder.iterdir()):
        if not path.is_file() or not path.name.startswith(tuple(prefixes)):
            continue
        signal = media.read_signal(path, kind=kind)
        shape = signal.spec.shape
        for _ in range(PIECES[kind]):
            sizes = [min(n, most) for n, most in zip(shape, SIZES[kind], strict=True)]
            starts = [int(rng.integers(n - size + 1)) for n, size in zip(shape, sizes, strict=True)]
            rows = signal.read(starts[0], starts[0] + sizes[0])
            inner = tuple(slice(a, a + n) for a, n in zip(starts[1:], sizes[1:], strict=True))
            yield rows[(slice(None), *inner)]


def varied(
    piece: Shaped[ndarray, "rows columns channels"], rng: np.random.Generator
) -> Shaped[ndarray, "*grid channels"]:
    """A picture as it is, or as a larger and noisier one."""
    if rng.integers(2):
        return piece
    zoom = rng.uniform(1.0, MOST_ZOOM)
    shape = piece.shape
    rows, columns = (np.arange(n) / zoom for n in shape[:2])
    places = np.meshgrid(rows, columns, indexing="ij")
    spline = [ndimage.map_coordinates(piece[..., c].astype(np.float32), places, order=3) for c in range(shape[2])]
    sigma = rng.uniform(0.0, MOST_NOISE)
    noise = SHARED_NOISE * rng.normal(0, sigma, (*shape[:2], 1)) + rng.normal(0, sigma, shape) * rng.uniform(0.3, 1.0)
    return np.clip(np.rint(np.stack(spline, -1) + noise), 0, 255).astype(piece.dtype)


def looks(piece: Shaped[ndarray, "*grid channels"], rng: np.random.Generator) -> Iterator[tuple[int, int, Looks, int]]:
    """What networks see of a piece: axes, earlier planes, that, and 2^bits. Now and then a channel is taken alone."""
    if piece.shape[-1] > 1 and rng.integers(4) == 0:
        channel = int(rng.integers(piece.shape[-1]))
        piece = piece[..., channel : channel + 1]
    samples, scale = compact(piece, plane_order(piece.shape[-1]))
    if scale.bits:
        for plane, seen in enumerate(context.collect(samples, scale.bits)):
            yield samples.ndim - 1, earlier_planes(plane, samples.ndim - 1), seen, 1 << scale.bits


def joined(parts: Sequence[Looks]) -> Looks:
    arrays = ([getattr(part, name) for part in parts] for name in ("features", "anchors", "bases", "values"))
    return Looks(*(np.concatenate(a) for a in arrays))


def rounded(network: context_fit.Arrays) -> Network:
    return Network(*(context_fit.in_whole(array) for array in network))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m inrzip.priors.train_context", description=__doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER")
    parser.add_argument("--sounds", type=Path, metavar="FOLDER", nargs="+", default=[])
    parser.add_argument("--videos", type=Path, metavar="FOLDER")
    parser.add_argument("--prefixes", nargs="+", default=[""], help="of names to use")
    parser.add_argument("--steps", type=int, default=4000, help="for each network")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    prepare()
    folders = [(options.images, Kind.IMAGE), *((f, Kind.AUDIO) for f in options.sounds), (options.videos, Kind.VIDEO)]
    rng, found = np.random.default_rng(1), []
    begun = time.monotonic()
    for folder, kind in folders:
        if folder is not None:
            for piece in pieces(folder, options.prefixes, kind, 0):
                found += list(looks(varied(piece, rng) if kind == Kind.IMAGE else piece, rng))
                print(f"\r{len(found)} planes, {time.monotonic() - begun:.0f} s", end="", flush=True)
    networks = dict(context_prior.loads(options.out.read_bytes())) if options.out.exists() else {}
    for (rank, earlier), group in itertools.groupby(sorted(found, key=lambda f: f[:2]), key=lambda f: f[:2]):
        members = list(group)
        seen, depth = joined([m[2] for m in members]), max(m[3] for m in members)
        start = context_fit.begin(jax.random.key(0), context.shapes(rank, earlier, HIDDEN))
        network = context_fit.fit(
            seen, depth, start, options.steps, context_fit.PEAK, going=_show(rank, earlier, begun)
        )
        networks[rank, earlier] = rounded(network)
        print(
            f"\n{rank} axes, {earlier} earlier planes: {len(seen.values)} samples, "
            f"{context_fit.mean_bits(network, seen, depth, 1 << 20):.4f} bits for each"
        )
        options.out.write_bytes(context_prior.dumps(networks))


def _show(rank: int, earlier: int, begun: float):  # type: ignore[no-untyped-def]
    def going(step: int, loss: float) -> bool:
        print(f"\r{rank}/{earlier}: step {step}, {loss:.4f} bits, {time.monotonic() - begun:.0f} s", end="", flush=True)
        return True

    return going


if __name__ == "__main__":
    main()
