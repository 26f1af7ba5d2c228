"""Networks of frames: their formulas next to docs/format.md, the parts that they share, whole files."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inrzip
from inrzip import examples
from inrzip.architectures import frames
from inrzip.architectures.base import Config, Grid, Representation, parameters, predict
from inrzip.architectures.boost import BoostConfig
from inrzip.architectures.enerv import MAX_TOKENS, EnervConfig
from inrzip.architectures.hinerv import HinervConfig, NormalhinervConfig
from inrzip.architectures.mvc import MvcConfig
from inrzip.architectures.nervpp import NervppConfig
from inrzip.weight_codecs import CODECS
from tests import page_frames
from tests.common import slow

PAGE: dict[type[Config], Any] = {
    EnervConfig: page_frames.enerv_frame,
    NervppConfig: page_frames.nervpp_frame,
    BoostConfig: page_frames.boost_frame,
    HinervConfig: page_frames.hinerv_frame,
    NormalhinervConfig: page_frames.normal_hinerv_frame,
    MvcConfig: page_frames.mvc_frame,
}

CONFIGS = [
    EnervConfig(6, 8, 4, 5, 3, 2, 3, 2, (3, 2)),
    EnervConfig(5, 3, 1, 4, 2, 1, 12, 1, (4,)),
    NervppConfig(6, 5, 4, 8, 6, 3, 2, (3, 2)),
    NervppConfig(3, 2, 3, 1, 2, 12, 1, (1, 5)),
    HinervConfig(2, 1, 6, 3, 2, 2, 2, (3, 2)),
    HinervConfig(1, 2, 3, 12, 1, 3, 1, (1, 5)),
    NormalhinervConfig(2, 1, 6, 3, 2, 2, 2, (3, 2)),
    NormalhinervConfig(1, 2, 3, 12, 1, 3, 1, (1, 5)),
    MvcConfig(2, 6, 8, 4, 5, 3, 2, 3, 2, (3,), (3, 2)),
    MvcConfig(1, 5, 3, 1, 4, 2, 1, 12, 1, (1, 2), (4,)),
    BoostConfig(2, 3, (2, 4, 5, 3, 2, 2, 2, 3, 2)),
    BoostConfig(3, 2, (3, 2, 5, 12, 5, 2, 3, 1, 2, 3, 2)),
    BoostConfig(1, 1, (17, 6, 8, 4, 5, 3, 2, 3, 2, 2, 3, 2)),
]


RECIPES = ("enerv", "nerv++", "hinerv", "mvc", "boost")


def noisy(config: Config, grid: Grid) -> Representation:
    """The network with all weights moved, biases too, so that each of them matters."""
    rng = np.random.default_rng(0)
    leaves, treedef = jax.tree.flatten(config.build(grid, jax.random.key(0)))
    moved: Representation = jax.tree.unflatten(
        treedef, [x + rng.normal(0, 0.3, x.shape).astype(np.float32) for x in leaves]
    )
    return moved


@pytest.mark.parametrize("config", CONFIGS)
def test_frames_are_those_of_the_page(config: Any) -> None:
    grid = Grid((3, 13, 25), 2)
    config.check(grid)
    network = noisy(config, grid)
    weights = [np.asarray(leaf, np.float64) for leaf in parameters(network)]
    *fields, strides = (getattr(config, name) for name in config.field_is_tuple())
    found = np.asarray(predict(network, jnp.asarray([0.0, 1.4])))
    for time, frame in zip((0.0, 1.4), found, strict=True):
        expected = PAGE[type(config)](fields, list(strides), weights, time, grid.shape)
        assert expected.std() > 0.05
        np.testing.assert_allclose(frame, expected, atol=1e-4)
    assert np.abs(found[0] - found[1]).max() > 0.01


@pytest.mark.parametrize("kind", [HinervConfig, NormalhinervConfig])
@pytest.mark.parametrize(("depth", "shuffle", "strides"), [(2, 2, (3, 2)), (1, 1, (1, 5)), (3, 1, (5, 3))])
def test_parts_are_those_of_whole_frames(kind: Any, depth: int, shuffle: int, strides: tuple[int, ...]) -> None:
    """Wherever they are, at the edges too, of frames whose edges lie within the last cell."""
    grid = Grid((3, 29, 37), 2)
    network = noisy(kind(2, 1, 6, 3, depth, 2, shuffle, strides), grid)
    size, corners = (11, 14), [(0, 0, 0), (1, 18, 23), (2, 7, 4), (1, 0, 23), (0, 5, 0)]
    run = eqx.filter_jit(type(network).predict_training)
    found = run(network, jnp.asarray(corners, jnp.float32), jnp.zeros((len(corners), *size, 2)))
    for (time, row, column), part in zip(corners, found, strict=True):
        whole = np.asarray(predict(network, jnp.asarray([time], jnp.float32)))[0]
        assert whole.std() > 0.05
        np.testing.assert_allclose(part, whole[row : row + size[0], column : column + size[1]], atol=1e-5)


def test_a_step_of_parts_is_one_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """All parts of all frames have the loss, and the gradient, of these frames."""
    monkeypatch.setattr(examples, "PART", 7)
    video = np.random.default_rng(0).integers(0, 256, (3, 12, 14, 2), "u1")
    network = noisy(HinervConfig(2, 1, 6, 3, 2, 2, 2, (3, 2)), Grid(video.shape[:3], 2))

    def loss(module: Any, batch: tuple[Any, Any]) -> Any:
        return module.training_loss(*batch)

    parts, frames_of = (kind(video, 0.0, 255.0, 3) for kind in (examples.FrameParts, examples.Frames))
    assert len(parts.corners) == 4 and parts.size == (6, 7)
    run = eqx.filter_jit(eqx.filter_value_and_grad(loss))
    found = [run(network, e.batch(jax.random.key(0), jnp.int32(0))) for e in (parts, frames_of)]
    for part, frame in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(part, frame, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_enlarging_is_bilinear(factor: int) -> None:
    for shape in ((1, 1, 2), (1, 4, 1), (3, 5, 2)):
        x = np.random.default_rng(0).normal(0, 1, shape)
        found = np.asarray(jax.jit(frames.upsample, static_argnums=1)(x[None], factor))[0]
        np.testing.assert_allclose(found, page_frames.enlarged(x, factor), atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_depthwise(kernel: int) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(0, 1, (4, 3, 2)), rng.normal(0, 1, (kernel, kernel, 2))
    found = np.asarray(jax.jit(frames.depthwise)(x[None], weight))[0]
    np.testing.assert_allclose(found, page_frames.depthwise(x, iter([weight])), atol=1e-5)


def test_attention_is_bounded() -> None:
    """However long and narrow a frame, few positions attend to each other."""
    for height, width in ((1, 5000), (5000, 3), (1080, 1920), (8, 8)):
        grid = Grid((2, height, width), 3)
        config = EnervConfig.solve(grid, 20_000)
        config.check(grid)
        rows, columns = frames.stem_shape(height, width, (*config.strides, config.shuffle))
        assert rows * columns <= MAX_TOKENS


def test_parameters_of_enerv_do_not_grow_with_the_stem() -> None:
    config = EnervConfig(12, 8, 1, 24, 40, 10, 12, 1, (3, 2))
    assert len({config.n_parameters(Grid((5, height, 100), 3)) for height in (30, 90)}) == 1


def film() -> np.ndarray:
    y, x = np.mgrid[:12, :14]
    blobs = [np.exp(-((x - 3 - 2 * i) ** 2 + (y - 6) ** 2) / 9) for i in range(3)]
    return np.stack([np.stack([40 + 180 * b, 60 + 5.0 * y, 200 - 5.0 * x], -1) for b in blobs]).astype(np.uint8)


@pytest.mark.parametrize(
    ("recipe", "codec"),
    [
        slow("boost", "auto"),
        *(slow(recipe, "auto") for recipe in RECIPES[:-1]),
        *(slow(recipe, name) for recipe in RECIPES for name in CODECS if name != "auto"),
    ],
)
def test_a_file(recipe: str, codec: str, quick: None) -> None:
    size = 12_000 if codec == "half" else 6_000
    found = inrzip.fit(film(), recipe, kind="video", codec=codec, target_size=size, effort=1)
    assert found.n_bytes == len(found.data) <= size
    with inrzip.open(found.data) as reader:
        whole = reader[...]
        np.testing.assert_allclose(reader[1, 2:9, 3:].astype(int), whole[1, 2:9, 3:].astype(int), atol=1)
    assert whole.shape == film().shape and whole.std() > 0
