"""Proteins: residues as bytes, PDB and mmCIF there and back, regions, what cannot be done, a prior of proteins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import inrzip
from inrzip import cli, media, prior_training
from inrzip.architectures.combiner_network import Layout
from inrzip.errors import CorruptFile, InrzipError, UnsupportedSignal
from inrzip.priors import latent_prior
from inrzip.residues import Residue, decode_residues, encode_residues
from inrzip.signal import ArraySignal, Kind

pytest.importorskip("gemmi")
SHORT = Layout(1, 3, 8, 4, (12,), (4,), 1, 4, (2, 2))


def helix(count: int, seed: int) -> np.ndarray:
    """C-alpha atoms of a helix that bends, in angstroms."""
    rng = np.random.default_rng(seed)
    t = np.arange(count)
    own = np.stack([2.3 * np.cos(1.745 * t), 2.3 * np.sin(1.745 * t), 1.5 * t], 1)
    return own + np.cumsum(rng.normal(0, 0.2, own.shape), 0) + rng.uniform(-40, 40, 3)


def pdb_line(number: int, atom: str, residue: Residue, at: np.ndarray, record: str = "ATOM") -> str:
    x, y, z = at
    place = f"{residue.chain}{residue.number:4d}{residue.insertion or ' '}"
    head = f"{record:<6}{number:5d} {atom:<4} {residue.name:>3} {place}   "
    return f"{head}{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"


def residues(count: int) -> list[Residue]:
    """Two chains, a gap, an insertion, a modified residue."""
    names = ["ALA", "GLY", "LEU", "TRP", "MSE"]
    found = []
    for i in range(count):
        chain, number = ("A", i - 1) if i < count // 2 else ("B", i + 40)
        found.append(Residue(chain, number + (5 if i > count // 4 else 0), "", names[i * 7 % 5]))
    found[2] = found[2]._replace(number=found[1].number, insertion="A")
    return found


def write_pdb(path: Path, count: int, seed: int = 0) -> tuple[list[Residue], np.ndarray]:
    own, places = residues(count), np.round(helix(count, seed), 3)
    text = "HEADER    MADE UP\n"
    for i, (residue, at) in enumerate(zip(own, places, strict=True)):
        record = "HETATM" if residue.name == "MSE" else "ATOM"
        text += pdb_line(3 * i + 1, " N", residue, at - 1, record) + pdb_line(3 * i + 2, " CA", residue, at, record)
    text += pdb_line(900, "CA", Residue("A", 99, "", "CA"), places[0], "HETATM").replace("           C", "          CA")
    path.write_text(text + "END\n")
    return own, places


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "media").mkdir()
    for seed in range(4):
        write_pdb(folder / "media" / f"{seed}.pdb", 30, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(prior_training.LAYOUTS, "protein", SHORT)
        patch.setenv(latent_prior.FOLDER_VARIABLE, str(folder))
        how = ["--kind", "protein", "--patches", "150", "--rounds", "4", "--quiet"]
        assert cli.main(["train-prior", str(folder / "media"), "-o", "tiny", *how]) == 0
    return folder


def test_residues_as_bytes() -> None:
    own = [*residues(30), Residue("LONG", -3, "", "TRYPTOPH"), Residue("A", 5, "B", "X")]
    data = encode_residues(own)
    assert decode_residues(data, len(own)) == own
    assert len(encode_residues([Residue("A", i + 1, "", "LEU") for i in range(100)])) < 50
    for damaged in (b"", data[:3], data[:9], bytes([200]) + data[1:]):
        with pytest.raises(CorruptFile):
            decode_residues(damaged, len(own))
    with pytest.raises(CorruptFile):
        decode_residues(data, len(own) + 1)
    with pytest.raises(ValueError):
        encode_residues([Residue("A", 1, "", "NINELETTER")])


def test_files_there_and_back(tmp_path: Path) -> None:
    """Residues and thousandths of an angstrom; other atoms, and calcium, are left out."""
    own, places = write_pdb(tmp_path / "a.pdb", 17)
    signal = media.read_signal(tmp_path / "a.pdb")
    assert isinstance(signal, ArraySignal)
    assert signal.spec.kind == Kind.PROTEIN and signal.spec.shape == (17,)
    for name in ("b.pdb", "b.cif"):
        media.write_signal(tmp_path / name, signal.spec, [signal.samples])
        again = media.read_signal(tmp_path / name)
        assert isinstance(again, ArraySignal)
        assert np.array_equal(again.samples, signal.samples)
        assert again.spec.meta["residues"] == signal.spec.meta["residues"]
    assert decode_residues(bytes(signal.spec.meta["residues"]), 17) == own  # type: ignore[arg-type]
    origin = np.array(signal.spec.meta["origin"])
    assert np.abs(signal.samples / 1000 + origin - places).max() < 1e-6


def test_what_is_no_protein(tmp_path: Path) -> None:
    for name, text in (("a.pdb", "HEADER\nEND\n"), ("a.cif", "no cif"), ("b.cif", "data_x\n"), ("e.pdb", "")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UnsupportedSignal):
            media.read_signal(tmp_path / name)
    write_pdb(tmp_path / "n.pdb", 9)
    (tmp_path / "n.pdb").write_text((tmp_path / "n.pdb").read_text().replace("CA  ", "CB  "))
    with pytest.raises(UnsupportedSignal, match="no C-alpha"):
        media.read_signal(tmp_path / "n.pdb")


def test_a_protein_compressed(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is told is what the file decodes to; a region holds its residues; one line for what there is not."""
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(home))
    latent_prior.find.cache_clear()
    own, places = write_pdb(tmp_path / "a.pdb", 21)
    report = inrzip.compress(tmp_path / "a.pdb", recipe="combiner", prior="tiny", quality=50, effort=2)
    inrzip.decompress(tmp_path / "a.inrz", tmp_path / "b.pdb")
    again = media.read_signal(tmp_path / "b.pdb")
    assert isinstance(again, ArraySignal)
    found = again.samples / 1000 + np.array(again.spec.meta["origin"])
    rmsd = float(np.sqrt(np.square(found - places).sum(1).mean()))
    assert abs(rmsd - report.quality["rmsd_angstrom"]) < 1e-6 and rmsd < 3
    inrzip.decompress(tmp_path / "a.inrz", tmp_path / "c.pdb", region=[(8, 13)])
    part = media.read_signal(tmp_path / "c.pdb")
    assert decode_residues(bytes(part.spec.meta["residues"]), 5) == own[8:13]  # type: ignore[arg-type]
    with pytest.raises(InrzipError, match="between its own"):
        inrzip.decompress(tmp_path / "a.inrz", tmp_path / "d.pdb", scale=2)
    with pytest.raises(InrzipError, match="cannot hold a protein"):
        inrzip.decompress(tmp_path / "a.inrz", tmp_path / "d.png")
    capsys.readouterr()
    assert cli.main(["view", str(tmp_path / "a.inrz")]) == 1
    assert "proteins are not shown" in capsys.readouterr().err
    assert cli.main(["info", str(tmp_path / "a.inrz")]) == 0
    assert "A (10), B (11)" in capsys.readouterr().out


def test_every_bit_of_a_protein(tmp_path: Path) -> None:
    """With the prior that is shipped, places come back to the thousandth of an angstrom that a file tells."""
    write_pdb(tmp_path / "a.pdb", 9)
    inrzip.compress(tmp_path / "a.pdb", lossless=True)
    inrzip.decompress(tmp_path / "a.inrz", tmp_path / "b.pdb")
    signals = [media.read_signal(tmp_path / name) for name in ("a.pdb", "b.pdb")]
    np.testing.assert_array_equal(*(signal.read(0, signal.spec.shape[0]) for signal in signals))
