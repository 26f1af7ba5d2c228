"""MVC ("Scene Matters: Model-based Deep Video Compression", Tang et al., ICCV 2023): a network for each scene.

Each scene has an E-NeRV of its own, whose grid of positions is joined by features that convolutions make of the frame:
small embeddings, as in HNeRV, in the file; the convolutions are thrown away. So are the parts that only fitting has:
see `mvc_terms`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int16, PRNGKeyArray, Shaped

from .base import FrameRepresentation, Grid, Trainable, solve_width
from .enerv import HEADS, MAX_TOKENS, Enerv, EnervConfig, Layer, apply_dense
from .frames import MAX_CHANNELS, FrameConfig, at_time, choose_scales, dense, stem_shape
from .hnerv import Encoder
from .mvc_terms import (
    FLOW_SCALE,
    PAST,
    SIGHT_SCALE,
    FlowHead,
    Terms,
    contrast_error,
    estimate_flows,
    frequency_error,
    keep_sights,
)
from .scenes import scene_lengths

STEM_ROWS = 4
MAX_SCENES = 16
LEAST_PARAMETERS = 1500
"""Of a scene's network: with fewer for each, scenes share one."""
EMBEDDING_CHANNELS = 16
EMBEDDING_SHARE = 0.2
"""At most this part of the parameters goes to embeddings."""
TERMS = Terms()
"""What is fitted besides the squared error: nothing, as no term was seen to pay (docs/video.md)."""


@dataclasses.dataclass(frozen=True)
class MvcConfig(FrameConfig):
    """An MVC: `embedding` channels of a frame's embedding; the fields of each scene's E-NeRV (see `EnervConfig`);
    `scenes`: how many frames each has, in order.
    """

    embedding: int
    channels: int
    width: int
    heads: int
    hidden: int
    frequencies: int
    places: int
    floor: int
    shuffle: int
    scenes: tuple[int, ...]
    strides: tuple[int, ...]

    number: ClassVar[int] = 23
    extra_settings: ClassVar[tuple[str, ...]] = ("stem", "scenes")

    def build(self, grid: Grid, key: PRNGKeyArray) -> Mvc:
        return Mvc(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> MvcConfig:
        return cls._solve(grid, n_parameters, grid.shape[:1], settings)

    @classmethod
    def solve_for(
        cls,
        grid: Grid,
        n_parameters: int,
        samples: Shaped[np.ndarray, "part ..."] | None,
        low: float,
        high: float,
        **settings: int,
    ) -> MvcConfig:
        most = min(settings.get("scenes", max(1, n_parameters // LEAST_PARAMETERS)), MAX_SCENES)
        scenes = grid.shape[:1] if samples is None else scene_lengths(samples, low, high, most)
        return cls._solve(grid, n_parameters, scenes, settings)

    @classmethod
    def _solve(cls, grid: Grid, n_parameters: int, scenes: tuple[int, ...], settings: dict[str, int]) -> MvcConfig:
        """`settings`: may hold the greatest number of scenes, which `scenes` has seen to."""
        n_frames, height, width = grid.shape
        given = {name: value for name, value in settings.items() if name != "scenes"}
        shuffle, strides = choose_scales(grid, given, STEM_ROWS)
        while math.prod(stem_shape(height, width, (*strides, shuffle))) > MAX_TOKENS and len(strides) < 6:
            strides = (4, *strides)
        positions = n_frames * math.prod(stem_shape(height, width, (*strides, shuffle)))
        affordable = int(EMBEDDING_SHARE * n_parameters / positions)
        fixed = {"embedding": max(1, min(EMBEDDING_CHANNELS, affordable)), "heads": HEADS, "frequencies": 40}
        fixed |= {"places": 10, "floor": 12} | given

        def config(channels: int) -> MvcConfig:
            sizes = {"channels": channels, "width": 2 * channels, "hidden": 2 * channels} | fixed
            return cls(**sizes, shuffle=shuffle, scenes=scenes, strides=strides)

        if "channels" in given:
            return config(given["channels"])
        return config(solve_width(lambda c: config(c).n_parameters(grid), n_parameters, 2, MAX_CHANNELS // 4))

    def check(self, grid: Grid) -> None:
        self.check_frames(grid)
        if not 1 <= self.embedding <= MAX_CHANNELS:
            raise ValueError(f"MVC with embeddings of {self.embedding} channels")
        if not 1 <= len(self.scenes) <= MAX_SCENES or min(self.scenes) < 1 or sum(self.scenes) != grid.shape[0]:
            raise ValueError(f"MVC with scenes of {self.scenes[:MAX_SCENES]} frames for {grid.shape[0]}")
        self.inside().check(Grid((1, *grid.shape[1:]), grid.channels))

    def widths(self) -> tuple[int, ...]:
        return self.inside().widths()

    def inside(self) -> EnervConfig:
        """The configuration of a scene's E-NeRV."""
        names = (field.name for field in dataclasses.fields(EnervConfig))
        return EnervConfig(**{name: getattr(self, name) for name in names})


class Scene(eqx.Module):
    """The network of a scene: an E-NeRV whose positions are told what the frame holds."""

    context: Layer
    network: Enerv

    def __init__(self, config: MvcConfig, grid: Grid, key: PRNGKeyArray):
        keys = jax.random.split(key)
        self.context = dense(config.embedding, config.width, keys[0])
        self.network = Enerv(config.inside(), Grid((1, *grid.shape[1:]), grid.channels), keys[1])

    def features(
        self, times: Float[Array, " batch"], embeddings: Float[Array, "batch rows columns embedding"]
    ) -> Float[Array, "batch h w last"]:
        """Before the head. `times`: from -1/2, where the scene begins, to 1/2, where it ends."""
        stem = self.network.stem
        told = stem.tell(times)
        context = apply_dense(self.context, embeddings.reshape(len(times), -1, embeddings.shape[-1]))
        return self.network.refine(stem.place(told, context), told)

    def finish(self, features: Float[Array, "batch h w last"]) -> Float[Array, "batch height width channels"]:
        """Frames of features."""
        return self.network.head(features, *self.network.grid.shape[1:])


class Mvc(FrameRepresentation):
    """The networks of `MvcConfig` and the embeddings of all frames. A time between two scenes is of the earlier one."""

    embeddings: Float[Array, "frames rows columns embedding"]
    scenes: list[Scene]
    config: MvcConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: MvcConfig, grid: Grid, key: PRNGKeyArray):
        n_frames, height, width = grid.shape
        rows, columns = stem_shape(height, width, (*config.strides, config.shuffle))
        self.embeddings = jnp.zeros((n_frames, rows, columns, config.embedding), jnp.float32)
        keys = jax.random.split(key, len(config.scenes))
        drawn = eqx.filter_vmap(lambda key: Scene(config, grid, key))(keys)  # traced once for all
        self.scenes = [jax.tree.map(lambda each, i=i: each[i], drawn) for i in range(len(keys))]
        self.config = config
        self.grid = grid

    def place(self, times: Float[Array, " batch"]) -> tuple[Int[Array, " batch"], Int[Array, " batch"]]:
        """The scene of each time, and its first frame."""
        starts = jnp.asarray(np.cumsum([0, *self.config.scenes[:-1]]))
        index = jnp.clip(jnp.searchsorted(starts, times, side="right") - 1, 0, len(self.scenes) - 1)
        return index, starts[index]

    def features(
        self, times: Float[Array, " batch"], embeddings: Float[Array, "batch rows columns embedding"]
    ) -> list[tuple[Scene, Float[Array, "some h w last"]]]:
        """What the blocks make of frames with these embeddings, and the scene's network that goes on from there: in
        order, all frames at once where there is one scene, else one by one.
        """
        index, starts = self.place(times)
        within = (times - starts + 0.5) / jnp.asarray(self.config.scenes)[index] - 0.5
        if len(self.scenes) == 1:
            return [(self.scenes[0], self.scenes[0].features(within, embeddings))]
        own = [self._scene(i) for i in index]
        return [(s, s.features(within[i : i + 1], embeddings[i : i + 1])) for i, s in enumerate(own)]

    def _scene(self, index: Int[Array, ""]) -> Scene:
        """A scene's network. Its arrays are picked, so that a step of a fit evaluates one network only."""
        arrays = [eqx.partition(scene, eqx.is_array) for scene in self.scenes]
        picked = jax.tree.map(lambda *each: jnp.stack(each)[index], *(array for array, _ in arrays))
        scene: Scene = eqx.combine(picked, arrays[0][1])
        return scene

    def predict(self, times: Float[Array, " batch"]) -> Float[Array, "batch height width channels"]:
        index, starts = self.place(times)
        last = starts + jnp.asarray(self.config.scenes)[index] - 1
        times = jnp.clip(times, starts.astype(times.dtype), last.astype(times.dtype))
        parts = self.features(times, at_time(self.embeddings, times))
        return jnp.concatenate([scene.finish(features) for scene, features in parts])

    def training_module(self, key: PRNGKeyArray) -> MvcTraining:
        return MvcTraining(self, key)


class MvcTraining(Trainable):
    """Encoder, networks and what terms of the loss need, as they are fitted."""

    encoder: Encoder
    decoder: Mvc
    flow: FlowHead | None
    flows: Int16[Array, "frames h w 4"] | None
    sights: Int16[Array, "frames numbers"] | None
    terms: Terms = eqx.field(static=True)

    def __init__(self, decoder: Mvc, key: PRNGKeyArray, terms: Terms = TERMS):
        encoder_key, flow_key = jax.random.split(key)
        config = decoder.config
        self.encoder = Encoder(config, config.embedding, decoder.grid, encoder_key)
        self.decoder = decoder
        self.flow = FlowHead(config.widths()[-1], flow_key) if terms.flow else None
        self.flows = self.sights = None
        self.terms = terms

    def shown(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> MvcTraining:
        """With the flow of the frames, and what is seen in them, as far as there are terms for these."""
        if samples is None:
            return self
        config = self.decoder.config
        flows = jnp.asarray(estimate_flows(samples, config.scenes, config.shuffle)) if self.terms.flow else None
        sights = jnp.asarray(keep_sights(samples, low, high)) if self.terms.contrast else None
        shown: MvcTraining = eqx.tree_at(
            lambda m: (m.flows, m.sights), self, (flows, sights), is_leaf=lambda leaf: leaf is None
        )
        return shown

    def predict_training(self, inputs: Array, targets: Array) -> Array:
        """Frames from themselves, through the embedding."""
        return _frames(self.decoder.features(inputs, self.encoder(targets)))

    def training_loss(self, inputs: Array, targets: Array) -> Float[Array, ""]:
        parts = self.decoder.features(inputs, self.encoder(targets))
        frames, terms, index = _frames(parts), self.terms, inputs.astype(jnp.int32)
        loss = jnp.mean((frames - targets) ** 2)
        if terms.frequency:
            loss += terms.frequency * frequency_error(frames, targets)
        if self.flow is not None and self.flows is not None:
            features = jnp.concatenate([features for _, features in parts])
            loss += terms.flow * self.flow.error(features, self.flows[index].astype(jnp.float32) / FLOW_SCALE)
        if self.sights is not None:
            before = index[:, None] - jnp.arange(1, PAST + 1)
            there = (before >= self.decoder.place(inputs)[1][:, None]).astype(jnp.float32)
            past = self.sights[jnp.maximum(before, 0)].astype(jnp.float32) / SIGHT_SCALE
            loss += terms.contrast * contrast_error(frames, past, there)
        return loss

    def finish(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> Mvc:
        """The networks, with the embeddings that the encoder gives each frame."""
        if samples is None:
            raise ValueError("`samples` is None; MVC makes its embeddings from frames")
        decoder: Mvc = eqx.tree_at(lambda m: m.embeddings, self.decoder, self.encoder.embed(samples, low, high))
        return decoder


def _frames(parts: Sequence[tuple[Scene, Array]]) -> Array:
    return jnp.concatenate([scene.finish(features) for scene, features in parts])
