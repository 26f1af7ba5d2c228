"""Videos of groups coded as changes: budgets are kept, bytes follow what moves, interrupted jobs end the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jaxtyping import Shaped
from numpy import ndarray

import inrzip
from inrzip import group_coding, group_goals, plan
from inrzip.architectures.base import Grid, parameters
from inrzip.architectures.nirvana import MAX_CHAIN, NirvanaConfig
from inrzip.checkpoint import Checkpoint
from inrzip.codecs.levels import UniformSteps
from inrzip.compression import encode_signal, segment_task
from inrzip.container import Container
from inrzip.group_chain import Group
from inrzip.group_coding import is_forced, starts_afresh
from inrzip.group_goals import IDLE_BYTES, MOST_CORRECTION, Budget
from inrzip.job import Job
from inrzip.media.samples import array_signal
from inrzip.network import quantise_network
from inrzip.recipes import RECIPES
from inrzip.signal import Kind
from inrzip.weight_codecs import CODECS
from tests.common import make_quick, picture, write_film
from tests.test_resume import check_resume

SHAPE = (12, 14)
FRAMES = {"frames": 2, "depth": 1}
STEPS = 100
TARGET = 1_500


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits that are as short as they can be for networks that are better than a grey frame."""
    make_quick(monkeypatch.setattr)
    monkeypatch.setattr(plan, "STEPS_AT_EFFORT_1", STEPS)
    monkeypatch.setattr(group_goals, "PILOT_STEPS", 1.0)


def moving(n_frames: int) -> Shaped[ndarray, "t h w c"]:
    """A picture that passes by."""
    wide = picture(SHAPE[0], SHAPE[1] + n_frames, 3)
    return np.stack([wide[:, i : i + SHAPE[1]] for i in range(n_frames)])


def waiting() -> Shaped[ndarray, "t h w c"]:
    """A film of six frames that stands still and then moves: three groups."""
    return moving(2)[[0, 0, 0, 0, 1, 1]]


def payloads_of(data: bytes) -> list[bytes]:
    with Container.open(data) as container:
        return [container.segment(i) for i in range(container.header.n_segments)]


def chains(data: bytes) -> list[int]:
    """The first field of each configuration."""
    return [payload[0] for payload in payloads_of(data)]


def run(film: Shaped[ndarray, "t h w c"], checkpoint: Checkpoint) -> bytes:
    signal = array_signal(film, Kind.VIDEO, Path("film.npy"), None)
    request = plan.Request(target_size=TARGET, effort=1)
    job = Job(checkpoint, None, None)
    return encode_signal(signal, request, RECIPES["nirvana"], CODECS["tables"], dict(FRAMES), [], job, None)[0]


def test_a_film() -> None:
    """The size is met, changes are short, and what is found done is not done again."""
    film, checkpoint = waiting(), Checkpoint(None, "")
    data = run(film, checkpoint)
    assert 0.9 * TARGET <= len(data) <= TARGET
    assert chains(data) == [0, 1, 2]
    whole, still, moved = map(len, payloads_of(data))
    assert max(still, moved) < 0.6 * whole
    with inrzip.Reader(data) as reader:
        assert reader.shape == film.shape
        errors = np.asarray(reader).astype(float) - film
        np.testing.assert_array_equal(inrzip.Reader(data)[5], reader[5])
    assert np.mean(errors**2) < 0.3 * film.var()
    done = list(checkpoint.payloads.items())
    assert len(done) == 6  # three of the quick pass, three of the real one
    for n in (4,):
        again = Checkpoint(None, "")
        again.payloads = dict(done[:n])
        assert run(film, again) == data


def encoded(film: Shaped[ndarray, "t h w c"], **options: Any) -> Any:
    return inrzip.fit(film, "nirvana", kind="video", effort=1, settings=FRAMES, **options)


@pytest.mark.slow
def test_one_frame() -> None:
    found = encoded(moving(1), target_size=600)
    assert chains(found.data) == [0] and 0.9 * 600 <= found.n_bytes <= 600


def test_too_few_bytes() -> None:
    with pytest.raises(inrzip.InrzipError, match=r"^\d+ bytes are too few for 4 groups of frames, which need \d+$"):
        encoded(moving(8), target_size=180)


def test_a_scene_begins_anew() -> None:
    """A network is of use to frames like its own, and to no others; nor are integers that count no steps."""
    grid = Grid((2, *SHAPE), 3)
    config = NirvanaConfig.solve(grid, 600)
    network = config.build(grid, jax.random.key(4))
    tensors = quantise_network(network, [180] * len(parameters(network)))
    group = Group(config, tensors)
    own = np.rint(group.network(grid).render(grid.axes()).clip(0, 1) * 255).astype("u1")
    assert own.std() > 1

    def task(film: Shaped[ndarray, "t h w c"], codec: str = "auto") -> Any:
        signal = array_signal(film, Kind.VIDEO, Path("film.npy"), None)
        recipe = RECIPES["nirvana"]
        return segment_task(signal, 0, 2, 0, plan.Request(), recipe, CODECS[codec], {}, None)

    assert not starts_afresh(task(own), group)
    assert starts_afresh(task(255 - own), group) and not starts_afresh(task(255 - own), group, anyhow=False)
    assert isinstance(tensors[0].levels, UniformSteps)
    halves = Group(config, CODECS["half"].quantise(network, [], 1.0))
    assert starts_afresh(task(own, "half"), halves) and starts_afresh(task(own, "half"), halves, anyhow=False)


def test_chains_end() -> None:
    config = NirvanaConfig.solve(Grid((2, *SHAPE), 3), 600)
    assert not is_forced(Group(config, []))
    assert is_forced(Group(NirvanaConfig(MAX_CHAIN, 2, 8, 4, 2, 1, 1, 2, (1,)), []))


def test_budgets() -> None:
    """What is left is shared, nothing is taken from what groups to come need, and the price follows."""
    budget = Budget(1_000, [400, 100, 100, 400])
    assert budget.share(0) == 400 and budget.cap(0) == 1_000 - 3 * IDLE_BYTES
    budget.spend(0, bytes(400), changes=False)
    assert budget.share(1) == 100 and budget.factor == 1
    budget.spend(1, bytes(200), changes=True)
    assert budget.share(2) == 80 and budget.factor == 2
    budget.spend(2, bytes(1), changes=True)
    assert budget.factor == pytest.approx(2 / MOST_CORRECTION)
    assert budget.share(3) == budget.cap(3) == 399
    steady = Budget(1_000, [1, 1], exact=False)
    steady.spend(0, bytes(900), changes=True)
    assert steady.share(1) == 500 and steady.factor == 1


def test_groups_are_segments() -> None:
    spec = array_signal(moving(11), Kind.VIDEO, Path("film.npy"), None).spec
    recipe = RECIPES["nirvana"]
    assert plan.segment_length(spec, recipe) == 4
    assert plan.segment_length(spec, recipe, {"frames": 5}) == 4  # three of them, as even as can be
    assert plan.segment_length(spec, recipe, {"frames": 20}) == 11
    with pytest.raises(inrzip.InrzipError, match="no network can be made"):
        inrzip.fit(np.zeros((70, 4, 4, 3), "u1"), "nirvana", kind="video", settings={"frames": 70}, target_size=900)


@pytest.mark.slow
def test_whole_groups_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_coding, "MAX_CHAIN", 1)
    found = encoded(waiting()[[0, 1, 2, 3, 3, 3, 4, 5]], target_size=2_400)
    assert chains(found.data) == [0, 1, 0, 1]
    assert 0.9 * 2_400 <= found.n_bytes <= 2_400


@pytest.mark.slow
def test_two_scenes_and_a_short_group() -> None:
    film = np.concatenate([waiting()[:4], 255 - waiting()[:5, ::-1]])
    found = encoded(film, target_size=2_400)
    assert chains(found.data) == [0, 1, 0, 1, 2]
    assert inrzip.Reader(found.data).shape == film.shape
    assert 0.9 * 2_400 <= found.n_bytes <= 2_400


@pytest.mark.slow
def test_a_quality_is_met() -> None:
    found = encoded(waiting(), target_psnr=20.0)
    assert found.quality["psnr_db"] >= 20.0
    assert chains(found.data)[:2] == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["half", "trellis", "huffman"])
def test_codes_without_steps_code_each_group_whole(codec: str) -> None:
    found = encoded(moving(4), target_size=6_000, codec=codec)
    assert chains(found.data) == [0, 0] and found.n_bytes <= 6_000


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["channels", "outputs", "laplace", "learned"])
def test_other_codes_with_steps_code_changes(codec: str) -> None:
    found = encoded(waiting()[2:], target_size=2_000, codec=codec)
    assert chains(found.data) == [0, 1] and found.n_bytes <= 2_000


@pytest.mark.slow
def test_a_killed_film_goes_on(tmp_path: Path) -> None:
    source = write_film(tmp_path / "a.mp4", 6, sound=False)
    check_resume(source, 400, "--target-size", "2kB", "--recipe", "nirvana", "--set", "frames=2")
