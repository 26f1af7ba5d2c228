"""Which residues a protein is made of, as bytes and back, exactly (docs/format.md, "Proteins").

What the coordinates of C-alpha atoms do not tell: chains, numbers with their gaps, names. Numbers mostly count on, so
only what they do instead is written; names are range coded, by how often amino acids occur.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder

from . import wire
from .errors import CorruptFile

FREQUENCIES = {
    "ALA": 338, "ARG": 226, "ASN": 166, "ASP": 223, "CYS": 56, "GLN": 161, "GLU": 275, "GLY": 290, "HIS": 93,
    "ILE": 242, "LEU": 395, "LYS": 238, "MET": 99, "PHE": 158, "PRO": 194, "SER": 272, "THR": 220, "TRP": 45,
    "TYR": 120, "VAL": 281,
}  # fmt: skip
"""Of 4,096 residues, as in Swiss-Prot; what is left of the 4,096 are other names, which are spelled out."""
TOTAL_BITS = 12
NAMES = tuple(FREQUENCIES)
STARTS = tuple(itertools.accumulate(FREQUENCIES.values(), initial=0))
OTHER = (STARTS[-1], (1 << TOTAL_BITS) - STARTS[-1])
CUMULATIVE = (*STARTS, 1 << TOTAL_BITS)
MAX_NAME, LENGTH_BITS, LETTER_BITS = 8, 3, 7
MAX_NUMBER = 1 << 31


class Residue(NamedTuple):
    """`chain`: its name; `number` as in the file; `insertion`: one letter, or nothing; `name`: up to eight letters."""

    chain: str
    number: int
    insertion: str
    name: str


def encode_residues(residues: Sequence[Residue]) -> bytes:
    """All residues of a protein, in order. Raises ValueError for names that are none."""
    chains = [list(own) for _, own in itertools.groupby(residues, key=lambda residue: residue.chain)]
    head = wire.varint(len(chains)) + b"".join(map(_encode_chain, chains))
    encoder = RangeEncoder()
    for residue in residues:
        _encode_name(encoder, residue.name)
    return head + encoder.finish()


def _encode_chain(residues: Sequence[Residue]) -> bytes:
    name = residues[0].chain.encode()
    runs: list[list[int]] = []
    for residue in residues:
        if runs and residue.number == sum(runs[-1]):
            runs[-1][1] += 1
        else:
            runs.append([residue.number, 1])
    out = wire.varint(len(name)) + name + wire.varint(len(runs))
    following = 1
    for first, length in runs:
        out += wire.signed(first - following) + wire.varint(length - 1)
        following = first + length
    inserted = [(i, residue.insertion) for i, residue in enumerate(residues) if residue.insertion]
    out += wire.varint(len(inserted))
    last = 0
    for place, letter in inserted:
        out += wire.varint(place - last) + letter.encode("ascii")
        last = place
    return out


def _encode_name(encoder: RangeEncoder, name: str) -> None:
    if name in FREQUENCIES:
        encoder.encode(STARTS[NAMES.index(name)], FREQUENCIES[name], TOTAL_BITS)
        return
    if not (1 <= len(name) <= MAX_NAME and name.isascii() and name.isprintable()):
        raise ValueError(f"{name!r} is no name of a residue")
    encoder.encode(*OTHER, TOTAL_BITS)
    encoder.encode_bits(len(name) - 1, LENGTH_BITS)
    for letter in name:
        encoder.encode_bits(ord(letter), LETTER_BITS)


def decode_residues(data: bytes, count: int) -> list[Residue]:
    """The inverse of `encode_residues`, for a protein of `count` residues. Raises CorruptFile."""
    cursor = wire.Cursor(data)
    places: list[tuple[str, int, str]] = []
    for _ in range(cursor.count(1)):
        places += _decode_chain(cursor, count - len(places))
    if len(places) != count:
        raise CorruptFile(f"{len(places)} residues of a protein of {count}")
    decoder = RangeDecoder(cursor.take(cursor.remaining))
    found = [Residue(*place, _decode_name(decoder)) for place in places]
    decoder.finish()
    return found


def _decode_chain(cursor: wire.Cursor, most: int) -> Iterable[tuple[str, int, str]]:
    chain = wire.decode_text(cursor.take(cursor.count(1)))
    numbers: list[int] = []
    following = 1
    for _ in range(cursor.count(2)):
        first, length = following + cursor.signed(), cursor.varint() + 1
        following = first + length
        if len(numbers) + length > most or max(abs(first), abs(following)) >= MAX_NUMBER:
            raise CorruptFile("residues with numbers that cannot be")
        numbers += range(first, following)
    letters = [""] * len(numbers)
    place = 0
    for _ in range(cursor.count(2)):
        place += cursor.varint()
        if place >= len(letters):
            raise CorruptFile("an insertion code for a residue that is not there")
        letters[place] = chr(cursor.byte())
    if not chain.isprintable() or not all(letter.isascii() and letter.isprintable() for letter in letters):
        raise CorruptFile("names of residues that cannot be")
    return zip(itertools.repeat(chain), numbers, letters)


def _decode_name(decoder: RangeDecoder) -> str:
    number = decoder.decode(CUMULATIVE, TOTAL_BITS)
    if number == len(NAMES):
        length = decoder.decode_bits(LENGTH_BITS) + 1
        name = "".join(chr(decoder.decode_bits(LETTER_BITS)) for _ in range(length))
        if not name.isprintable():
            raise CorruptFile("names of residues that cannot be")
        return name
    return NAMES[number]
