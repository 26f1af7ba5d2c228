"""For `tests.fuzz`: small valid files of every kind and architecture, edits that keep their structure, full decoders.

The networks are random, not fitted, so the files are made in a second, and follow every change of the format.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Programs are compiled for one or two calls each. It must be said before JAX compiles for the first time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import inrzip
from inrzip import exact, wire
from inrzip.architectures.base import Config, Grid
from inrzip.architectures.bits import BitsConfig
from inrzip.architectures.combiner import CombinerConfig, patch_counts
from inrzip.architectures.context import ContextConfig
from inrzip.architectures.grid import GridConfig
from inrzip.architectures.modulated import CoinppConfig, ModulatedConfig, VcinrConfig
from inrzip.architectures.motion import MotionConfig
from inrzip.architectures.nirvana import NirvanaConfig
from inrzip.codecs.levels import UniformSteps
from inrzip.codecs.uniform import step_size
from inrzip.codecs.weights import CODERS, QuantisedTensor
from inrzip.container import Container, write_container
from inrzip.errors import CorruptFile, InrzipError
from inrzip.group_chain import decode_group, encode_changes
from inrzip.header import VERSION, Header
from inrzip.modulation_payload import Coded, encode_payload
from inrzip.network import decode_network, encode_network
from inrzip.priors import modulation_prior
from inrzip.recipes import ARCHITECTURES, RECIPES
from inrzip.residues import Residue, encode_residues
from inrzip.signal import SAMPLE_TYPES, AudioTrack, Kind, MetaValue, Spec
from inrzip.ternary_encoder import UNIT_STEP
from inrzip.weight_codecs import CODECS
from tests import fuzz

STEP = 180  # index of the step that all weights are rounded to: 2^(180/8 - 32), a network of some bytes
N_PARAMETERS = 150
MAX_RENDERED = 64  # frames of a video that are decoded: it may claim any number, and each takes its time
MUTANTS_BETWEEN_CLEARINGS = 2000  # of JAX's compiled programs, of which every new shape makes some
MAX_SEGMENTS = 64
SIZES = (1, 1, 2, 3, 5, 8, 16, 31, 100, 1000, 40_000, 2**20, 2**31 - 1, 2**31, 2**40)
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 64, 255, 4096, 4097, 65_537, 2**31, 2**32 + 1, 2**63, 2**64 - 1)
ENDS = (0.0, 1.0, -1.0, 255.0, 1e-30, -1e30, 1e300, 65504.0, 2.0**31)
METADATA: tuple[tuple[str, MetaValue], ...] = (
    ("rate", (1, 2**32)),
    ("rate", (2**32, 1)),
    ("rate", (44100, 1)),
    ("aspect", (2**32, 1)),
    ("bits", 64),
    ("bits", 1),
    ("subtype", "~~~~"),
    ("subtype", "PCM_24"),
    ("box", (1e300, -1e300, 0.0, 1e300)),
    ("box", (0.0, 0.0, 0.0, 1e-300)),
    ("format", ".mp4"),
    ("format", ".tiff"),
    ("format", ""),
    ("format", "..nonsense"),
    ("times", (-(2**62), 0, 2**62)),
    ("times", (0, 0, 0, 0, 0, 0)),
)


# ---- valid files ----

PROTEIN = {
    "origin": (1, -20, 3),
    "residues": encode_residues([Residue("A", 2 * i - 3, "", ("GLY", "MSE")[i % 2]) for i in range(9)]),
    "format": ".pdb",
}


def network_files() -> list[bytes]:
    """Valid files: each kind of signal, each architecture, with one segment and several, with sound and without."""
    siren, nerv, hnerv = (ARCHITECTURES[number] for number in (1, 2, 3))
    elsewhere = (GridConfig, NirvanaConfig, MotionConfig, ContextConfig, CombinerConfig, CoinppConfig, VcinrConfig)
    apart = (1, 2, 3, *(config.number for config in elsewhere))
    rest = [architecture for number, architecture in ARCHITECTURES.items() if number not in apart]
    films, others = ([a for a in rest if a.frame_wise == whole] for whole in (True, False))
    sound = _file(Spec(Kind.AUDIO, (700,), 2, "i2", -2e4, 2e4, {"rate": (8000, 1)}), siren, 300)
    film = Spec(Kind.VIDEO, (6, 9, 11), 3, "u1", 0, 255, {"rate": (25, 1), "format": ".mp4"})
    tracks = [AudioTrack("inr", sound), AudioTrack("copy", b"no sound, but as long as some")]
    box = (-1.0, 0.0, 1.0, 2.0)
    return [
        _file(Spec(Kind.IMAGE, (13, 17), 3, "u1", 0, 255, {"format": ".png"}), siren, 13),
        _file(Spec(Kind.IMAGE, (9, 5), 1, "u2", 0, 6e4, {"format": ".tiff"}), siren, 9),
        sound,
        _file(dataclasses.replace(film, meta={"times": (0, 1, 5, 9, 10, 90_000)}), siren, 4, tracks[:1]),
        _file(dataclasses.replace(film, channels=1), nerv, 3, n_parameters=400),
        _file(film, hnerv, 3, tracks, n_parameters=500),
        _file(Spec(Kind.VOLUME, (7, 3, 4, 2), 1, "f4", -1, 5), siren, 3),
        _file(Spec(Kind.SHAPE, (12, 12, 12), 1, "f4", -0.1, 0.1, {"box": box, "format": ".obj"}), siren, 12),
        _file(Spec(Kind.PROTEIN, (9,), 3, "i4", -64e3, 64e3, PROTEIN), siren, 9),
        *(_file(dataclasses.replace(film, shape=(3, 5, 6)), other, 3, n_parameters=400) for other in films),
        _file_of_changes(dataclasses.replace(film, channels=1), 2),
        _file_of_samples(Spec(Kind.IMAGE, (9, 11), 3, "u1", 0, 255)),
        _file_of_samples(Spec(Kind.AUDIO, (40,), 2, "i2", -900, 900)),
        _file_of_bits(Spec(Kind.IMAGE, (9, 11), 1, "u1", 0, 255)),
        *(_file_of_modulations(Spec(Kind.IMAGE, (20, 40), 3, "u1", 0, 255), a) for a in (CoinppConfig, VcinrConfig)),
        *(_file(Spec(Kind.VOLUME, (5, 4), 1, "u1", 0, 255), other, 5) for other in others),
        *(_file(Spec(Kind.IMAGE, (9, 5), 1, "u1", 0, 255), siren, 9, codec=name) for name in CODECS),
        *(_file(Spec(Kind.IMAGE, (7, 6), 3, "u1", 0, 255), siren, 7, coder=number) for number in (2, 3, 4, 8)),
    ]


def _file(
    spec: Spec,
    architecture: type[Config],
    segment_length: int,
    tracks: Sequence[AudioTrack] = (),
    n_parameters: int = N_PARAMETERS,
    codec: str = "auto",
    coder: int | None = None,
) -> bytes:
    header = Header(spec, architecture.number, segment_length)
    bounds = [header.segment_bounds(i) for i in range(header.n_segments)]
    grids = [Grid((stop - start, *spec.shape[1:]), spec.channels) for start, stop in bounds]
    networks = [_network(architecture.solve(grid, n_parameters), grid, codec, coder) for grid in grids]
    return write_container(header, networks, tracks)


def _file_of_samples(spec: Spec) -> bytes:
    """A lossless file of exact samples."""
    rng = np.random.default_rng(0)
    samples = rng.integers(int(spec.low), int(spec.high) + 1, (*spec.shape, spec.channels)).astype(spec.dtype)
    return inrzip.fit(samples, "context", kind=spec.kind, effort=1).data


def _file_of_bits(spec: Spec) -> bytes:
    """A lossless file of a ternary network that tells all bits, many of them wrong."""
    rng, grid, config = np.random.default_rng(0), Grid(spec.shape, spec.channels), BitsConfig(255, (31, 6, 1))
    shapes = [leaf.shape for leaf in jax.tree.leaves(config.structure(grid))]
    weights = [
        QuantisedTensor(rng.integers(-1, 2, shape).astype(np.int32), UniformSteps(UNIT_STEP)) for shape in shapes
    ]
    coded = encode_network(config, weights)
    samples = rng.integers(0, 256, (*spec.shape, spec.channels)).astype(spec.dtype)
    part = exact.encode_part(samples, decode_network(coded, config.number, grid), BitsConfig, spec, all_planes=True)
    return write_container(Header(spec, config.number, spec.shape[0], lossless=True), [exact.join(coded, part)])


def _file_of_modulations(spec: Spec, architecture: type[ModulatedConfig]) -> bytes:
    """Patches of a prior of the package, with any latents."""
    rng, step = np.random.default_rng(0), 30
    recipe = next(recipe.name for recipe in RECIPES.values() if recipe.architecture is architecture)
    name, prior = modulation_prior.named(None, "image", recipe, architecture.gated)
    n = int(np.prod(patch_counts(spec.shape, prior.layout.patch)))
    groups = rng.integers(0, prior.n_classes, n)
    drawn = np.rint(rng.laplace(0, 2, (n, prior.layout.n_latents))).astype(np.int64)
    coded = [Coded(int(g), z * (prior.scales_at(step)[g] >= 0)) for g, z in zip(groups, drawn, strict=True)]
    payload = encode_payload(architecture(name, step), prior, coded)
    return write_container(Header(spec, architecture.number, spec.shape[0]), [payload])


def _file_of_changes(spec: Spec, segment_length: int) -> bytes:
    """Groups of frames, each after the first the changes of the one before."""
    header, before, payloads = Header(spec, NirvanaConfig.number, segment_length), None, []
    coders = CODECS["auto"].coders
    for chain in range(header.n_segments):
        grid = Grid((segment_length, *spec.shape[1:]), spec.channels)
        payload = _network(NirvanaConfig.solve(grid, 400), grid, "auto", None)
        group = decode_group(payload, grid, None, None, VERSION)
        group = dataclasses.replace(group, config=dataclasses.replace(group.config, chain=chain))
        payloads.append(payload if before is None else encode_changes(group, before, coders))
        before = group
    return write_container(header, payloads)


def _network(config: Config, grid: Grid, codec: str, coder: int | None) -> bytes:
    """A random network, as a named codec has it, or with its integers in the code of that number."""
    rng = np.random.default_rng(0)
    module = config.build(grid, jax.random.key(0))
    arrays, static = eqx.partition(module, eqx.is_inexact_array)
    leaves, treedef = jax.tree.flatten(arrays)
    leaves = [jnp.asarray(rng.normal(0, 0.2, leaf.shape), jnp.float32) for leaf in leaves]
    module = eqx.combine(jax.tree.unflatten(treedef, leaves), static)
    sensitivity = [np.ones(leaf.shape) for leaf in leaves] if codec == "channels" else [1.0] * len(leaves)
    tensors = CODECS[codec].quantise(module, sensitivity, step_size(STEP))
    return encode_network(config, tensors, CODECS[codec].coders(tensors) if coder is None else [CODERS[coder]()])


# ---- edits that keep the structure ----


def mutate_spec(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Another signal, architecture or division into segments around the same networks; all that is stored is valid."""
    with Container.open(data) as container:
        header, tracks = container.header, container.tracks
        segments = [container.segment(i) for i in range(header.n_segments)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        try:
            changed = rng.choice(_SPEC_CHANGES)(rng, header)
        except InrzipError:  # a signal that no file can hold: mutations of bytes try those
            continue
        if changed.n_segments <= MAX_SEGMENTS:
            header = changed
    return write_container(header, [segments[i % len(segments)] for i in range(header.n_segments)], tracks)


def _with(header: Header, **changes: Any) -> Header:
    return dataclasses.replace(header, spec=dataclasses.replace(header.spec, **changes))


def _change_shape(rng: random.Random, header: Header) -> Header:
    shape = list(header.spec.shape)
    shape[rng.randrange(len(shape))] = rng.choice(SIZES)
    whole = rng.random() < 0.5
    return dataclasses.replace(_with(header, shape=tuple(shape)), segment_length=2**40 if whole else shape[0])


def _change_range(rng: random.Random, header: Header) -> Header:
    low, high = sorted((rng.choice(ENDS), rng.choice(ENDS)))
    return _with(header, low=low, high=high)


def _change_meta(rng: random.Random, header: Header) -> Header:
    return _with(header, meta={**header.spec.meta, **dict([rng.choice(METADATA)])})


_SPEC_CHANGES: tuple[Callable[[random.Random, Header], Header], ...] = (
    _change_shape,
    _change_shape,
    _change_range,
    _change_meta,
    lambda rng, header: _with(header, channels=rng.choice((1, 2, 3, 4, 5, 255))),
    lambda rng, header: _with(header, sample_type=rng.choice(SAMPLE_TYPES)),
    lambda rng, header: _with(header, kind=rng.choice(list(Kind))),
    lambda rng, header: dataclasses.replace(header, architecture=rng.choice((0, *ARCHITECTURES, 255))),
    lambda rng, header: dataclasses.replace(header, segment_length=rng.randint(1, 10)),
)


def mutate_config(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Other numbers in the configuration of every network, before the same weights."""
    with Container.open(data) as container:
        header, tracks = container.header, container.tracks
        segments = [container.segment(i) for i in range(header.n_segments)]
    place, value = rng.randrange(8), rng.choice((rng.choice(NUMBERS), rng.randrange(40)))
    try:
        architecture = ARCHITECTURES[header.architecture]
        segments = [_with_number(segment, architecture, place, value) for segment in segments]
    except (KeyError, CorruptFile):  # a file that holds no network
        return fuzz.mutate_payloads(rng, data, other)
    return write_container(header, segments, tracks)


def _with_number(payload: bytes, architecture: type[Config], place: int, value: int) -> bytes:
    cursor = wire.Cursor(payload)
    fields: list[int | list[int]] = []
    for is_tuple in architecture.field_is_tuple().values():
        fields.append([cursor.varint() for _ in range(cursor.varint())] if is_tuple else cursor.varint())
    old = fields[place % len(fields)]
    if isinstance(old, list):
        old[place % len(old)] = value
    else:
        fields[place % len(fields)] = value
    numbers = [n for field in fields for n in ((len(field), *field) if isinstance(field, list) else (field,))]
    return b"".join(map(wire.varint, numbers)) + payload[cursor.position :]


MUTATIONS: tuple[tuple[float, fuzz.Edit], ...] = (
    (0.15, fuzz.mutate_anywhere),
    (0.20, fuzz.mutate_repaired),
    (0.20, fuzz.mutate_head),
    (0.30, fuzz.mutate_payloads),
    (0.08, mutate_spec),  # of these two, nearly each makes a program of its own to compile
    (0.07, mutate_config),
)


# ---- decoders under test ----


def full_decoder(max_memory: int, write: bool = False) -> fuzz.Decode:
    """Decodes all of a file through `inrzip.open`, of a video the first frames; with `write`, through
    `inrzip.decompress` to a media file. `max_memory` is in bytes.
    """
    inrzip: Any = importlib.import_module("inrzip")
    folder = tempfile.TemporaryDirectory(prefix="inrzip-fuzz-")  # removed together with the function returned
    decoded = 0

    def decode(data: bytes) -> None:
        nonlocal decoded
        decoded += 1
        if decoded % MUTANTS_BETWEEN_CLEARINGS == 0:
            jax.clear_caches()
        path = Path(folder.name) / "mutant.inrz"
        path.write_bytes(data)
        (_write if write else _render)(inrzip, path, max_memory)

    return decode


def _render(inrzip: Any, path: Path, max_memory: int) -> None:
    with inrzip.open(path, max_memory=max_memory) as reader:
        kind = reader.spec.kind
        if kind == Kind.SHAPE:
            reader.mesh()
        else:
            reader.render(frames=(0, MAX_RENDERED) if kind == Kind.VIDEO else None)
        for track in reader.tracks():
            if track.mode == "inr":
                inrzip.open(track.payload, max_memory=max_memory).render()


def _write(inrzip: Any, path: Path, max_memory: int) -> None:
    inrzip.info(path)
    with inrzip.open(path, max_memory=max_memory) as reader:
        spec = reader.spec
    frames = (0, MAX_RENDERED) if spec.kind == Kind.VIDEO and spec.shape[0] > MAX_RENDERED else None
    try:
        inrzip.decompress(path, frames=frames, max_memory=max_memory, overwrite=True)
    finally:
        left = [file for file in path.parent.iterdir() if file.name.startswith(".")]
        assert not left, f"left behind: {left}"
        for file in path.parent.iterdir():
            if file != path and file.is_file():
                file.unlink()
