"""What a sceptical user tries: hostile files, inputs that are none, disks that are full, wishes that cannot be met.

Each ends in one line that names the file, a status that is not 0, and nothing left behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import soundfile
from PIL import Image

import inrzip
from inrzip import cli, compression, media, memory, plan, segment
from inrzip.architectures.base import Grid, parameters
from inrzip.architectures.siren import SirenConfig
from inrzip.checkpoint import Checkpoint
from inrzip.configuration import encode_config
from inrzip.container import write_container
from inrzip.errors import CorruptFile, InrzipError, LimitExceeded, TargetMissed
from inrzip.files import atomic_output, check_writable
from inrzip.header import Header
from inrzip.network import decode_network, encode_network, quantise_network
from inrzip.recipes import RECIPES, check_settings, parse_settings
from inrzip.signal import AudioTrack, Kind, Spec
from tests import fuzz, fuzz_networks
from tests.common import picture, write_film, write_png, write_wav

MIB = 2**20
IMAGE, U16, SOUND, SIREN_FILM, NERV, HNERV, VOLUME, SHAPE = range(8)


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return fuzz_networks.network_files()


def saved(folder: Path, data: bytes, name: str = "file.inrz") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# ---- hostile files ----


@pytest.mark.parametrize(("write", "count"), [(False, 120), (True, 40)])
def test_mutants_are_decoded_or_refused(files: list[bytes], write: bool, count: int) -> None:
    decode = fuzz_networks.full_decoder(16 * MIB, write)
    for data in files:
        decode(data)
    # The counts are small and the machine may be busy: `python -m tests.fuzz` looks closer.
    limits = fuzz.Limits(seconds=60, memory_mib=512)
    outcome = fuzz.run(files, decode, count=count, seed=8, limits=limits, mutations=fuzz_networks.MUTATIONS)
    assert not outcome.failures
    assert outcome.counts["decoded"] and outcome.counts["CorruptFile"]


def test_structural_mutants_are_files_of_right_structure(files: list[bytes]) -> None:
    rng = fuzz.random.Random(3)
    for mutation in (fuzz_networks.mutate_spec, fuzz_networks.mutate_config):
        for data in files:
            fuzz.decode_container(mutation(rng, data, data))


def giant(kind: Kind, shape: tuple[int, ...], channels: int = 1) -> bytes:
    """A file of a hundred bytes that claims to be a signal of `shape`."""
    spec = Spec(kind, shape, channels, "u1", 0, 255)
    grid = Grid(shape, channels)
    config = SirenConfig(2, 1, (8,) * len(shape))
    module = config.build(grid, jax.random.key(0))
    payload = encode_network(config, quantise_network(module, [180] * len(parameters(module))))
    return write_container(Header(spec, SirenConfig.number, shape[0]), [payload])


GIANTS = [
    (Kind.IMAGE, (2**40, 2**20)),
    (Kind.IMAGE, (1, 2**40)),
    (Kind.VIDEO, (2**40, 1, 1)),
    (Kind.AUDIO, (2**40,)),
    (Kind.VOLUME, (2**31, 2**30)),
]


@pytest.mark.parametrize(("kind", "shape"), GIANTS)
def test_giants_are_refused_untried(kind: Kind, shape: tuple[int, ...]) -> None:
    reader = inrzip.open(giant(kind, shape))
    for look in (
        reader.render,
        reader.parts,
        lambda: reader[...],
        lambda: np.asarray(reader),
        lambda: reader[::-1],
        lambda: reader.render(scale=1e300),
    ):
        with pytest.raises(LimitExceeded, match="max-memory"):
            look()
    corner = tuple(slice(n - 2, n) for n in shape)
    assert reader[corner].size == int(np.prod([min(n, 2) for n in shape]))
    assert reader[(-1,) * len(shape)].shape == ()
    with pytest.raises(IndexError):
        reader[shape[0]]


def test_reading_in_pieces_needs_less_than_all_at_once() -> None:
    reader = inrzip.open(giant(Kind.IMAGE, (4000, 3000)), max_memory=48 * MIB)
    with pytest.raises(LimitExceeded):
        reader.render()
    first = next(iter(reader.parts()))
    assert first.shape[1:] == (3000, 1) and first.size <= memory.POINTS_AT_ONCE


def test_activations_count_as_memory() -> None:
    """A wide network of few bytes asks for far more memory than its weights and its image take."""
    grid = Grid((100, 100), 3)
    config = SirenConfig(4096, 1, (8, 8))
    module = jax.tree.map(np.zeros_like, config.build(grid, jax.random.key(0)))
    payload = encode_network(config, quantise_network(module, [180] * len(parameters(module))))
    assert len(payload) < 100
    with pytest.raises(LimitExceeded, match="max-memory"):
        decode_network(payload, SirenConfig.number, grid, 128 * MIB)
    with pytest.raises(CorruptFile, match="weights in"):
        decode_network(encode_config(SirenConfig(4096, 2, (8, 8))) + b"1", SirenConfig.number, grid)


def test_a_surface_of_noise_is_refused(files: list[bytes]) -> None:
    with inrzip.open(files[SHAPE]) as reader:
        n_vertices = len(reader.mesh(scale=4).vertices)
        limit = memory.decoding_bytes([48] * 3, [1] * 3, 1, 48) + 2 * 4 * 48**3
        assert n_vertices * memory.BYTES_PER_VERTEX > limit
        with pytest.raises(LimitExceeded):
            inrzip.open(files[SHAPE], max_memory=limit).mesh(scale=4)


@pytest.mark.parametrize("sample_type", ["u1", "u4", "i1", "i4"])
def test_ranges_beyond_the_sample_type_end_at_it(sample_type: str) -> None:
    bound = 2.0 ** (8 * int(sample_type[1]))
    spec = Spec(Kind.VOLUME, (2,), 1, sample_type, -bound, bound)
    info = np.iinfo(spec.dtype)
    assert spec.quantise(np.array([0.0, 1.0])).tolist() == [info.min, info.max]


def test_verify_has_a_limit(tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded, match=r"file\.inrz"):
        inrzip.verify(saved(tmp_path, giant(Kind.IMAGE, (1, 2**40))))


@pytest.mark.parametrize("key", ["rate", "aspect"])
def test_numbers_beyond_ffmpeg(tmp_path: Path, files: list[bytes], key: str) -> None:
    with inrzip.container.Container.open(files[NERV]) as container:
        header = container.header
        spec = dataclasses.replace(header.spec, meta={**header.spec.meta, key: (2**32, 1)})
        segments = [container.segment(i) for i in range(header.n_segments)]
    path = saved(tmp_path, write_container(dataclasses.replace(header, spec=spec), segments))
    with pytest.raises(InrzipError, match=r"out\.mp4: .*use \.npy"):
        inrzip.decompress(path, tmp_path / "out.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["file.inrz"]


# ---- inputs that cannot be compressed ----


def npy(array: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=True)
    return buffer.getvalue()


def wav(samples: object) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples, np.float32), 8000, "FLOAT", format="WAV")
    return buffer.getvalue()


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(30, 20, 3)).save(buffer, "PNG")
    return buffer.getvalue()


BAD_INPUTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty": ("empty.png", bytes),
    "text": ("notes.txt", lambda: b"these are notes\n"),
    "text called png": ("notes.png", lambda: b"these are notes\n"),
    "cut png": ("cut.png", lambda: png()[:300]),
    "NaN": ("nan.wav", lambda: wav([0, np.nan, 1])),
    "no samples": ("none.wav", lambda: wav([])),
    "five axes": ("five.npy", lambda: npy(np.zeros((2,) * 5))),
    "complex": ("complex.npy", lambda: npy([1j])),
    "pickled": ("pickled.npy", lambda: npy([{}, None])),
    "infinite": ("infinite.npy", lambda: npy([0, np.inf])),
    "no axes": ("scalar.npy", lambda: npy(3.0)),
    "no elements": ("nothing.npy", lambda: npy(np.zeros((0, 3)))),
    "span": ("span.npy", lambda: npy([-1.7e308, 1.7e308])),
    "large integers": ("large.npy", lambda: npy(np.array([2**63], np.uint64))),
    "cut npy": ("cut.npy", lambda: npy(np.zeros(99))[:200]),
    "points": ("points.obj", lambda: b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"),
    "one vertex": ("vertex.obj", lambda: b"v 0 0 0\n"),
    "line": ("line.obj", lambda: b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n"),
    "already": ("already.inrz", lambda: giant(Kind.IMAGE, (2, 2))),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    name, content = BAD_INPUTS[case]
    source = saved(tmp_path, content(), name)
    assert cli.main(["compress", str(source), "-o", str(tmp_path / "out.inrz"), "--json"]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1 and str(source) in shown.err and "bug" not in shown.err
    assert json.loads(shown.out)["error"] in shown.err
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_devices_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source, reason in (("/dev/null", "no ordinary file"), (str(tmp_path), "is a folder"), ("n" * 300, "too long")):
        assert cli.main(["compress", source, "-o", str(tmp_path / "out.inrz")]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"inrzip: {source}: ") and error.count(source) == 1 and reason in error


def test_videos_that_are_no_media_files_have_no_sound(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for k in range(2):
        write_png(frames / f"{k}.png", picture(4, 5, 3))
    array = saved(tmp_path, npy(np.zeros((2, 4, 5), np.uint8)), "video.npy")
    write_wav(tmp_path / "sound.wav", np.zeros((100, 1), np.int16))
    for path in (frames, array):
        assert media.copy_sound(path) is None and media.read_sound(path) is None
        signal = media.read_signal(path, kind=Kind.VIDEO)
        job = SimpleNamespace(tell=lambda *_, **__: None)
        assert compression._sound(path, signal, "copy", plan.Request(), False, job) == []
    assert media.read_sound(tmp_path / "sound.wav") is not None


# ---- wishes that cannot be met ----


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"nonsense": "1"}, "it has width, depth, scale"),
        ({"scales": "8"}, "it has width, depth, scale"),
        ({"width": "0"}, "not a whole number from 1"),
        ({"width": "-8"}, "not a whole number from 1"),
        ({"width": "99999999999999999999999"}, "not a whole number from 1"),
        ({"width": "5000"}, "--set width=5000: no network"),
        ({"depth": "1000"}, "--set depth=1000: no network"),
        ({"width": "4000", "depth": "9"}, "at most"),
    ],
)
def test_settings(tmp_path: Path, settings: dict[str, str], reason: str) -> None:
    source = tmp_path / "photo.png"
    write_png(source, picture(6, 5, 3))
    with pytest.raises(InrzipError, match=reason):
        inrzip.compress(source, recipe="siren", settings=settings, effort=1)
    assert [file.name for file in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_setting_of_a_recipe_can_be_set(recipe: inrzip.recipes.Recipe) -> None:
    grid = Grid((4, 20, 30), 3)
    for key in recipe.architecture.settable():
        check_settings([key], recipe)
        backbone = "2" if recipe.architecture.frame_wise else "6"
        value = {"reduction": "12", "backbone": backbone, "form": "2", "patch": "8"}.get(key, "3")
        recipe.architecture.solve(grid, 5000, **parse_settings({key: value})).check(grid)


def test_targets_too_small(tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    write_png(source, picture(6, 5, 3))
    with pytest.raises(TargetMissed, match=r"ask for \d+ bytes or more"):
        inrzip.compress(source, target_size=10, effort=1)
    film = tmp_path / "film.mp4"
    write_film(film, sound=True)
    copied = media.copy_sound(film)
    assert copied is not None
    with pytest.raises(TargetMissed, match=f"the sound takes {len(copied)} .*--audio inr or drop"):
        inrzip.compress(film, target_size=len(copied), effort=1)


@pytest.mark.usefixtures("quick")
def test_targets_beyond_reason(tmp_path: Path) -> None:
    """A gigabyte, or 99 dB, for thirty pixels: the network stays in proportion to them."""
    source = tmp_path / "photo.png"
    write_png(source, picture(6, 5, 3))
    for wish in ({"target_size": 10**9}, {"target_bpp": 1e9}, {"target_psnr": 99.0}):
        report = inrzip.compress(source, recipe="siren", effort=1, overwrite=True, settings={"depth": "1"}, **wish)
        assert report.n_parameters <= 2 * segment.MOST_PARAMETERS_PER_VALUE * 6 * 5 * 3
        assert report.note or "target_bpp" in wish or report.quality["psnr_db"] >= 99


def test_level_search_goes_the_right_way() -> None:
    """Finer steps for more quality, and for more bytes."""
    for wanted in (20.0, 30.0, 40.0):
        level = segment.find_level(lambda level: 30 - 6 * np.log2(level), wanted)
        assert abs(30 - 6 * np.log2(level) - wanted) < 0.1


# ---- outputs that cannot be written ----


@contextlib.contextmanager
def small_disk() -> Iterator[None]:
    """No file may become longer than 2 kB inside, as on a disk with no more room. Outside, pytest writes its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


FULL = [
    (IMAGE, ["png", "tiff", "npy", "bmp", "ppm"], 8),
    (SOUND, ["wav", "flac", "npy"], 40),
    (VOLUME, ["npy", "npz", "zarr"], 4),
    (SHAPE, ["obj", "stl", "ply"], 1),
    (NERV, ["y4m", "mkv", "npy", "mp4"], 8),
]


@pytest.mark.parametrize(("which", "extension", "scale"), [(w, e, s) for w, names, s in FULL for e in names])
def test_full_disk(
    tmp_path: Path,
    files: list[bytes],
    which: int,
    extension: str,
    scale: float,
) -> None:
    path = saved(tmp_path, files[which])
    output = tmp_path / f"out.{extension}"
    with small_disk(), pytest.raises(InrzipError, match=rf"{output}") as error:
        inrzip.decompress(path, output, scale=scale)
    assert "\n" not in str(error.value) and "tmp-" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["file.inrz"]


def test_errors_name_the_output_and_not_its_temporary_file(tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    with pytest.raises(InrzipError, match=rf"^{output}: no good$"), atomic_output(output) as temporary:
        temporary.write_bytes(b"half")
        raise InrzipError(f"{temporary}: no good")
    assert not list(tmp_path.iterdir())


def test_places_to_write(tmp_path: Path) -> None:
    (tmp_path / "taken.png").touch()
    for name, overwrite, reason in (
        ("taken.png", False, "give -f"),
        (".", True, "is a folder"),
        ("no/where.png", True, "does not exist; make it"),
    ):
        with pytest.raises(InrzipError, match=reason):
            check_writable(tmp_path / name, overwrite)


def test_the_input_is_no_output(tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    write_png(source, picture(6, 5, 3))
    before = source.read_bytes()
    (tmp_path / "link.png").symlink_to(source)
    for output in (source, tmp_path / "link.png"):
        with pytest.raises(InrzipError, match="is the input itself"):
            inrzip.compress(source, output, overwrite=True)
    assert source.read_bytes() == before


def test_no_room_for_a_checkpoint_ends_no_job(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "out.inrz", "job")
    with small_disk():
        checkpoint.finish_fit("fit", [np.zeros(1000)])
    assert checkpoint.fits and not list(tmp_path.iterdir())


# ---- names and streams ----


@pytest.mark.parametrize("name", ["a b", "new\nline", "-dash", "ünï→", "a:b", "%d", "[x]*", ".hidden", "n" * 240])
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[bytes], name: str) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, files[IMAGE], f"{name}.inrz")
    for verb in ("info", "verify", "decompress"):
        assert cli.main([verb, "--quiet", "--", f"{name}.inrz"]) == 0
    with Image.open(f"{name}.png") as image:
        assert image.size == (17, 13)


def test_standard_input_is_called_that(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: list[bytes]
) -> None:
    for verb in ("info", "verify"):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(files[IMAGE]), isatty=lambda: False))
        assert cli.main([verb, "-", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["file"] == "(standard input)"


def test_a_shape_has_no_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str], files: list[bytes]) -> None:
    path = saved(tmp_path, files[SHAPE])
    assert cli.main(["decompress", str(path), "--frames", "1:2"]) == 1
    assert "use a region" in capsys.readouterr().err


def test_sound_that_is_none(tmp_path: Path, files: list[bytes]) -> None:
    """A film whose copied sound is nonsense, or whose coded sound is a picture, is refused; without sound it is not."""
    with inrzip.container.Container.open(files[HNERV]) as container:
        header = container.header
        segments = [container.segment(i) for i in range(header.n_segments)]
    for track in (AudioTrack("copy", b"nonsense"), AudioTrack("inr", files[IMAGE])):
        path = saved(tmp_path, write_container(header, segments, [track]))
        with pytest.raises(InrzipError):
            inrzip.decompress(path, tmp_path / "out.mp4")
        assert not (tmp_path / "out.mp4").exists()
        assert inrzip.decompress(path, tmp_path / "out.npy", overwrite=True).shape == (6, 9, 11, 3)
