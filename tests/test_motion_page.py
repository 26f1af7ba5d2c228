"""Pictures and motion: payloads against the page's decoder."""

from __future__ import annotations

import dataclasses
import itertools
from typing import cast

import numpy as np
import pytest
from numpy import ndarray

from inrzip import grid_payload, wire
from inrzip.architectures import motion
from inrzip.architectures.base import Grid
from inrzip.architectures.grid import GridConfig, channel_groups
from inrzip.architectures.grid_layout import flat, places
from inrzip.architectures.motion import Film, MotionConfig, layers, mosaics
from inrzip.architectures.warping import SPACINGS, node_shape
from inrzip.codecs import latent_tiles
from inrzip.configuration import encode_config
from inrzip.grid_encoder import Stage
from inrzip.grid_payload import CodedPlane, Picture, encode_planes
from inrzip.header import VERSION
from inrzip.job import Job
from inrzip.motion_encoder import FilmEncoder
from inrzip.motion_payload import CodedFrames, Motions, encode_motions, n_planes, read_picture
from inrzip.network import decode_network
from inrzip.priors import grid_prior
from inrzip.segment import Task
from tests import page_motion
from tests.common import slow
from tests.test_latents import random_grids

Shape = tuple[int, int, int]
CLOSE = 1e-4
MOST = (1 << 20) - 1
"""The greatest number that motion has."""


def random_motions(shape: Shape, interval: int, rng: np.random.Generator, spread: float, alone: float) -> Motions:
    """Numbers of all frames; some frames are not predicted."""
    motions: Motions = {}
    for step in itertools.chain(*layers(shape[0], interval)[1:]):
        sizes = [(n_planes(step), *node_shape(shape[1:], spacing)) for spacing in SPACINGS]
        pyramid = [np.clip(np.round(rng.laplace(0, spread, size)), -MOST, MOST).astype(np.int64) for size in sizes]
        motions[step.frame] = None if rng.random() < alone else pyramid
    return motions


def random_picture(shape: tuple[int, int], channels: int, rng: np.random.Generator, before: Picture | None) -> bytes:
    """A picture whose networks are told as changes of those `before`."""
    config = GridConfig(1, int(rng.integers(180, 400)), int(rng.integers(48, 56)), int(rng.integers(60, 72)))
    prior = dataclasses.replace(grid_prior.load(1), moves={} if before is None else before.moves())
    planes = []
    for number, group in enumerate(channel_groups(channels)):
        k = group.stop - group.start
        n = len(flat(prior.networks(0, k)))
        changes = np.round(rng.laplace(0, 0.5, n)).astype(np.int64)
        planes.append(CodedPlane(k, changes, random_grids(places(shape), int(rng.integers(1 << 30)) + number)))
    return encode_config(config) + encode_planes(config, prior, shape, planes)


def random_payload(
    shape: Shape, channels: int, interval: int, rng: np.random.Generator, motions: Motions, empty: float
) -> bytes:
    """A payload of random pictures, some of which are empty."""
    order, before = layers(shape[0], interval), None
    parts = [encode_motions(order, motions)]
    for layer in order:
        for steps in mosaics(layer, shape[1:]):
            size = (len(steps) * shape[1], shape[2])
            parts.append(b"" if rng.random() < empty else random_picture(size, channels, rng, before))
            if parts[-1] and layer[0].references:
                before = read_picture(wire.Cursor(parts[-1]), Grid(size, channels), before)
    return encode_config(MotionConfig(interval)) + b"".join(wire.varint(len(part)) + part for part in parts)


def compare(payload: bytes, shape: Shape, channels: int, *limits: int) -> page_motion.Film:
    """Decodes a payload with the package and as the page says, with other limits than usual."""
    grid = Grid(shape, channels)
    film = decode_network(payload, page_motion.NUMBER, grid, version=VERSION)
    assert isinstance(film, Film)
    values = film.render(grid.axes())
    wanted = page_motion.decode(payload, *shape, channels, *limits)
    frames = film.frames
    assert isinstance(frames, CodedFrames)
    assert frames._motions.keys() == wanted.motions.keys()
    for number, pyramid in frames._motions.items():
        other = wanted.motions[number]
        assert (pyramid is None) == (other is None)
        for planes, others in zip(pyramid or [], other or [], strict=True):
            assert np.array_equal(planes, np.stack(others))
    for (of, to), field in frames._fields.items():
        step = frames._steps[of]
        if to in step.references:
            at = 2 * step.references.index(to)
            assert np.array_equal(field, np.moveaxis(wanted.fields[of][..., at : at + 2], -1, 0))
    np.testing.assert_allclose(values, np.stack(wanted.frames), rtol=0, atol=CLOSE)
    return wanted


@pytest.mark.parametrize(
    ("shape", "channels", "interval", "spread", "alone", "empty"),
    [
        ((1, 9, 17), 3, 8, 1.0, 0.0, 0.0),
        ((2, 5, 9), 1, 8, 2.0, 0.0, 0.0),
        ((5, 9, 17), 3, 1, 3.0, 0.2, 0.3),
        ((6, 8, 9), 2, 3, 40.0, 0.3, 0.3),
        ((6, 1, 10), 4, 64, 1.0, 0.0, 0.5),
        ((11, 10, 7), 3, 8, 1.0, 0.1, 0.2),
        ((11, 6, 13), 1, 3, 3000.0, 0.1, 0.2),
        ((4, 9, 12), 1, 8, 1e6, 0.0, 0.2),
        ((12, 67, 5), 1, 5, 0.4, 0.1, 1.0),
    ],
)
def test_payloads_are_as_the_page_says(
    shape: Shape, channels: int, interval: int, spread: float, alone: float, empty: float
) -> None:
    rng = np.random.default_rng(shape[0] * channels)
    motions = random_motions(shape, interval, rng, spread, alone)
    payload = random_payload(shape, channels, interval, rng, motions, empty)
    compare(payload, shape, channels)


def test_large_videos_are_as_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion, "MOST_SAMPLES", 400)
    monkeypatch.setattr(grid_payload, "UNTILED", 200)
    monkeypatch.setattr(latent_tiles, "SIDE", 8)
    shape, channels, rng = (10, 9, 17), 4, np.random.default_rng(2)
    assert [len(layer) for layer in layers(10, 5)] == [1, 1, 1, 2, 4, 1]
    assert [len(steps) for layer in layers(10, 5) for steps in mosaics(layer, shape[1:])] == [1, 1, 1, 2, 2, 2, 1]
    payload = random_payload(shape, channels, 5, rng, random_motions(shape, 5, rng, 2.0, 0.1), 0.1)
    compare(payload, shape, channels, 400, 200, 8)


class Quiet:
    """A job that nobody watches."""

    stopping = False

    def tell(self, *given: object) -> None:
        pass

    def finished(self, *given: object) -> None:
        return None

    def finish(self, *given: object) -> None:
        pass

    def watch(self, *given: object) -> None:
        pass

    def interrupted(self, name: str, begin: object) -> object:
        return begin


@dataclasses.dataclass(frozen=True)
class Clip:
    """As much of a task as an encoder looks at."""

    name: str
    grid: Grid
    samples: ndarray | None = None
    deadline: float | None = None

    def db(self, error: float) -> float:
        return float(-10 * np.log10(error))


def moving(shape: Shape, channels: int) -> ndarray:
    """Waves that move, a shadow that stays, and, at the end, another picture."""
    n, height, width = shape
    y, x, t = np.arange(height)[:, None, None], np.arange(width)[:, None], np.arange(channels)
    frames = [
        0.5 + 0.3 * np.sin((y + 1.3 * i) / 4 + t) * np.cos((x - 0.8 * i) / 5) + 0.1 * (x > width // 2) for i in range(n)
    ]
    frames[-1] = frames[-1][:, ::-1]
    return np.clip(frames, 0, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "channels", "interval"),
    [((3, 24, 40), 1, 8), slow((5, 24, 40), 3, 8), slow((6, 24, 40), 4, 3), slow((11, 24, 40), 2, 8)],
)
def test_fitted_videos_are_as_the_page_says(shape: Shape, channels: int, interval: int) -> None:
    frames, grid = moving(shape, channels), Grid(shape, channels)
    task, job = cast(Task, Clip("clip", grid)), cast(Job, Quiet())
    film = FilmEncoder(task, frames, MotionConfig(interval), job)
    payload = film.encode(Stage("fit", 280, None, 20, 0.0, (0.0, 1.0))).payload
    wanted = compare(payload, shape, channels)
    assert wanted.motions.keys() == film.motions.keys()
    assert np.mean((np.stack(wanted.frames) - frames) ** 2) < 0.02
