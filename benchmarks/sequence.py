"""Videos in sequence in one file: `python -m benchmarks.sequence CLIP... [--bytes 6000] [-e 3] [--share PERCENT]`.

Each clip, the first frames of a video averaged down, is added to a file with the recipe `pfnr`. Its PSNR right after it
was added and at the end, whether both are of the very same samples, the part of earlier weights that it uses; and the
PSNR of files of their own at the same bytes, with `pfnr` and with `nerv`.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

import inrzip
from inrzip.members import Collection

EVERY = 2
"""Of so many frames one is taken."""


def clip(path: Path, n_frames: int, height: int, width: int) -> UInt8[ndarray, "frames height width 3"]:
    """Frames averaged over squares of samples, as large as possible, from the middle of the picture."""
    frames = np.stack(list(itertools.islice(iio.imiter(path, plugin="pyav"), 0, EVERY * n_frames, EVERY)))
    factor = min(frames.shape[1] // height, frames.shape[2] // width)
    top, left = (frames.shape[1] - factor * height) // 2, (frames.shape[2] - factor * width) // 2
    middle = frames[:, top : top + factor * height, left : left + factor * width].astype(np.float64)
    means = middle.reshape(len(frames), height, factor, width, factor, 3).mean((2, 4))
    return np.asarray(np.rint(means), np.uint8)


def reused(members: Collection, number: int) -> float:
    """The part of the weights of earlier videos that a member uses."""
    before = members[number].before()
    if not before:
        return 0.0
    old = members.pool(number - before)
    used = [np.asarray(array) for array in _arrays(members, number)]
    pairs = [(mine[values != 0] != 0) for mine, values in zip(used, old.values, strict=True) if values.any()]
    return float(np.concatenate(pairs).mean())


def _arrays(members: Collection, number: int) -> list[Any]:
    from inrzip.architectures.base import parameters

    return list(parameters(members[number].segment(0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--bytes", type=int, default=6000)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", default="88x72")
    parser.add_argument("-e", "--effort", type=int, default=3)
    parser.add_argument("--share")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    how: dict[str, Any] = {"kind": "video", "target_size": options.bytes, "effort": options.effort}
    pfnr: dict[str, Any] = {"recipe": "pfnr", "settings": {"share": options.share} if options.share else {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out, after, samples, sources = folder / "all.inrz", [], [], []
        for i, path in enumerate(options.clips):
            sources.append(folder / f"{i}.npy")
            np.save(sources[i], clip(path, options.frames, height, width))
            after.append(inrzip.compress(sources[i], out, member=path.stem, append=i > 0, **pfnr, **how))
            with Collection(out) as members:
                samples.append(np.asarray(members[i]))
        print("| clip | bytes | dB when added | dB at the end | same samples | of earlier weights | `pfnr` | `nerv` |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        with Collection(out) as members:
            for i, path in enumerate(options.clips):
                end: Any = inrzip.verify(out, sources[i], member=i)
                same = "yes" if np.array_equal(np.asarray(members[i]), samples[i]) else "no"
                cells = [path.stem, after[i].bytes, f"{after[i].quality['psnr_db']:.2f}", f"{end['psnr_db']:.2f}", same]
                cells.append(f"{100 * reused(members, i):.0f} %" if i else "–")
                for recipe in (pfnr, {"recipe": "nerv", "settings": {}}):
                    alone = inrzip.compress(sources[i], folder / "alone.inrz", overwrite=True, **recipe, **how)
                    cells.append(f"{alone.bytes} B, {alone.quality['psnr_db']:.2f} dB")
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            print(f"the file: {members.file.size} bytes, {members.file.overhead} of them index")


if __name__ == "__main__":
    main()
