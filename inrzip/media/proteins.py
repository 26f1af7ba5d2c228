"""Proteins: C-alpha atoms of PDB and mmCIF files, read and written by gemmi."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped
from numpy import ndarray

from ..console import one_line
from ..errors import CorruptFile, InrzipError, UnsupportedSignal
from ..metrics import SAMPLES_PER_ANGSTROM
from ..residues import FREQUENCIES, Residue, decode_residues, encode_residues
from ..signal import ArraySignal, Kind, MetaValue, Spec

PDB_EXTENSIONS = (".pdb", ".ent")
"""Others are mmCIF."""
PER_ANGSTROM = SAMPLES_PER_ANGSTROM
HALF_SPAN = 64 * PER_ANGSTROM
"""Of the range of samples, for all proteins that fit; for larger ones it is doubled until they do. So a prior knows how
large an angstrom is.
"""
MOST_ANGSTROMS = 1 << 20


def read_protein(path: Path) -> ArraySignal:
    """The C-alpha atoms of the first model of a PDB or mmCIF file, in the order of the file; of a residue with several,
    the first. Samples are (residues, 3), in thousandths of an angstrom from `origin`, which is in angstroms.

    Chains, numbers, insertion codes and names of residues are kept in `residues` (see `inrzip.residues`), other atoms,
    ligands, water and remarks are not. Raises `UnsupportedSignal` for a file without such atoms, or without gemmi.
    """
    structure = _gemmi_read(path)
    residues, positions = _c_alphas(structure)
    if not residues:
        raise UnsupportedSignal(f"{path}: has no C-alpha atoms; only proteins are read")
    angstroms = np.array(positions, np.float64)
    if not np.isfinite(angstroms).all() or np.abs(angstroms).max() > MOST_ANGSTROMS:
        raise UnsupportedSignal(f"{path}: has atoms at no place, or too far away")
    origin = np.rint(angstroms.mean(0)).astype(np.int64)
    samples = np.rint(PER_ANGSTROM * angstroms).astype(np.int64) - PER_ANGSTROM * origin
    half = HALF_SPAN
    while half < np.abs(samples).max():
        half *= 2
    try:
        coded = encode_residues(residues)
    except (ValueError, UnicodeEncodeError) as error:
        raise UnsupportedSignal(f"{path}: {error}") from error
    meta: dict[str, MetaValue] = {
        "origin": tuple(int(n) for n in origin), "residues": coded, "format": path.suffix.lower(),
    }  # fmt: skip
    if decode_residues(coded, len(residues)) != residues:
        raise InrzipError(f"{path}: its residues do not come back; this is a bug, please report it")
    spec = Spec(Kind.PROTEIN, (len(residues),), 3, "i4", float(-half), float(half), meta)
    return ArraySignal(spec, samples.astype(np.int32), path.stat().st_size)


def _gemmi() -> Any:
    try:
        import gemmi
    except ImportError as error:
        raise UnsupportedSignal("proteins need gemmi; install it with: pip install 'inrzip[proteins]'") from error
    return gemmi


def _gemmi_read(path: Path) -> Any:
    gemmi = _gemmi()
    kind = gemmi.CoorFormat.Pdb if path.suffix.lower() in PDB_EXTENSIONS else gemmi.CoorFormat.Mmcif
    try:
        return gemmi.read_structure(str(path), format=kind)
    except (RuntimeError, ValueError, IndexError, UnicodeDecodeError) as error:  # what its readers raise
        raise UnsupportedSignal(f"{path}: is no valid PDB or mmCIF file ({one_line(str(error))[:120]})") from error


def _c_alphas(structure: Any) -> tuple[list[Residue], list[list[float]]]:
    carbon = _gemmi().Element("C")
    residues: list[Residue] = []
    positions: list[list[float]] = []
    for chain in structure[0] if len(structure) else ():
        for residue in chain:
            atom = residue.find_atom("CA", "*", carbon)
            ligand = residue.het_flag == "H" and len(residue) > 1 and residue.find_atom("N", "*") is None
            if atom is None or ligand:
                continue
            found = Residue(chain.name, residue.seqid.num, residue.seqid.icode.strip(), residue.name)
            if residues and residues[-1][:3] == found[:3]:  # another residue that was seen at the same place
                continue
            residues.append(found)
            positions.append(atom.pos.tolist())
    return residues, positions


def write_protein(path: Path, spec: Spec, samples: Shaped[ndarray, "residues 3"]) -> None:
    """Writes C-alpha atoms as a PDB file, or mmCIF for .cif and .mmcif. Raises InrzipError."""
    gemmi = _gemmi()
    residues, angstroms = residues_of(spec), angstroms_of(spec, samples)
    structure = gemmi.Structure()
    structure.name = path.stem
    model = gemmi.Model(1)
    for i, (residue, position) in enumerate(zip(residues, angstroms, strict=True)):
        if i == 0 or residue.chain != residues[i - 1].chain:
            chain = gemmi.Chain(residue.chain)
            model.add_chain(chain)
        own = gemmi.Residue()
        own.name, own.het_flag = residue.name, "A" if residue.name in FREQUENCIES else "H"
        own.seqid = gemmi.SeqId(residue.number, residue.insertion or " ")
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(*position)
        own.add_atom(atom)
        model[len(model) - 1].add_residue(own)
    structure.add_model(model)
    structure.setup_entities()
    structure.assign_label_seq_id()
    try:
        if path.suffix.lower() in PDB_EXTENSIONS:
            text = structure.make_pdb_string(gemmi.PdbWriteOptions(minimal=True))
        else:
            text = structure.make_mmcif_document().as_string()
    except (RuntimeError, ValueError) as error:
        raise InrzipError(f"{path}: cannot hold this protein ({one_line(str(error))}); use .cif") from error
    path.write_text(text)


def residues_of(spec: Spec) -> list[Residue]:
    """The residues of a protein. Raises CorruptFile."""
    coded = spec.meta.get("residues")
    if not isinstance(coded, bytes):
        raise CorruptFile("a protein that does not tell its residues")
    return decode_residues(coded, spec.shape[0])


def angstroms_of(spec: Spec, samples: Shaped[ndarray, "residues 3"]) -> Shaped[ndarray, "residues 3"]:
    """Coordinates in angstroms. Raises CorruptFile."""
    origin = spec.meta.get("origin")
    if not isinstance(origin, tuple) or samples.shape[1:] != (len(origin),):
        raise CorruptFile("a protein that does not tell its place")
    whole: Int[ndarray, " 3"] = np.array(origin, np.int64)
    return np.asarray((samples.astype(np.int64) + PER_ANGSTROM * whole) / PER_ANGSTROM)


def part_of(spec: Spec, start: int, stop: int) -> Spec:
    """The description of some residues of a protein. Raises CorruptFile."""
    residues = residues_of(spec)[start:stop]
    return Spec(
        spec.kind, (stop - start,), spec.channels, spec.sample_type, spec.low, spec.high,
        {**spec.meta, "residues": encode_residues(residues)},
    )  # fmt: skip
