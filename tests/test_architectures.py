"""Every architecture keeps the promises of `inrzip/architectures/base.py`. A new one is added to the lists here."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from inrzip.architectures.backbones import (
    BaconConfig,
    FinerConfig,
    GaussConfig,
    PolyConfig,
    ReluConfig,
    WireConfig,
)
from inrzip.architectures.base import Grid, PointRepresentation, resample, solve_width
from inrzip.architectures.bits import BitsConfig
from inrzip.architectures.boost import BoostConfig
from inrzip.architectures.combiner import CombinerConfig
from inrzip.architectures.context import ContextConfig
from inrzip.architectures.enerv import EnervConfig
from inrzip.architectures.finr import FinrConfig
from inrzip.architectures.frames import choose_strides, stem_shape
from inrzip.architectures.grid import GridConfig
from inrzip.architectures.hash_grid import HashConfig
from inrzip.architectures.hinerv import HinervConfig, NormalhinervConfig
from inrzip.architectures.hnerv import HnervConfig
from inrzip.architectures.modulated import CoinppConfig, VcinrConfig
from inrzip.architectures.motion import MotionConfig
from inrzip.architectures.mvc import MvcConfig
from inrzip.architectures.nerv import NervConfig
from inrzip.architectures.nervpp import NervppConfig
from inrzip.architectures.neurbf import NeurbfConfig
from inrzip.architectures.nirvana import NirvanaConfig
from inrzip.architectures.pfnr import PfnrConfig
from inrzip.architectures.random_networks import DohConfig, PrancConfig
from inrzip.architectures.siren import SirenConfig, sine
from inrzip.architectures.tree import TreeConfig
from inrzip.recipes import ARCHITECTURES
from tests.common import check_architecture, check_hostile_config

LINES = [(1,), (2,), (13,), (1500,)]
PLANES = [(1, 1), (1, 9), (7, 1), (11, 13)]
BLOCKS = [(1, 1, 1), (3, 1, 5), (5, 7, 3)]
HYPERBLOCKS = [(1, 1, 1, 1), (3, 5, 2, 3)]
FILMS = [(1, 1, 1), (1, 7, 5), (3, 1, 7), (2, 11, 1), (3, 17, 13), (2, 24, 30)]

BACKBONES = [ReluConfig, FinerConfig, GaussConfig, WireConfig, BaconConfig, PolyConfig]
POINTWISE = [SirenConfig, *BACKBONES, FinrConfig]
FRAMEWISE = [NervConfig, HnervConfig, EnervConfig, NervppConfig, HinervConfig, MvcConfig, BoostConfig]
MIXTURES = [DohConfig, PrancConfig]

SOME = [(1,), (13,), (7, 1), (11, 13), (5, 7, 3), (3, 5, 2, 3)]

CASES = [(SirenConfig, shape) for shape in LINES + PLANES + BLOCKS + HYPERBLOCKS]
CASES += [(architecture, shape) for architecture in POINTWISE[1:] + MIXTURES for shape in SOME]
CASES += [(BitsConfig, shape) for shape in SOME[:5:2]]
CASES += [(architecture, shape) for architecture in FRAMEWISE[:2] for shape in FILMS]
CASES += [(architecture, shape) for architecture in FRAMEWISE[2:] for shape in FILMS[:5:2]]

FILM = (4, 40, 60)
"""A grid on which all architectures for videos can have few or many parameters."""
SIZES = dict.fromkeys(POINTWISE + MIXTURES, (150, 1_000, 20_000))
SIZES |= {BitsConfig: (150, 1_000, 20_000)}
SIZES |= {NervConfig: (15_000, 60_000), HnervConfig: (40_000, 100_000)}
SIZES |= dict.fromkeys((EnervConfig, NervppConfig, HinervConfig, MvcConfig), (15_000, 200_000))
SIZES |= {BoostConfig: (50_000, 200_000)}

VAST = 2**40
SIREN = {"width": 8, "depth": 2, "scales": (8, 8, 8)}
HOSTILE = [
    (architecture, SIREN | change)
    for architecture in (SirenConfig, *BACKBONES)
    for change in (
        {"width": VAST},
        {"width": 0},
        {"depth": VAST},
        {"depth": 0},
        {"width": 4096, "depth": 64},
        {"scales": (8, 8)},
        {"scales": ()},
        {"scales": (8,) * 17},
    )
]
HOSTILE += [(BaconConfig, SIREN | {"scales": (8, 9, 8)}), (BaconConfig, SIREN | {"scales": (8, VAST, 8)})]


@functools.cache
def solved(architecture):
    return architecture.solve(Grid(FILM, 3), 6_000)


def sane(architecture, **changes):
    config = solved(architecture)
    return {name: getattr(config, name) for name in architecture.field_is_tuple()} | changes


HOSTILE_FILM = [
    (architecture, change)
    for architecture in FRAMEWISE[:-1]
    for change in (
        {"channels": VAST},
        {"channels": 0},
        {"channels": 4096},
        {"floor": 0},
        {"floor": VAST},
        {"strides": ()},
        {"strides": (0,)},
        {"strides": (0, 0, 0)},
        {"strides": (2, VAST)},
        {"strides": (8,) * 8},
        {"strides": (1,) * 16},
        {"strides": (2,) * 17},
    )
]
HOSTILE_FILM += [(NervConfig, {name: value}) for name in ("hidden", "frequencies") for value in (0, VAST)]
HOSTILE_FILM += [
    (EnervConfig, {name: value})
    for name in ("width", "heads", "hidden", "frequencies", "places")
    for value in (0, VAST, 4097)
]
HOSTILE_FILM += [(EnervConfig, {"strides": (1,), "shuffle": 1})]
HOSTILE_FILM += [
    (MvcConfig, {name: value})
    for name in ("embedding", "width", "heads", "hidden", "frequencies", "places")
    for value in (0, VAST, 4097)
]
HOSTILE_FILM += [(MvcConfig, {"strides": (1,), "shuffle": 1})]
HOSTILE_FILM += [
    (MvcConfig, {"scenes": scenes}) for scenes in ((), (3,), (5,), (0, 4), (2, VAST), (4, 0), (1,) * 16, (1,) * 17)
]
HOSTILE_FILM += [
    (NervppConfig, {name: value})
    for name in ("hidden", "frequencies", "expansion", "feed")
    for value in (0, VAST, 4097)
]
HOSTILE_FILM += [
    (HinervConfig, {name: value}) for name in ("features", "local", "depth", "expansion") for value in (0, VAST, 4097)
]
HOSTILE_FILM += [(BoostConfig, {name: value}) for name in ("frequencies", "time") for value in (0, VAST, 4097)]
HOSTILE_FILM += [
    (BoostConfig, {"inner": inner})
    for inner in (
        (),
        (2,),
        (1, 8, 2, 3, 8, 8, 8),
        (19, 8, 8, 0),
        (2, 8, 16, 40, 12, 1, 3, 5, 4),
        (2, 8, 16, 40, 12, 1, 1, VAST),
        (2, VAST, 16, 40, 12, 1, 2, 5, 4),
        (3, 16, 8, 12, 5, 12, 3, 1, 2, 5, 4, 1),
    )
]
HOSTILE_FILM += [(HnervConfig, {name: value}) for name in ("embedding", "kernel", "head") for value in (0, VAST)]
HOSTILE_FILM += [(HnervConfig, {"reduction": 0}), (HnervConfig, {"kernel": 2}), (HnervConfig, {"head": 4})]


def test_the_lists_name_every_architecture():
    tested_apart = {GridConfig}  # tests/test_grid.py: latents are not weights
    tested_apart |= {NormalhinervConfig}  # HinervConfig, but for what tests/test_frames.py sees
    tested_apart |= {HashConfig, NeurbfConfig}  # tests/test_hash_grid.py
    tested_apart |= {TreeConfig}  # tests/test_tree.py
    tested_apart |= {NirvanaConfig}  # tests/test_nirvana.py
    tested_apart |= {MotionConfig}  # tests/test_motion.py
    tested_apart |= {PfnrConfig}  # tests/test_pfnr.py
    tested_apart |= {ContextConfig}  # tests/test_context.py
    tested_apart |= {CombinerConfig}  # tests/test_combiner.py
    tested_apart |= {CoinppConfig, VcinrConfig}  # tests/test_modulated.py
    assert set(ARCHITECTURES.values()) - tested_apart == {architecture for architecture, _ in CASES} == set(SIZES)
    assert all(ARCHITECTURES[architecture.number] is architecture for architecture in SIZES)


@pytest.mark.parametrize(("architecture", "shape"), CASES)
def test_contract(architecture, shape):
    check_architecture(architecture, shape)


@pytest.mark.parametrize("architecture", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_solve_comes_near(architecture, channels):
    grid = Grid(FILM, channels)
    for asked in SIZES[architecture]:
        got = architecture.solve(grid, asked).n_parameters(grid)
        assert abs(got - asked) < 0.3 * asked, (asked, got)


@pytest.mark.parametrize("architecture", SIZES)
@pytest.mark.parametrize("n_parameters", [0, 1, 10**9])
def test_solve_gives_a_sound_network_for_absurd_sizes(architecture, n_parameters):
    grid = Grid(FILM, 3)
    config = architecture.solve(grid, n_parameters)
    config.check(grid)
    assert config.n_parameters(grid) > 0


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1000, 1, 3), (2, 1, 5000), (3, 5000, 1), (7, 1080, 1920), (2, 4320, 7680)]
)
@pytest.mark.parametrize("architecture", FRAMEWISE)
def test_solve_is_sound_for_extreme_frames(architecture, shape):
    grid = Grid(shape, 3)
    architecture.solve(grid, 50_000).check(grid)


@pytest.mark.parametrize("architecture", SIZES)
def test_more_parameters_never_make_fewer(architecture):
    grid = Grid(FILM, 3)
    counts = [architecture.solve(grid, n).n_parameters(grid) for n in (500, 5_000, 50_000, 500_000)]
    assert counts == sorted(counts) and counts[-1] > 50_000


@pytest.mark.parametrize(("architecture", "fields"), HOSTILE)
def test_hostile_points(architecture, fields):
    check_hostile_config(architecture, fields, (5, 6, 7))


@pytest.mark.parametrize(("architecture", "change"), HOSTILE_FILM)
def test_hostile_frames(architecture, change):
    check_hostile_config(architecture, sane(architecture, **change), FILM)


@pytest.mark.parametrize("architecture", SIZES)
@pytest.mark.parametrize("shape", [(2**30, 2**20, 2), (1, 2**40, 1), (2**40, 1, 1)])
def test_vast_grids_end_in_an_error_or_a_small_network(architecture, shape):
    """A header may claim any size: a network for it has as many weights as its bytes can hold, or is refused."""
    from inrzip.configuration import encode_config
    from inrzip.errors import InrzipError
    from inrzip.network import FREE_WEIGHTS, WEIGHTS_PER_BYTE, decode_network

    fields = SIREN if "scales" in architecture.field_is_tuple() else sane(architecture)
    payload = encode_config(architecture(**fields)) + bytes(40)
    try:
        module = decode_network(payload, architecture.number, Grid(shape, 3), 1 << 24)
    except InrzipError:
        return
    import jax

    assert sum(leaf.size for leaf in jax.tree.leaves(module)) <= FREE_WEIGHTS + 40 * WEIGHTS_PER_BYTE


def test_wrong_rank_is_refused():
    for architecture in FRAMEWISE:
        check_hostile_config(architecture, sane(architecture), (40, 60))


def test_points_between_samples_and_order():
    """A point-wise network is a function: positions in any order, also between samples and outside."""
    import jax

    grid = Grid((9, 7), 1)
    module = SirenConfig.solve(grid, 200).build(grid, jax.random.key(0))
    assert isinstance(module, PointRepresentation)
    rows, columns = np.array([3.5, -0.5, 8.5, 0.25]), np.array([6.0, 1.5])
    values = module.render((rows, columns))
    np.testing.assert_allclose(module.render((rows[::-1], columns)), values[::-1], atol=1e-6)
    np.testing.assert_allclose(module.render((rows[:1], columns[1:])), values[:1, 1:], atol=1e-6)


def test_frames_between_frames():
    """Times and positions between samples give frames between those of their neighbours, not copies."""
    import jax

    grid = Grid((3, 8, 10), 1)
    for architecture in FRAMEWISE[:2]:  # those after them have this from the same code
        module = architecture.solve(grid, 3_000).build(grid, jax.random.key(3))
        frame = module.render((np.array([1.0]), *grid.axes()[1:]))[0]
        finer = module.render((np.array([1.0]), np.array([2.5]), np.array([3.0])))[0]
        np.testing.assert_allclose(finer[0, 0], (frame[2, 3] + frame[3, 3]) / 2, atol=1e-6)


def test_resample_of_whole_positions_copies():
    frame = np.random.default_rng(0).random((5, 4, 2), np.float32)
    np.testing.assert_array_equal(resample(frame, np.array([4.0, 0.0]), np.array([1.0])), frame[[4, 0]][:, [1]])
    np.testing.assert_array_equal(resample(frame, np.array([-3.0, 99.0]), np.array([0.0])), frame[[0, 4]][:, [0]])
    assert resample(frame, np.arange(5.0), np.arange(4.0)) is frame


def test_polynomial_sine():
    x = np.linspace(-3000, 3000, 200_001).astype(np.float32)
    exact = np.sin(x.astype(np.float64))
    assert np.max(np.abs(np.asarray(sine(x)) - exact)[np.abs(x) < 60]) < 2e-6
    assert np.max(np.abs(np.asarray(sine(x)) - exact)) < 1e-3


def test_sine_gradient():
    import jax

    x = np.linspace(-20, 20, 999).astype(np.float32)
    np.testing.assert_allclose(jax.vmap(jax.grad(sine))(x), np.cos(x.astype(np.float64)), atol=2e-6)


def test_strides_cover_the_frame_and_waste_little():
    for height, width in [(1080, 1920), (720, 1280), (176, 144), (37, 53), (9, 4000)]:
        strides = choose_strides(height, width, 2)
        rows, columns = stem_shape(height, width, strides)
        product = int(np.prod(strides))
        assert rows * product >= height and columns * product >= width
        assert rows * columns * product**2 <= 2.1 * height * width or min(height, width) < 16


@pytest.mark.parametrize("n", [1, 9, 10, 11, 99, 10**6])
def test_solve_width_is_the_nearest(n):
    nearest = min(range(2, 101), key=lambda width: (abs(width * width - n), width))
    assert solve_width(lambda width: width * width, n, 2, 100) == nearest
