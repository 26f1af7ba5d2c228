"""From file to file, for every kind of signal: the size and the quality reported are those of the file on disk."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tifffile
from PIL import Image

import inrzip
from inrzip import plan, psnr_goal
from inrzip.errors import InrzipError, TargetMissed
from inrzip.signal import Kind
from tests.common import (
    leftovers,
    picture,
    reference_psnr,
    slow,
    sound_packets,
    tone,
    write_ball,
    write_film,
    write_png,
    write_wav,
)

pytestmark = pytest.mark.usefixtures("quick")

LOSSLESS_DB = 999.0
SMALL = {"recipe": "siren", "settings": {"depth": "1"}}
"""A shallow network compiles in half the time."""


def round_trip(source: Path, extension: str, **options) -> tuple[inrzip.CompressReport, Path]:
    """Compresses and decompresses `source`; checks all that holds for every kind. Returns the report and the result."""
    coded, decoded = source.with_name("coded.inrz"), source.with_name("decoded" + extension)
    report = inrzip.compress(source, coded, effort=1, **options)
    assert report.path == coded and report.bytes == coded.stat().st_size == len(coded.read_bytes())
    assert report.source_bytes == source.stat().st_size and report.n_parameters > 0
    assert not report.resumed and not report.stopped_early
    back = inrzip.decompress(coded, decoded)
    assert back.path == decoded and decoded.exists()
    assert leftovers(source.parent, [source.name, coded.name, decoded.name]) == []
    with inrzip.open(coded) as reader:
        if reader.spec.kind != Kind.SHAPE:
            assert report.bpp == pytest.approx(8 * report.bytes / np.prod(reader.spec.shape))
    facts = inrzip.verify(coded, source)
    assert facts["intact"] is True and facts["bytes"] == report.bytes
    for key, value in report.quality.items():
        assert facts[key] == pytest.approx(value, abs=1e-6)
    return report, decoded


def same_psnr(report: inrzip.CompressReport, original: np.ndarray, decoded: np.ndarray, peak: float) -> None:
    expected = reference_psnr(original, decoded, peak)
    assert report.quality["psnr_db"] == pytest.approx(min(expected, LOSSLESS_DB), abs=1e-6)


# ---- images ----


@pytest.mark.parametrize(
    ("height", "width", "channels", "top"),
    [
        (11, 14, 1, 255),
        (8, 10, 4, 255),
        (7, 8, 3, 65535),
        (1, 1, 3, 255),
        pytest.param(13, 9, 3, 255, marks=pytest.mark.slow),
        pytest.param(9, 10, 1, 65535, marks=pytest.mark.slow),
        pytest.param(1, 7, 1, 255, marks=pytest.mark.slow),
    ],
)
def test_image(tmp_path, height, width, channels, top):
    pixels = picture(height, width, channels, top)
    source = write_png(tmp_path / "a.png", pixels)
    report, decoded = round_trip(source, source.suffix, **SMALL, target_size=150)
    assert report.bytes <= 150 and report.recipe == "siren"
    got = tifffile.imread(decoded) if decoded.suffix == ".tiff" else np.asarray(Image.open(decoded))
    assert got.dtype == pixels.dtype
    same_psnr(report, pixels, got.reshape(pixels.shape), top)


def test_image_of_one_colour(tmp_path):
    pixels = np.full((9, 12, 3), (250, 3, 77), "u1")
    report, decoded = round_trip(write_png(tmp_path / "a.png", pixels), ".png", **SMALL)
    same_psnr(report, pixels, np.asarray(Image.open(decoded)), 255)
    assert report.bytes < 120


def test_psnr_goal_is_reached(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "STEPS_AT_EFFORT_1", 300)
    pixels = picture(24, 24, 1)
    report, decoded = round_trip(write_png(tmp_path / "a.png", pixels), ".png", **SMALL, target_psnr=26)
    assert 26 <= report.quality["psnr_db"] < 32
    assert (report.note is None) == (report.quality["psnr_db"] <= 26 + psnr_goal.WINDOW_DB)
    same_psnr(report, pixels, np.asarray(Image.open(decoded))[..., None], 255)


@pytest.mark.slow
def test_psnr_goal_out_of_reach_is_told(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 1), "u1")
    report, _ = round_trip(write_png(tmp_path / "a.png", noise), ".png", **SMALL, target_psnr=60)
    assert report.quality["psnr_db"] < 60 and report.note is not None and "60 dB" in report.note


@pytest.mark.parametrize("size", [60, 333, pytest.param(2_000, marks=pytest.mark.slow)])
def test_size_goal_is_kept_and_used(tmp_path, size):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), "u1")
    report, _ = round_trip(write_png(tmp_path / "a.png", pixels), ".png", **SMALL, target_size=size)
    assert 0.9 * size <= report.bytes <= size


def test_bits_per_pixel_goal(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), "u1")
    report, _ = round_trip(write_png(tmp_path / "a.png", pixels), ".png", **SMALL, target_bpp=1.332)
    assert report.bpp is not None and 1.2 <= report.bpp < 1.333


@pytest.mark.parametrize("size", [1, 10, 30])
def test_size_too_small_is_told(tmp_path, size):
    source = write_png(tmp_path / "a.png", picture(40, 50, 3))
    with pytest.raises(TargetMissed, match=f"{size} bytes"):
        inrzip.compress(source, target_size=size, effort=1)
    assert leftovers(tmp_path, ["a.png"]) == []


def test_quality_scale_is_ordered():
    from inrzip.signal import Spec

    spec = Spec(Kind.IMAGE, (200, 300), 3, "u1", 0.0, 255.0)
    sizes = [plan.total_bytes(plan.Request(quality=q), spec) for q in range(0, 101, 5)]
    assert sizes == sorted(set(sizes))
    assert plan.total_bytes(plan.Request(), spec) == plan.total_bytes(plan.Request(quality=50), spec)


def test_the_first_wish_to_stop_gives_the_best_so_far(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "STEPS_AT_EFFORT_1", 10**7)
    source = write_png(tmp_path / "a.png", picture(12, 12, 1))
    report = inrzip.compress(source, effort=1, **SMALL, stop=lambda: True)
    assert report.stopped_early and report.seconds < 60 and report.path == tmp_path / "a.inrz"
    assert inrzip.verify(report.path)["intact"]
    assert leftovers(tmp_path, ["a.png", "a.inrz"]) == []


def test_time_limit(tmp_path):
    source = write_png(tmp_path / "a.png", picture(12, 12, 1))
    inrzip.compress(source, effort=1, **SMALL, overwrite=True)  # compiles
    report = inrzip.compress(source, time_limit=2.0, **SMALL, overwrite=True)
    assert 0.5 < report.seconds < 8


def test_progress_is_reported(tmp_path):
    seen = []
    source = write_png(tmp_path / "a.png", picture(12, 12, 1))
    inrzip.compress(source, effort=1, **SMALL, progress=seen.append)
    fractions = [report.fraction for report in seen]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] == pytest.approx(1.0)
    stages = list(dict.fromkeys(report.stage for report in seen))
    assert stages[0] == "reading" and stages[-1] == "measuring" and {"fitting", "coding"} < set(stages)


def test_existing_files_are_kept(tmp_path):
    source = write_png(tmp_path / "a.png", picture(8, 8, 1))
    (tmp_path / "a.inrz").write_bytes(b"precious")
    with pytest.raises(InrzipError, match="already exists"):
        inrzip.compress(source)
    assert (tmp_path / "a.inrz").read_bytes() == b"precious"
    report = inrzip.compress(source, overwrite=True, effort=1, **SMALL)
    assert report.bytes == (tmp_path / "a.inrz").stat().st_size > 8
    with pytest.raises(InrzipError, match="already exists"):
        inrzip.decompress(report.path, source)


# ---- sound ----


@pytest.mark.parametrize(
    ("channels", "subtype", "bits"),
    [
        (2, "PCM_24", 24),
        (1, "FLOAT", 0),
        pytest.param(1, "PCM_16", 16, marks=pytest.mark.slow),
        pytest.param(2, "PCM_16", 16, marks=pytest.mark.slow),
    ],
)
def test_audio(tmp_path, channels, subtype, bits):
    source = write_wav(tmp_path / "a.wav", tone(900, channels), subtype=subtype)
    report, decoded = round_trip(source, ".wav", **SMALL, target_size=200)
    assert report.bytes <= 200
    dtype = {16: "int16", 24: "int32", 0: "float32"}[bits]
    original, rate = soundfile.read(source, dtype=dtype, always_2d=True)
    got, got_rate = soundfile.read(decoded, dtype=dtype, always_2d=True)
    assert got_rate == rate == 8000 and soundfile.info(decoded).subtype == subtype
    if bits == 24:
        original, got = original >> 8, got >> 8
    same_psnr(report, original, got, 2.0**bits - 1 if bits else 2.0)


@pytest.mark.slow
def test_audio_in_segments(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "AUDIO_SEGMENT_SECONDS", 0.05)
    source = write_wav(tmp_path / "a.wav", tone(1117))
    report, decoded = round_trip(source, ".wav", **SMALL, target_size=400)
    assert 0.8 * 400 < report.bytes <= 400
    original, got = (soundfile.read(path, dtype="int16")[0] for path in (source, decoded))
    same_psnr(report, original, got, 65535)
    with inrzip.open(report.path) as reader:
        assert reader.container.header.n_segments == 3
        np.testing.assert_allclose(reader[300:800].astype(int), got[300:800].astype(int), atol=1)
    assert inrzip.info(report.path)["parameters"] == report.n_parameters


def test_silence(tmp_path):
    source = write_wav(tmp_path / "a.wav", np.zeros((500, 1)))
    report, decoded = round_trip(source, ".wav", **SMALL)
    got = soundfile.read(decoded, dtype="int16")[0]
    same_psnr(report, np.zeros(500, np.int16), got, 65535)
    assert np.max(np.abs(got.astype(int))) <= 2000


# ---- volumes ----


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((40,), "f4"),
        ((5, 6, 7), "u1"),
        ((3, 4, 5, 6), "f8"),
        pytest.param((9, 11), "i2", marks=pytest.mark.slow),
        pytest.param((6, 5, 4), "i4", marks=pytest.mark.slow),
        pytest.param((6, 7, 5), "b1", marks=pytest.mark.slow),
        pytest.param((1, 1, 1), "f4", marks=pytest.mark.slow),
    ],
)
def test_volume(tmp_path, shape, kind):
    axes = np.meshgrid(*[np.linspace(0, 2, n) for n in shape], indexing="ij")
    wave = np.sin(sum(axes))
    volume = wave > 0.2 if kind == "b1" else (100 * wave + (101 if kind == "u1" else 0)).astype(kind)
    source = tmp_path / "a.npy"
    np.save(source, volume)
    report, decoded = round_trip(source, ".npy", **SMALL, target_size=250, kind="volume")
    got = np.load(decoded)
    assert got.dtype == volume.dtype and got.shape == shape and report.bytes <= 250
    peak = 1.0 if kind == "b1" else float(volume.max()) - float(volume.min()) or 1.0
    same_psnr(report, volume, got, peak)
    largest = np.max(np.abs(got.astype(float) - volume.astype(float)))
    assert report.quality["max_error"] == pytest.approx(largest, abs=1e-9)


@pytest.mark.parametrize("kind", ["f4", pytest.param("i2", marks=pytest.mark.slow)])
def test_constant_volume_is_exact(tmp_path, kind):
    source = tmp_path / "a.npy"
    np.save(source, np.full((5, 4, 3), 37, kind))
    report, decoded = round_trip(source, ".npy", **SMALL, kind="volume")
    np.testing.assert_array_equal(np.load(decoded), np.load(source))
    assert report.quality["psnr_db"] == LOSSLESS_DB


# ---- shapes ----


def test_shape(tmp_path, monkeypatch):
    import trimesh

    monkeypatch.setattr(plan, "STEPS_AT_EFFORT_1", 150)
    source = write_ball(tmp_path / "a.obj")
    report, decoded = round_trip(source, ".obj", target_size=600)
    assert report.bytes <= 600 and report.bpp is None
    ball = trimesh.load(decoded)
    radii = np.linalg.norm(ball.vertices, axis=1)
    assert abs(np.median(radii) - 2) < 0.5 and len(ball.faces) > 100
    assert 0 < report.quality["chamfer_percent"] < 10 and report.quality["iou"] > 0.5


# ---- video ----


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return write_film(tmp_path_factory.mktemp("film") / "a.mp4", rate=Fraction(24000, 1001))


def frames_of(path: Path) -> np.ndarray:
    """RGB frames as the library under test reads them: conversion to RGB is part of reading."""
    signal = inrzip.read_signal(path)
    return signal.read(0, signal.spec.shape[0])


@pytest.mark.parametrize("audio", [slow("copy"), "inr", slow("drop")])
def test_video(tmp_path, film, audio):
    source = tmp_path / "a.mp4"
    source.write_bytes(film.read_bytes())
    report, decoded = round_trip(source, ".npy", audio=audio, target_size=5_000)
    assert report.bytes <= 5_000 and report.recipe == "motion"
    original, got = frames_of(source), np.load(decoded)
    assert len(got) == 5
    same_psnr(report, original, got, 255)
    per_frame = np.mean([reference_psnr(a, b, 255) for a, b in zip(original, got, strict=True)])
    assert report.quality["psnr_mean_frame_db"] == pytest.approx(per_frame, abs=1e-6)
    with inrzip.open(report.path) as reader:
        assert [track.mode for track in reader.tracks()] == ([] if audio == "drop" else [audio])
        assert reader.spec.meta["rate"] == (24000, 1001)
    check_played_back(source, report.path, audio)


def check_played_back(source: Path, coded: Path, audio: str) -> None:
    """The film written again has its frames, its rate and its sound."""
    import av

    played = coded.with_suffix(".mkv")
    inrzip.decompress(coded, played)
    with av.open(str(played)) as file:
        assert len(list(file.decode(video=0))) == 5 and file.streams.video[0].average_rate == Fraction(24000, 1001)
        assert len(file.streams.audio) == (audio != "drop")
    if audio == "copy":
        packets = sound_packets(str(source))
        assert len(packets) > 2 and sound_packets(str(played)) == packets
    if audio == "inr":
        with av.open(str(played)) as file:
            samples = sum(frame.samples for frame in file.decode(audio=0))
        assert 0.15 < samples / 16000 < 0.4
    silent = coded.with_suffix(".y4m")
    inrzip.decompress(coded, silent)
    assert frames_of(silent).shape == frames_of(source).shape


def test_part_of_a_video(tmp_path, film):
    coded = tmp_path / "a.inrz"
    inrzip.compress(film, coded, effort=1, audio="drop", target_size=5_000)
    with inrzip.open(coded) as reader:
        whole = reader[...]
        assert whole.shape == (5, 18, 22, 3) and len(reader) == 5
    report = inrzip.decompress(coded, tmp_path / "part.npy", frames=(1, 4), region=[(2, 9), (5, None)])
    assert report.shape == (3, 7, 17, 3)
    part = np.load(tmp_path / "part.npy")
    np.testing.assert_allclose(part.astype(int), whole[1:4, 2:9, 5:].astype(int), atol=1)


@pytest.mark.parametrize("recipe", ["nerv", pytest.param("hnerv", marks=pytest.mark.slow)])
def test_video_of_one_frame(tmp_path, recipe):
    source = write_film(tmp_path / "a.mp4", 1, (10, 12), sound=False)
    report, decoded = round_trip(source, ".npy", recipe=recipe, target_size=900)
    assert np.load(decoded).shape == (1, 10, 12, 3) and report.bytes <= 900 and report.recipe == recipe
    same_psnr(report, frames_of(source), np.load(decoded), 255)


def test_sound_that_leaves_no_room_is_told(tmp_path, film):
    with pytest.raises(TargetMissed, match="the sound takes"):
        inrzip.compress(film, tmp_path / "a.inrz", target_size=500, effort=1)
    assert leftovers(tmp_path, []) == []
