"""From wishes to numbers: sizes, steps, segments, and wishes that contradict each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from inrzip import plan
from inrzip.errors import InrzipError
from inrzip.examples import Frames, GridPoints
from inrzip.plan import Request
from inrzip.recipes import RECIPES, choose_recipe, parse_settings
from inrzip.signal import Kind, Spec

IMAGE = Spec(Kind.IMAGE, (512, 768), 3, "u1", 0.0, 255.0)
FILM = Spec(Kind.VIDEO, (600, 1080, 1920), 3, "u1", 0.0, 255.0, {"rate": (30, 1)})
SOUND = Spec(Kind.AUDIO, (10 * 44100 + 7,), 2, "i2", -32768.0, 32767.0, {"rate": (44100, 1)})
SHAPE = Spec(Kind.SHAPE, (128, 128, 128), 1, "f4", -0.1, 0.1)
VOLUME = Spec(Kind.VOLUME, (2000, 1000, 1000), 1, "u2", 0.0, 65535.0)
ALL = [IMAGE, FILM, SOUND, SHAPE, VOLUME]


@pytest.mark.parametrize(
    "fields",
    [
        {"quality": 50.0, "target_size": 100},
        {"target_bpp": 1.0, "target_psnr": 30.0},
        {"quality": -1.0},
        {"quality": 100.1},
        {"quality": float("nan")},
        {"target_size": 0},
        {"target_size": -5},
        {"target_bpp": float("inf")},
        {"target_bpp": 0.0},
        {"target_psnr": float("nan")},
        {"target_psnr": -3.0},
        {"effort": 0},
        {"effort": 10},
        {"time_limit": 0.0},
        {"time_limit": float("inf")},
    ],
)
def test_bad_wishes(fields):
    with pytest.raises(InrzipError) as caught:
        Request(**fields).check(IMAGE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fields", [{"target_psnr": 30.0}, {"target_bpp": 1.0}])
def test_shapes_have_no_pixels(fields):
    with pytest.raises(InrzipError, match="shape"):
        Request(**fields).check(SHAPE)
    Request(**fields).check(IMAGE)


@pytest.mark.parametrize("fields", [{}, {"quality": 0.0}, {"quality": 100.0}, {"target_size": 1}, {"time_limit": 0.1}])
def test_good_wishes(fields):
    for spec in ALL:
        Request(**fields).check(spec)
        assert plan.total_bytes(Request(**fields), spec) >= 1


def test_sizes_asked_for():
    assert plan.total_bytes(Request(target_size=12345), IMAGE) == 12345
    assert plan.total_bytes(Request(target_bpp=0.25), IMAGE) == 512 * 768 // 32
    assert plan.total_bytes(Request(target_bpp=1e-9), IMAGE) == 1
    assert plan.total_bytes(Request(quality=50 + plan.QUALITY_OCTAVE), IMAGE) == 2 * plan.total_bytes(Request(), IMAGE)
    guesses = [plan.total_bytes(Request(target_psnr=db), IMAGE) for db in (20, 30, 40)]
    assert guesses == sorted(guesses)


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.kind.name)
def test_segments(spec):
    length = plan.segment_length(spec, RECIPES["siren"])
    n = -(-spec.shape[0] // length)
    assert 1 <= length <= spec.shape[0]
    if spec.kind in (Kind.IMAGE, Kind.SHAPE):
        assert n == 1
    elif spec.kind == Kind.AUDIO:
        assert n == 11 and length <= 44100
    else:
        row = spec.dtype.itemsize * spec.channels * spec.shape[1] * spec.shape[2]
        assert length * row <= plan.SEGMENT_BYTES and n <= 1 + -(-spec.shape[0] * row // plan.SEGMENT_BYTES)


def test_pictures_are_one_segment():
    for shape in ((512, 768), (4000, 6000), (3, 5_000_000)):
        assert plan.segment_length(dataclasses.replace(IMAGE, shape=shape), RECIPES["grid"]) == shape[0]


def test_segments_are_about_equal():
    for n in (1, 7, 44100, 44101, 100_000):
        spec = dataclasses.replace(SOUND, shape=(n,))
        length = plan.segment_length(spec, RECIPES["siren"])
        parts = -(-n // length)
        assert parts == -(-n // 44100)
        assert n - (parts - 1) * length > 0


def test_a_row_larger_than_a_segment_is_one_row():
    assert plan.segment_length(dataclasses.replace(VOLUME, shape=(9, 30_000, 30_000)), RECIPES["siren"]) == 1


@pytest.mark.parametrize("weights", [[1], [1, 1, 1], [5, 3, 1], [7] * 13, [1000, 1]])
@pytest.mark.parametrize("size", [0, 1, 100, 9999])
def test_split_budget(weights, size):
    parts = plan.split_budget(size, weights)
    assert sum(parts) == size and len(parts) == len(weights) and min(parts) >= 0
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - size * weight / sum(weights)) <= 1.0 + len(weights) * 0.5


def test_effort_makes_longer():
    examples = GridPoints(np.zeros((100, 100, 1), "u1"), 0.0, 255.0, 16384)
    steps = [plan.schedule(Request(effort=e), RECIPES["siren"], examples).n_steps for e in range(1, 10)]
    assert steps == sorted(set(steps)) and steps[0] == plan.STEPS_AT_EFFORT_1
    assert steps[8] == pytest.approx(plan.LONGER_PER_EFFORT**8 * steps[0], rel=0.01)


def test_long_videos_take_more_steps():
    recipe = RECIPES["hnerv"]
    films = [Frames(np.zeros((n, 2, 2, 1), "u1"), 0.0, 255.0, recipe.batch_size) for n in (2, 10_000)]
    few, many = (plan.schedule(Request(effort=5), recipe, film).n_steps for film in films)
    assert few >= plan.STEPS_AT_EFFORT_1 and many > 5 * few


def test_the_clock_ends_a_fit_with_a_time_limit():
    examples = GridPoints(np.zeros((3, 3, 1), "u1"), 0.0, 255.0, 16384)
    assert plan.schedule(Request(time_limit=5.0), RECIPES["siren"], examples).n_steps == plan.UNBOUNDED_STEPS


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.kind.name)
def test_default_recipes(spec):
    for shape in (spec.shape, (1,) * len(spec.shape)):
        assert spec.kind in choose_recipe(None, dataclasses.replace(spec, shape=shape)).kinds


def test_recipes():
    assert choose_recipe("nerv", FILM).name == "nerv"
    assert all(name == recipe.name and recipe.summary for name, recipe in RECIPES.items())


@pytest.mark.parametrize(("name", "spec"), [("nope", IMAGE), ("nerv", IMAGE), ("hnerv", SOUND)])
def test_wrong_recipes(name, spec):
    with pytest.raises(InrzipError, match="siren"):
        choose_recipe(name, spec)


def test_settings():
    assert parse_settings({"width": "12", "depth": " 3 "}) == {"width": 12, "depth": 3}
    for value in ("", "1.5", "x"):
        with pytest.raises(InrzipError, match="whole number"):
            parse_settings({"width": value})
