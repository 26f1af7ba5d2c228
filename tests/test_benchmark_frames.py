"""The benchmark of frames a second."""

import pytest

from benchmarks import frame_speed
from inrzip.recipes import RECIPES


@pytest.mark.parametrize("name", ["nerv", "nirvana"])
def test_a_recipe_is_timed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_speed, "N_FRAMES", 12)
    monkeypatch.setattr(frame_speed, "BITS_PER_PIXEL", 1.0)
    speed = frame_speed.measure(RECIPES[name], (18, 32), 1e9)
    assert speed.first > 0 and speed.fps > 0
    assert 1_000 < speed.parameters < 6_000
    assert speed.floor_fps == pytest.approx(1e9 / (speed.macs_per_pixel * 18 * 32))
    assert speed.macs_per_pixel > 20


def test_pictures_and_motion_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_speed, "N_FRAMES", 10)
    speed = frame_speed.measure(RECIPES["motion"], (18, 32), 1e9)
    assert speed.first > 0 and speed.fps > 0
    assert 10 * 18 * 32 * 4 / 3 < speed.parameters < 10 * 18 * 32 * 1.5
    assert 2_000 < speed.macs_per_pixel < 3_000
