"""Speech and proteins by a learned prior: `python -m benchmarks.small_signals FOLDER --out FILE`.

FOLDER holds sounds, of which the first three seconds are taken, or proteins. At each quality all are fitted side by
side into one collection; each member, as the file that it would be alone, counts with its bytes, and is decoded from
there. Speech: kilobits a second, and PSNR of the wave from 0 to 1, as the papers have it, as a mean of clips; beside
it are MP3 and Opus. Proteins: bits for each C-alpha atom, of the whole file and of the coordinates' part of it, and the
root mean square distance of the atoms; beside it the PDB file by gzip, and those of its lines that hold C-alpha atoms.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

import inrzip
from inrzip.files import atomic_output
from inrzip.media import read_signal
from inrzip.members import Collection
from inrzip.signal import Kind

from . import machine
from .items import Item, load_item
from .peers_audio import METHODS

SECONDS = 3
PEERS, KILOBITS = ("mp3", "opus"), (8.0, 16.0, 24.0, 32.0, 48.0, 64.0)
PSNR_SPAN = 2.0
"""Of a wave from -1 to 1: papers map it to 0 to 1."""
C_ALPHA = slice(12, 16)
"""Columns of an atom's name in a PDB file."""

Row = Sequence[str | float]


def clips(folder: Path, to: Path) -> list[Path]:
    """The first seconds of all sounds, as WAV files of 16 bits."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix in (".flac", ".wav"):
            samples, rate = soundfile.read(path, dtype="int16")
            found.append(to / f"{path.stem}.wav")
            soundfile.write(found[-1], samples[: SECONDS * rate], rate, subtype="PCM_16")
    return found


def psnr_db(item: Item, decoded: np.ndarray) -> float:
    """Of samples of 16 bits."""
    error = np.mean((item.samples.astype(np.float64) - decoded) ** 2) / (PSNR_SPAN * 2**15) ** 2
    return float(-10 * np.log10(max(error, 1e-12)))


def sound_peers(items: Sequence[Item]) -> list[Row]:
    """Mean kilobits a second and PSNR of each peer."""
    rows: list[Row] = []
    for method in (m for m in METHODS if m.name in PEERS):
        for rate in KILOBITS:
            files = [method.encode(item, rate) for item in items]
            dbs = [psnr_db(i, np.asarray(method.decode(f, i))) for f, i in zip(files, items, strict=True)]
            kilobits = [8 * len(f) / 1000 * i.rate / i.n_points for f, i in zip(files, items, strict=True)]
            rows.append((f"{method.name} at {rate:g}", float(np.mean(kilobits)), float(np.mean(dbs)), ""))
    return rows


def gzip_rows(paths: Sequence[Path]) -> list[Row]:
    """Bits for each C-alpha atom of PDB files by gzip."""
    whole, lines = [], []
    for path in paths:
        text, n = path.read_bytes(), read_signal(path).spec.shape[0]
        atoms = b"\n".join(line for line in text.split(b"\n") if line[:4] == b"ATOM" and line[C_ALPHA] == b" CA ")
        whole.append(8 * len(gzip.compress(text, 9)) / n)
        lines.append(8 * len(gzip.compress(atoms, 9)) / n)
    return [
        ("gzip, whole file", float(np.mean(whole)), "", 0.0),
        ("gzip, C-alpha lines", float(np.mean(lines)), "", 0.0),
    ]


def ours(paths: Sequence[Path], quality: float, effort: int, prior: str | None, pack: Path) -> Row:
    """Means at one quality."""
    begun = time.monotonic()
    report = inrzip.compress_together(
        [(path.stem, path) for path in paths], pack, quality=quality, effort=effort, prior=prior, overwrite=True,
        progress=lambda p: print(f"\r{p.stage} {p.fraction:.2f}", end="", file=sys.stderr),
    )  # fmt: skip
    seconds = (time.monotonic() - begun) / len(paths)
    rates, parts, distortions = [], [], []
    with Collection(pack) as members:
        for facts, reader in zip(report.members, members, strict=True):
            size, spec = float(str(facts["bytes"])), reader.spec
            measured = facts["quality"]
            assert isinstance(measured, dict)
            if spec.kind == Kind.PROTEIN:
                rates.append(8 * size / spec.shape[0])
                parts.append(8 * len(reader.payload(0)) / spec.shape[0])
                distortions.append(measured["rmsd_angstrom"])
            else:
                rate = spec.meta["rate"]
                assert isinstance(rate, tuple)
                rates.append(8 * size / 1000 * rate[0] / rate[1] / spec.shape[0])
                distortions.append(measured["psnr_db"])
    name = f"combiner -q {quality:g} ({seconds:.1f} s each)"
    if parts:
        return name, float(np.mean(rates)), float(np.mean(parts)), float(np.mean(distortions))
    return name, float(np.mean(rates)), float(np.mean(distortions)), ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_signals", description=__doc__)
    parser.add_argument("folder", type=Path, help="sounds, or proteins")
    parser.add_argument("--out", type=Path, required=True, help="the report")
    parser.add_argument("--qualities", type=float, nargs="+", default=(25.0, 50.0, 75.0))
    parser.add_argument("--effort", type=int, default=3)
    parser.add_argument("--prior", help="a prior by name or file (default: the package's)")
    parser.add_argument("--most", type=int, default=100, help="signals that are taken, at most")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        proteins = sorted(p for p in options.folder.iterdir() if p.suffix == ".pdb")
        paths = (proteins or clips(options.folder, Path(name)))[: options.most]
        pack = Path(name) / "pack.inrz"
        rows = [ours(paths, q, options.effort, options.prior, pack) for q in options.qualities]
        rows += gzip_rows(paths) if proteins else sound_peers([load_item(path) for path in paths])
    heads = ("bits per atom, file", "of coordinates", "RMSD, Å") if proteins else ("kbit/s, file", "PSNR, dB", "")
    qualities = " ".join(f"{q:g}" for q in options.qualities)
    about = (
        f"`python -m benchmarks.small_signals {options.folder.name} --qualities {qualities} "
        f"--effort {options.effort}`: {len(paths)} signals; "
        f"commit {machine.commit()}; {machine.device()}."
    )
    lines = [f"# {'Proteins' if proteins else 'Speech'} by a learned prior", "", about, ""]
    lines += ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    lines += ["| " + " | ".join(c if isinstance(c, str) else f"{c:.3f}" for c in row) + " |" for row in rows]
    with atomic_output(options.out, overwrite=True) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
