"""Videos of pictures and motion: the order of frames, moving them, coding motion, and whole videos."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

import inrzip
from inrzip import Kind, Spec, motion_encoder, motion_fit, plan, wire
from inrzip.architectures import motion, warping
from inrzip.architectures.base import Grid
from inrzip.architectures.motion import MAX_FRAMES, Film, MotionConfig, layers, mosaics
from inrzip.architectures.warping import FRACTIONS, SPACINGS, moved, moved_with_slopes, node_shape, spread
from inrzip.checkpoint import Checkpoint
from inrzip.codecs.motion import Contexts, decode_pyramid, encode_pyramid
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.configuration import encode_config
from inrzip.container import write_container
from inrzip.errors import CorruptFile, LimitExceeded
from inrzip.fitting import Schedule
from inrzip.grid_encoder import Stage
from inrzip.header import Header
from inrzip.job import Job
from inrzip.metrics import psnr
from inrzip.motion_encoder import FilmEncoder, Pace, work
from inrzip.motion_payload import encode_motions, n_planes
from inrzip.network import decode_network
from inrzip.reader import Reader
from inrzip.recipes import RECIPES
from inrzip.research import Fitted
from inrzip.segment import Task, make_examples
from inrzip.weight_codecs import CODECS
from tests.common import check_hostile_config, slow


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "FILM_STEPS", (40,) * 9)
    monkeypatch.setattr(plan, "FILM_STEPS_RANGE", (1.0, 1.0))
    monkeypatch.setattr(motion_fit, "STEPS", 20)


def sliding(n_frames: int, height: int, width: int, channels: int = 3, peak: int = 255) -> ndarray:
    """A smooth pattern that moves by a pixel and a half a frame."""
    time, rows, columns = np.meshgrid(*(np.arange(n) for n in (n_frames, height, width)), indexing="ij")
    place = (columns + 1.5 * time)[..., None] / (5 + np.arange(channels)) + rows[..., None] / 7
    return np.round((0.5 + 0.4 * np.sin(place)) * peak).astype(np.uint8 if peak < 256 else np.uint16)


# ---- the order of frames ----


@pytest.mark.parametrize("n_frames", [1, 2, 3, 8, 9, 10, 33, MAX_FRAMES])
@pytest.mark.parametrize("interval", [1, 2, 7, 8, 64])
def test_every_frame_comes_once_and_after_its_references(n_frames: int, interval: int) -> None:
    known: set[int] = set()
    for layer in layers(n_frames, interval):
        assert all(set(step.references) <= known for step in layer)
        assert all(a < step.frame < b for step in layer if len(step.references) == 2 for a, b in [step.references])
        known |= {step.frame for step in layer}
    assert sorted(known) == list(range(n_frames)) and sum(map(len, layers(n_frames, interval))) == n_frames


def test_a_frame_needs_few_others() -> None:
    references = {step.frame: step.references for layer in layers(32, 8) for step in layer}

    def needed(frame: int) -> set[int]:
        return {frame}.union(*map(needed, references[frame]))

    assert max(len(needed(frame)) for frame in range(32)) <= 5 + math.ceil(math.log2(8))


def test_pictures_hold_as_many_frames_as_go_into_them() -> None:
    layer = layers(20, 19)[-1]
    assert [len(part) for part in mosaics(layer, (512, 1024))] == [2] * (len(layer) // 2) + [1] * (len(layer) % 2)
    assert [len(part) for part in mosaics(layer, (4000, 4000))] == [1] * len(layer)
    assert sum(mosaics(layer, (7, 7)), ()) == layer


# ---- moving ----


def test_whole_pixels_are_moved_exactly() -> None:
    frame = np.random.default_rng(0).random((30, 40, 3)).astype(np.float32)
    field = np.broadcast_to(np.array([3, -2])[:, None, None] * FRACTIONS, (2, 30, 40))
    rows, columns = np.clip(np.arange(30) + 3, 0, 29), np.clip(np.arange(40) - 2, 0, 39)
    np.testing.assert_array_equal(moved(frame, field), frame[rows][:, columns])


def test_a_smooth_frame_is_moved_by_parts_of_a_pixel() -> None:
    rows, columns = np.meshgrid(np.arange(60.0), np.arange(80.0), indexing="ij")

    def pattern(down: float, right: float) -> ndarray:
        return (np.sin((rows + down) / 4) * np.cos((columns + right) / 5)).astype(np.float32)[..., None]

    field = np.broadcast_to(np.array([21, -40])[:, None, None], (2, 60, 80))
    error = moved(pattern(0, 0), field) - pattern(21 / FRACTIONS, -40 / FRACTIONS)
    assert np.abs(error[4:-4, 4:-4]).max() < 5e-3


def test_slopes_are_those_of_small_differences() -> None:
    rng = np.random.default_rng(1)
    plane, field = rng.random((20, 30)).astype(np.float32), rng.uniform(-3, 3, (2, 20, 30)).astype(np.float32)
    found = moved_with_slopes(plane, field)
    for axis in range(2):
        step = np.zeros((2, 1, 1), np.float32)
        step[axis] = 1 / FRACTIONS
        higher, lower = moved_with_slopes(plane, field + step)[0], moved_with_slopes(plane, field - step)[0]
        np.testing.assert_allclose(found[1 + axis], (higher - lower) * FRACTIONS / 2, atol=2e-2)


def test_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    frame, field = rng.random((70, 20, 2)).astype(np.float32), rng.integers(-500, 500, (2, 70, 20))
    whole = moved(frame, field)
    monkeypatch.setattr(warping, "ROWS_PER_THREAD", 7)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    np.testing.assert_array_equal(moved(frame, field), whole)


def test_planes_are_bilinear_between_nodes() -> None:
    shape = 20, 75
    pyramid = [np.zeros((1, *node_shape(shape, spacing))) for spacing in SPACINGS]
    pyramid[0][0, 0, 1], pyramid[3][0, 1, 0] = 64, 8
    field = spread(pyramid, shape)[0]
    assert (
        field[0, 64] == 64 and field[0, 32] == 32 and field[8, 0] == 8 and field[12, 4] == 8 * 0.25 + 4 * (1 - 12 / 64)
    )


# ---- coding motion ----


def pyramid(rng: np.random.Generator, n_planes: int, shape: tuple[int, int], scale: float) -> list[ndarray]:
    return [
        np.round(rng.laplace(0, scale / 4**i, (n_planes, *node_shape(shape, spacing)))).astype(np.int64)
        for i, spacing in enumerate(SPACINGS)
    ]


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (70, 3), (129, 200)])
@pytest.mark.parametrize("scale", [0.1, 5.0, 1e5])
def test_motion_comes_back(shape: tuple[int, int], scale: float) -> None:
    rng = np.random.default_rng(3)
    wanted = [pyramid(rng, n, shape, scale) for n in (2, 5, 5, 2)]
    encoder, contexts = RangeEncoder(), Contexts(len(SPACINGS))
    for each in wanted:
        encode_pyramid(encoder, contexts, each)
    decoder, contexts = RangeDecoder(encoder.finish()), Contexts(len(SPACINGS))
    shapes = [node_shape(shape, spacing) for spacing in SPACINGS]
    for each in wanted:
        for a, b in zip(each, decode_pyramid(decoder, contexts, len(each[0]), shapes), strict=True):
            np.testing.assert_array_equal(a, b)
    decoder.finish()


def test_frames_that_stand_still_cost_next_to_nothing() -> None:
    shape, order = (288, 352), layers(17, 8)
    still = {
        step.frame: [np.zeros((n_planes(step), *node_shape(shape, s)), np.int64) for s in SPACINGS]
        for layer in order
        for step in layer
        if step.references
    }
    assert len(encode_motions(order, still)) < 16 * 40  # 1,800 to 11,000 numbers a frame


# ---- whole videos ----


def fit(video: ndarray, **options: Any) -> tuple[Fitted, ndarray]:
    fitted = inrzip.fit(video, "motion", kind="video", effort=1, **options)
    return fitted, np.asarray(fitted.reader)


def db(video: ndarray, decoded: ndarray) -> float:
    error = np.mean((decoded.reshape(video.shape).astype(float) - video) ** 2)
    return float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((1, 5, 7), 3),
        ((2, 1, 1), 3),
        slow((4, 1, 30), 1),
        slow((9, 33, 2), 3),
        ((3, 20, 9), 2),
        slow((10, 17, 19), 4),
    ],
)
def test_any_shape(shape: tuple[int, int, int], channels: int) -> None:
    video = sliding(*shape, channels)
    fitted, decoded = fit(video, quality=60)
    assert decoded.size == video.size and decoded.dtype == np.uint8
    assert db(video, decoded) > 20 and db(video, decoded) == pytest.approx(fitted.quality["psnr_db"], abs=1e-6)


def test_frames_alone_are_those_of_the_whole() -> None:
    fitted, whole = fit(sliding(11, 40, 56))
    for frame in (10, 3, 0):
        with inrzip.Reader(fitted.data) as reader:
            np.testing.assert_array_equal(reader[frame], whole[frame])
    np.testing.assert_array_equal(fitted.reader[5, 10:20, ::3], whole[5, 10:20, ::3])


@pytest.mark.slow
def test_motion_pays() -> None:
    """A pattern that moves takes far less than frames that have nothing to do with each other."""
    moving = sliding(9, 48, 64)
    others = np.stack([np.roll(np.rot90(frame, 2 * i), 17 * i, 0) for i, frame in enumerate(moving)])
    assert fit(moving)[0].n_bytes < 0.8 * fit(others)[0].n_bytes


def film_of(video: ndarray) -> FilmEncoder:
    """An encoder of a video, without a file around it."""
    spec = Spec(Kind.VIDEO, video.shape[:3], video.shape[3], "u1", 0, 255)
    recipe, grid = RECIPES["motion"], Grid(video.shape[:3], video.shape[3])
    examples = make_examples(recipe, video, 0, 255)
    task = Task("film", spec, grid, recipe, CODECS["auto"], {}, examples, video, Schedule(20, 1.0), None)
    return FilmEncoder(task, video.astype(np.float32) / 255, MotionConfig(8), Job(Checkpoint(None, ""), None, None))


def test_a_scene_cut_is_a_picture_of_its_own() -> None:
    noise = np.random.default_rng(5).integers(0, 255, (1, 6, 8, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    film = film_of(np.concatenate([sliding(4, 48, 64), np.repeat(noise, 5, 0)]))
    found = film.encode(Stage("fit", 290, None, 20, 0.0, (0.0, 1.0)))
    assert film.motions[8] is None and film.motions[4] is not None
    decoded = decode_network(found.payload, MotionConfig.number, film.task.grid).render(film.task.grid.axes())
    assert psnr(float(np.mean((decoded - film.frames) ** 2)), 1.0) == pytest.approx(found.db, abs=0.1)


def test_pictures_that_do_not_pay_are_left_out() -> None:
    film = film_of(np.repeat(sliding(1, 48, 64), 9, 0))
    film.encode(Stage("fit", 290, None, 20, 0.0, (0.0, 1.0)))
    payload = film.encode(Stage("fit", 290, None, 20, 0.0, (0.0, 1.0))).payload
    cursor = wire.Cursor(payload)
    cursor.varint()
    parts = []
    while cursor.remaining:
        parts.append(cursor.take(cursor.varint()))
    motion, first, *others = map(len, parts)
    assert motion < 80 and first > 100 and max(others[-3:]) == 0


@pytest.mark.parametrize(("seconds_of_step", "expected"), [(1e-9, [800, 400, 200, 140]), (1e9, [20] * 4)])
def test_a_video_takes_the_steps_that_there_is_time_for(
    seconds_of_step: float, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def coded(self: object, stage: Stage, rest: ndarray, steps: object) -> motion_encoder._Picture:
        seen.append(stage.n_steps)
        return motion_encoder._Picture(b"", None, np.full_like(rest, 0.5), 0.0)

    monkeypatch.setattr(motion_encoder._Coding, "_coded", coded)
    film = film_of(sliding(5, 20, 24))
    film.pace = Pace(seconds_of_step)
    film.encode(Stage("fit", 290, None, 200, 0.0, (0.0, 1.0), until=time.monotonic() + 1e4))
    assert seen == expected


def test_what_a_pass_over_a_video_takes() -> None:
    """The first frame, an anchor, and three between them."""
    assert work(layers(5, 8)) == pytest.approx(1.1 * (4 + 2) + 1.35 * (1 + 2 * 0.7))
    assert Pace(2.0, 3.0).steps(100.0, 10, 7.0) == 5.0


@pytest.mark.parametrize("size", [900, slow(2500)])
def test_a_size_is_met(size: int) -> None:
    assert 0.9 * size <= fit(sliding(9, 48, 64), target_size=size)[0].n_bytes <= size


def test_a_quality_is_met() -> None:
    video = sliding(9, 48, 64)
    assert 33 <= db(video, fit(video, target_psnr=33)[1]) < 36  # fits are short here


def test_deep_video() -> None:
    video = sliding(3, 30, 40, 1, 60000)
    decoded = fit(video, quality=60)[1]
    assert decoded.dtype == np.uint16 and np.abs(decoded.astype(float) - video[..., 0]).mean() < 2000


def test_the_interval_is_a_setting() -> None:
    short, long = (fit(sliding(5, 20, 20), settings={"interval": n})[0].reader.segment(0) for n in (2, 4))
    assert isinstance(short, Film) and short.frames != long.frames


def test_long_videos_are_cut_into_segments() -> None:
    spec = Spec(Kind.VIDEO, (2000, 180, 320), 3, "u1", 0, 255)
    assert plan.segment_length(spec, RECIPES["motion"]) <= motion.FRAMES
    large = dataclasses.replace(spec, shape=(100, 2160, 3840))
    assert plan.segment_length(large, RECIPES["motion"]) <= motion.LEAST_FRAMES


# ---- damaged and hostile ----


@pytest.mark.parametrize(("interval", "shape"), [(0, (3, 5, 7)), (2**40, (3, 5, 7)), (8, (5, 7)), (8, (257, 5, 7))])
def test_hostile_configurations(interval: int, shape: tuple[int, ...]) -> None:
    check_hostile_config(MotionConfig, {"interval": interval}, shape)


def test_damaged_payloads_give_one_error() -> None:
    film = film_of(sliding(5, 20, 24))
    payload = film.encode(Stage("fit", 290, None, 20, 0.0, (0.0, 1.0))).payload
    rng, grid, refused = np.random.default_rng(6), film.task.grid, 0
    for _ in range(150):
        damaged = bytearray(payload)
        for place in rng.integers(0, len(payload), 3):
            damaged[place] = int(rng.integers(256))
        cut = bytes(damaged[: int(rng.integers(1, len(payload) + 1))]) if rng.integers(2) else bytes(damaged)
        try:
            decode_network(cut, MotionConfig.number, grid).render(grid.axes())
        except CorruptFile as error:
            refused += "\n" not in str(error)
    assert refused > 100


def test_a_limit_of_memory_holds() -> None:
    payload = encode_config(MotionConfig(8)) + bytes(20)
    with pytest.raises(LimitExceeded):
        decode_network(payload, MotionConfig.number, Grid((32, 1000, 1000), 3), max_memory=100 << 20)


def test_bytes_that_follow_are_refused() -> None:
    film = film_of(sliding(2, 8, 8))
    payload = film.encode(Stage("fit", 290, None, 20, 0.0, (0.0, 1.0))).payload
    with pytest.raises(CorruptFile, match="follow"):
        decode_network(payload + b"\0\0", MotionConfig.number, film.task.grid)


# ---- cut short ----


def test_what_is_there_of_a_video_that_was_cut(tmp_path: Path) -> None:
    """Of the second of two segments, ever less: all motion and pictures but the last, no picture whole, no picture."""
    video = sliding(9, 48, 64)
    film = film_of(video)
    payload = film.encode(Stage("fit", 290, None, 20, 0.0, (0.0, 1.0))).payload
    spec = dataclasses.replace(film.task.spec, shape=(18, 48, 64), meta={"rate": (25, 1)})
    data = write_container(Header(spec, MotionConfig.number, 9), [payload, payload])
    with Reader(data) as reader:
        whole = np.asarray(reader)
    start = len(data) - 4 - len(payload)
    cursor = wire.Cursor(payload)
    cursor.varint()
    ends = []
    while cursor.remaining:
        cursor.take(cursor.varint())
        ends.append(cursor.position)

    def decoded(n_bytes: int) -> tuple[ndarray, str]:
        cut, out = tmp_path / "cut.inrz", tmp_path / "cut.mkv"
        cut.write_bytes(data[: start + n_bytes])
        with pytest.raises(CorruptFile, match="cut short"):
            inrzip.decompress(cut, out, overwrite=True)
        report = inrzip.decompress(cut, out, partial=True, overwrite=True)
        assert report.shape[1:] == (48, 64, 3)
        with Reader(cut, partial=True) as reader:
            frames = reader.render(frames=(0, report.shape[0]))
        return frames, report.note

    anchored, note = decoded(ends[2])  # motion, the first frame, the anchor
    assert len(anchored) == 18 and "details" in note and "only" not in note
    np.testing.assert_array_equal(anchored[:9], whole[:9])
    np.testing.assert_array_equal(anchored[[9, 17]], whole[[9, 17]])
    assert db(video, anchored[9:]) > 20  # what lies between is moved
    moved, _ = decoded(ends[1])
    np.testing.assert_array_equal(moved[9], whole[9])
    assert len(moved) == 18 and db(video, moved[9:]) > 20
    assert len(decoded((ends[0] + 3 * ends[1]) // 4)[0]) == 18
    beginning, note = decoded(ends[0] - 3)
    np.testing.assert_array_equal(beginning, whole[:9])
    assert "only the first 9 of 18 frames" in note
    with pytest.raises(inrzip.InrzipError, match="only the first 9"):
        inrzip.decompress(tmp_path / "cut.inrz", tmp_path / "cut.mkv", frames=(9, 12), partial=True, overwrite=True)
    (tmp_path / "cut.inrz").write_bytes(data[: len(data) // 2 - 200])
    with Reader(tmp_path / "cut.inrz", partial=True) as reader:
        assert reader.container.n_whole == 0
