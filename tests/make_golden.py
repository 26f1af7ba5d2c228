"""Makes the files that every later version has to decode as this one does: `python -m tests.make_golden NAME ...`.

One small file for each kind of signal and each architecture goes to tests/golden/v1, with what they hold in
expected.json. Those named are made, the others left as they are. Run it only to add files, or when the format changes
on purpose; tests never write here.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests import common

FOLDER = Path(__file__).parent / "golden" / "v1"
EXPECTED = FOLDER / "expected.json"
MAX_BYTES = 3_000
MAX_TOTAL_BYTES = 40_000
STEPS = 200
PLANAR = ("finer", "wire", "gauss", "relu", "bacon", "poly", "hash", "neurbf", "doh", "pranc")
"""Recipes that have a picture each."""
N_SAMPLES = 12
"""Samples that are kept of each signal, evenly spread."""
PRECISION = 1e-4
"""Networks are evaluated in single precision: samples finer than this part of the range may differ in more than a
level.
"""


def weight_digest(source: Path | bytes) -> str:
    """SHA-256 of the integers of all networks of a file, and of their steps, as the entropy decoder gives them."""
    from inrzip import exact, wire
    from inrzip.architectures.base import Grid, parameters
    from inrzip.architectures.combiner import CombinerConfig
    from inrzip.architectures.context import ContextConfig
    from inrzip.architectures.grid import GridConfig
    from inrzip.architectures.modulated import ModulatedConfig
    from inrzip.architectures.motion import MotionConfig
    from inrzip.codecs.levels import UniformSteps
    from inrzip.codecs.weights import decode_tensors
    from inrzip.configuration import decode_config
    from inrzip.container import Container
    from inrzip.context_payload import CodedSamples
    from inrzip.recipes import ARCHITECTURES

    digest = hashlib.sha256()
    with Container.open(source) as container:
        header = container.header
        for i in range(header.n_segments):
            start, stop = header.segment_bounds(i)
            grid = Grid((stop - start, *header.spec.shape[1:]), header.spec.channels)
            payload = container.segment(i)
            if header.lossless:
                payload = exact.split(payload)[0]
            cursor = wire.Cursor(payload)
            config = decode_config(ARCHITECTURES[header.architecture], cursor, grid)
            if isinstance(config, MotionConfig):
                digest.update(_film_bytes(config, cursor, grid, header.version))
                continue
            if isinstance(config, CombinerConfig):
                digest.update(_patch_bytes(config, cursor, grid, header.version))
                continue
            if isinstance(config, ModulatedConfig):
                digest.update(_modulation_bytes(config, cursor, grid))
                continue
            if isinstance(config, ContextConfig):
                digest.update(CodedSamples(config, cursor, grid).samples().astype("<i8").tobytes())
                continue
            if isinstance(config, GridConfig):
                digest.update(_latent_bytes(config, payload[cursor.position :], grid))
                continue
            shapes = [leaf.shape for leaf in parameters(config.structure(grid))]
            for tensor in decode_tensors(payload[cursor.position :], shapes, header.version):
                step = tensor.levels.step_index if isinstance(tensor.levels, UniformSteps) else 0
                digest.update(np.int32(step).tobytes() + tensor.integers.astype("<i4").tobytes())
    return digest.hexdigest()


def _patch_bytes(config: Any, cursor: Any, grid: Any, version: int) -> bytes:
    """The latents of all patches of a signal with a learned prior."""
    from inrzip.field_payload import FieldDecoder
    from inrzip.posterior_payload import decode_payload, latents_of

    decoder: Any = decode_payload(config, cursor, grid, lambda n: None, version=version).coded
    if isinstance(decoder, FieldDecoder):
        return decoder.latents.astype("<f4").tobytes()
    return b"".join(latents_of(decoder._prior, patch).astype("<f4").tobytes() for patch in decoder._coded)


def _modulation_bytes(config: Any, cursor: Any, grid: Any) -> bytes:
    """The latents of all patches of a signal, in steps."""
    from inrzip.modulation_payload import decode_payload

    decoder: Any = decode_payload(config, cursor, grid, lambda n: None).coded
    integers: bytes = decoder.integers.astype("<i4").tobytes()
    return integers


def _film_bytes(config: Any, cursor: Any, grid: Any, version: int) -> bytes:
    """All motion of a video, and networks and latents of its pictures."""
    from inrzip.motion_payload import CodedFrames

    frames, found = CodedFrames(config, cursor, grid, version), b""
    for _, pyramid in sorted(frames._motions.items()):
        found += b"".join(np.asarray(planes, "<i4").tobytes() for planes in pyramid or ())
    for picture in dict.fromkeys(picture for picture, _ in frames._pictures.values()):
        found += _planes_bytes(picture)
    return found


def _latent_bytes(config: Any, stream: bytes, grid: Any) -> bytes:
    """Networks and latents of a picture, one after the other."""
    from inrzip.grid_payload import Picture

    height, width = grid.shape
    return _planes_bytes(Picture(config, stream, (height, width), grid.channels))


def _planes_bytes(picture: Any) -> bytes:
    import jax

    found = b""
    picture.render((0, picture.shape[0]), (0, picture.shape[1]))
    for _, plane in sorted(picture._planes.items()):
        found += b"".join(np.asarray(leaf, "<f4").tobytes() for leaf in jax.tree.leaves(plane.networks))
        found += b"".join(np.asarray(latents, "<i4").tobytes() for latents in plane.grids.grids)
    return found


def describe(source: Path) -> dict[str, Any]:
    """What a file decodes to: exactly for the weights, coarsely for the samples."""
    import inrzip

    with inrzip.open(source) as reader:
        spec, samples = reader.spec, np.asarray(reader)
        tracks = [[track.mode, hashlib.sha256(track.payload).hexdigest()] for track in reader.tracks()]
    wide = samples.astype(np.float64).ravel()
    spread = np.linspace(0, wide.size - 1, min(N_SAMPLES, wide.size)).astype(int)
    return {
        "bytes": source.stat().st_size,
        "weights": weight_digest(source),
        "kind": spec.kind.name.lower(),
        "sample_type": spec.sample_type,
        "shape": list(samples.shape),
        "meta": json.loads(json.dumps(dict(spec.meta), default=bytes.hex)),
        "tracks": tracks,
        "level": max(1.0 if spec.dtype.kind in "uib" else 0.0, (spec.high - spec.low) * PRECISION),
        "mean": float(wide.mean()),
        "std": float(wide.std()),
        "samples": [[int(i), float(wide[i])] for i in spread],
    }


def sources(folder: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """For each golden file's name, what it is made of and how."""
    image = common.write_png(folder / "rgb.png", common.picture(21, 17, 3))
    alpha = common.write_png(folder / "rgba.png", common.picture(9, 10, 4))
    deep = common.write_png(folder / "grey.png", common.picture(12, 7, 1, 65535))
    large = common.write_png(folder / "large.png", common.picture(131, 140, 3))
    drawing = common.write_png(folder / "drawing.png", common.drawing(48, 64))
    middling = common.write_png(folder / "middling.png", common.picture(100, 120, 3))
    rough = np.random.default_rng(0).integers(0, 256, (18, 20, 3), np.uint8)
    noise = common.write_png(folder / "noise.png", rough)
    sound = common.write_wav(folder / "sound.wav", common.tone(12_000, 2), subtype="PCM_24")
    hum = common.write_wav(folder / "hum.wav", common.tone(5_000, 1))
    film = common.write_film(folder / "film.mp4", 4, (16, 20))
    short = common.write_film(folder / "short.mp4", 3, (12, 14), sound=False)
    groups = common.write_film(folder / "groups.mp4", 5, (12, 14), sound=False, speed=0.25)
    cut = common.write_film(folder / "cut.mp4", 9, (12, 14), sound=False, cut=5)
    ball = common.write_ball(folder / "ball.obj")
    waves = np.sin(sum(np.meshgrid(*[np.linspace(0, 2, n) for n in (5, 4, 6, 3)], indexing="ij")))
    np.save(folder / "floats.npy", waves.astype("f4"))
    np.save(folder / "line.npy", (1000 * waves[0, 0].ravel()).astype("i2"))
    common.write_pdb(folder / "chain.pdb", 23)
    film_size = {"target_size": 2_900, "recipe": "hnerv"}
    return {
        "image_siren": (image, {"target_size": 500, "recipe": "siren"}),
        "image_alpha_siren": (alpha, {"target_size": 200, "recipe": "siren"}),
        "image_16bit_siren": (deep, {"target_size": 150, "recipe": "siren"}),
        "image_lossless_siren": (alpha, {"quality": 60, "recipe": "siren", "lossless": True}),
        "image_context": (image, {"recipe": "context"}),
        "image_combiner": (image, {"quality": 50, "recipe": "combiner"}),
        "image_split_combiner": (noise, {"quality": 40, "recipe": "combiner"}),
        "image_few_combiner": (drawing, {"quality": 30, "recipe": "combiner"}),
        "image_parts_combiner": (middling, {"quality": 20, "recipe": "combiner"}),
        "image_large_combiner": (large, {"quality": 20, "recipe": "combiner"}),  # image_old_large_combiner has format 7
        "image_vc-inr": (image, {"quality": 50, "recipe": "vc-inr"}),  # with a prior without contexts
        "image_short_combiner": (image, {"quality": 50, "recipe": "combiner"}),
        "image_short_vc-inr": (image, {"quality": 50, "recipe": "vc-inr"}),
        "image_short_large_vc-inr": (large, {"quality": 10, "recipe": "vc-inr"}),
        "image_coin++": (image, {"quality": 50, "recipe": "coin++"}),
        "image_bits": (alpha, {"quality": 60, "recipe": "bits"}),
        "image_ternary_bits": (alpha, {"recipe": "bits", "settings": {"ternary": "1", "keep": "1", "width": "16"}}),
        "image_drawing_context": (drawing, {"recipe": "context"}),
        "image_noise_context": (noise, {"recipe": "context"}),
        "image_grid": (image, {"target_size": 500, "recipe": "grid"}),
        "image_alpha_grid": (alpha, {"target_size": 400, "recipe": "grid"}),
        "image_16bit_grid": (deep, {"quality": 50, "recipe": "grid"}),
        "audio_siren": (sound, {"target_size": 700}),
        "audio_combiner": (hum, {"quality": 10, "recipe": "combiner"}),  # audio_old_combiner has format 6
        "protein_combiner": (folder / "chain.pdb", {"quality": 50, "recipe": "combiner"}),
        "volume_4d_siren": (folder / "floats.npy", {"target_size": 300}),
        "volume_1d_siren": (folder / "line.npy", {"target_size": 120, "kind": "volume"}),
        "volume_4d_finr": (folder / "floats.npy", {"target_size": 400, "recipe": "finr"}),
        "volume_4d_tree": (folder / "floats.npy", {"target_size": 400, "recipe": "tree"}),
        "shape_siren": (ball, {"target_size": 500}),
        "video_combiner": (short, {"quality": 20, "recipe": "combiner"}),
        "video_siren": (short, {"target_size": 400, "recipe": "siren"}),
        "video_nerv": (short, {"target_size": 1_200, "recipe": "nerv"}),
        "video_enerv": (short, {"target_size": 1_500, "recipe": "enerv"}),
        "video_nerv++": (short, {"target_size": 1_500, "recipe": "nerv++"}),
        "video_plain_hinerv": (short, {"target_size": 1_500, "recipe": "hinerv"}),  # video_hinerv is a Normalhinerv
        "video_mvc": (cut, {"target_size": 1_900, "recipe": "mvc", "settings": {"scenes": "2"}}),
        "video_boost": (short, {"target_size": 1_800, "recipe": "boost"}),
        "video_nirvana": (groups, {"target_size": 1_200, "recipe": "nirvana", "settings": {"frames": "2"}}),
        "video_motion": (groups, {"quality": 60, "recipe": "motion", "settings": {"interval": "3"}}),
        "video_pfnr": (short, {"target_size": 1_500, "recipe": "pfnr"}),
        "video_hnerv_copied_sound": (film, film_size),
        "video_hnerv_coded_sound": (film, film_size | {"audio": "inr"}),
    } | {f"image_{recipe}": (image, {"target_size": 400, "recipe": recipe}) for recipe in PLANAR}


def make(names: Sequence[str], set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    """Writes golden files and what is expected of them."""
    import inrzip
    from inrzip import plan

    common.make_quick(set_attribute)
    set_attribute(plan, "STEPS_AT_EFFORT_1", STEPS)
    FOLDER.mkdir(parents=True, exist_ok=True)
    expected = json.loads(EXPECTED.read_text())
    with tempfile.TemporaryDirectory() as folder:
        known = sources(Path(folder))
        for name in names:
            source, options = known[name]
            path = FOLDER / f"{name}.inrz"
            report = inrzip.compress(source, path, effort=1, overwrite=True, **options)
            if report.bytes > MAX_BYTES:
                sys.exit(f"{path}: {report.bytes} bytes, at most {MAX_BYTES} are wanted")
            expected[name] = describe(path)
            print(f"{report.bytes:6} {path.name}  {report.quality}")
    EXPECTED.write_text(json.dumps(expected, indent=1) + "\n")
    print(f"{sum(facts['bytes'] for facts in expected.values()):6} in all")


if __name__ == "__main__":
    make(sys.argv[1:])
