"""What can be said of a file: `info`, `verify`, `recipes`."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np

from inrzip.architectures.base import Grid

from . import media, wire
from .measure import measure
from .network import count_parameters, decode_config, describe
from .reader import Reader
from .recipes import ARCHITECTURES, RECIPES
from .signal import Kind
from .weight_codecs import CODECS


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


def info(source: Path | str) -> dict[str, object]:
    """What the file says of itself, without decoding the signal. Raises CorruptFile."""
    with Reader(Path(source)) as reader:
        spec, container = reader.spec, reader.container
        facts: dict[str, object] = {
            "file": str(source),
            "bytes": container.size,
            "kind": spec.kind.name.lower(),
            "shape": list(spec.shape),
            "channels": spec.channels,
            "sample_type": spec.sample_type,
            "range": [spec.low, spec.high],
        }
        if spec.kind != Kind.SHAPE:
            facts["bpp"] = 8 * container.size / math.prod(spec.shape)
            facts["smaller_than_raw"] = spec.n_samples * spec.dtype.itemsize / container.size
        facts |= _network_facts(reader)
        facts["segments"] = container.header.n_segments
        facts["overhead_bytes"] = container.overhead
        facts |= {f"{track.mode}_sound_bytes": len(track.payload) for track in reader.tracks()}
        facts |= {key: list(v) if isinstance(v, tuple) else v for key, v in spec.meta.items() if key != "times"}
    return facts


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
        payload = reader.container.segment(i)
        n_parameters += count_parameters(payload, header.architecture, grid)
    config = decode_config(architecture, wire.Cursor(payload), grid)
    return {"architecture": describe(config), "parameters": n_parameters}


def verify(source: Path | str, against: Path | str | None = None) -> dict[str, object]:
    """Checks every checksum and decodes everything; with `against`, also measures the quality. Raises CorruptFile if
    damaged.
    """
    with Reader(Path(source)) as reader:
        reader.container.verify()
        facts: dict[str, object] = {"file": str(source), "bytes": reader.container.size, "intact": True}
        if against is not None:
            original = media.read_signal(Path(against), kind=reader.spec.kind)
            return facts | measure(original, reader)
        if reader.spec.kind == Kind.SHAPE:
            reader.segment(0)
        else:
            samples = sum(int(np.prod(part.shape)) for part in reader.parts())
            facts["decoded_samples"] = samples
    return facts
