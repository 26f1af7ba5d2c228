"""What can be said of a file: `info`, `verify`, `recipes`."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np

from inrzip.architectures.base import Grid

from . import media, wire
from .configuration import decode_config
from .errors import InrzipError
from .measure import measure
from .members import Collection
from .network import architecture_name, count_parameters, describe
from .reader import Reader
from .recipes import ARCHITECTURES, RECIPES
from .signal import Kind
from .weight_codecs import CODECS

NOT_TOLD = ("times", "residues")
"""Metadata of many numbers."""


@dataclasses.dataclass(frozen=True)
class RecipeInfo:
    """One line of `inrzip recipes`."""

    name: str
    kinds: tuple[str, ...]
    summary: str


@dataclasses.dataclass(frozen=True)
class CodecInfo:
    """One line of what `inrzip recipes` says of `--codec`."""

    name: str
    summary: str


def recipe_list() -> list[RecipeInfo]:
    """All recipes, by name."""
    return [RecipeInfo(r.name, tuple(k.name.lower() for k in r.kinds), r.summary) for r in RECIPES.values()]


def codec_list() -> list[CodecInfo]:
    """All ways to code weights, by name."""
    return [CodecInfo(codec.name, codec.summary) for codec in CODECS.values()]


def info(source: Path | str, member: int | str | None = None) -> dict[str, object]:
    """What the file says of itself, without decoding the signal; `member`: of one signal of several. Raises
    CorruptFile.
    """
    with Collection(Path(source)) as members:
        if member is None and members.file.several:
            return {
                "file": str(source),
                "bytes": members.file.size,
                "overhead_bytes": members.file.overhead,
                "members": [_summary(members, number) for number in range(len(members))],
            }
        with members[0 if member is None else member] as reader:
            return {"file": str(source)} | _facts(reader)


def _summary(members: Collection, number: int) -> dict[str, object]:
    """A line of what a file of several signals holds."""
    with members[number] as reader:
        architecture = ARCHITECTURES.get(reader.container.header.architecture)
        facts: dict[str, object] = {
            "number": number,
            "name": members.names[number],
            "bytes": reader.container.size,
            "kind": reader.spec.kind.name.lower(),
            "shape": list(reader.spec.shape),
            "architecture": "unknown" if architecture is None else architecture_name(architecture),
        }
        before = reader.before()
        return facts | ({"uses": members.names[number - before]} if 0 < before <= number else {})


def _facts(reader: Reader) -> dict[str, object]:
    """What `info` tells of one signal."""
    spec, container = reader.spec, reader.container
    facts: dict[str, object] = {
        "bytes": container.size,
        "kind": spec.kind.name.lower(),
        "shape": list(spec.shape),
        "channels": spec.channels,
        "sample_type": spec.sample_type,
        "range": [spec.low, spec.high],
        "lossless": reader.lossless,
    }
    if spec.kind != Kind.SHAPE:
        facts["bpp"] = 8 * container.size / math.prod(spec.shape)
        facts["smaller_than_raw"] = spec.n_samples * spec.dtype.itemsize / container.size
    facts |= _network_facts(reader)
    facts["segments"] = container.header.n_segments
    facts["overhead_bytes"] = container.overhead
    facts |= {f"{track.mode}_sound_bytes": len(track.payload) for track in reader.tracks()}
    facts |= {key: list(v) if isinstance(v, tuple) else v for key, v in spec.meta.items() if key not in NOT_TOLD}
    if spec.kind == Kind.PROTEIN:
        facts["chains"] = _chains(reader)
    return facts


def _chains(reader: Reader) -> str:
    """The chains of a protein, and how many residues each has."""
    from .media.proteins import residues_of

    found = itertools.groupby(residues_of(reader.spec), key=lambda residue: residue.chain)
    return ", ".join(f"{chain} ({sum(1 for _ in own)})" for chain, own in found)


def _network_facts(reader: Reader) -> dict[str, object]:
    """Architecture, the first segment's configuration, and the parameters of all segments together."""
    header = reader.container.header
    architecture = ARCHITECTURES.get(header.architecture)
    if architecture is None:
        return {"architecture": f"unknown ({header.architecture})"}
    n_parameters = 0
    for i in reversed(range(header.n_segments)):
        start, stop = header.segment_bounds(i)
        grid = Grid((stop - start, *reader.spec.shape[1:]), reader.spec.channels)
        payload = reader.payload(i)
        n_parameters += count_parameters(payload, header.architecture, grid)
    config = decode_config(architecture, wire.Cursor(payload), grid)
    return {"architecture": describe(config), "parameters": n_parameters}


def verify(source: Path | str, against: Path | str | None = None, member: int | str | None = None) -> dict[str, object]:
    """Checks every checksum and decodes everything, or one `member`; with `against`, also measures the quality. Raises
    CorruptFile if damaged.
    """
    facts: dict[str, object] = {"file": str(source)}
    with Collection(Path(source)) as members:
        if member is not None or not members.file.several:
            with members[0 if member is None else member] as reader:
                return facts | _verified(reader, against)
        if against is not None:
            raise InrzipError(f"{source}: holds several signals; name one (--member) to compare with {against}")
        found = {name: _verified(reader, None) for name, reader in zip(members.names, members, strict=True)}
        return facts | {"bytes": members.file.size, "intact": True, "members": found}


def _verified(reader: Reader, against: Path | str | None) -> dict[str, object]:
    reader.container.verify()
    facts: dict[str, object] = {"bytes": reader.container.size, "intact": True}
    if against is not None:
        original = media.read_signal(Path(against), kind=reader.spec.kind)
        return facts | measure(original, reader)
    if reader.spec.kind == Kind.SHAPE:
        reader.segment(0)
    else:
        samples = sum(int(np.prod(part.shape)) for part in reader.parts())
        facts["decoded_samples"] = samples
    return facts
