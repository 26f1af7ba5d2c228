"""Payloads that nobody fitted: what they hold does not matter for the time that decoding takes."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np

from inrzip import grid_preview, wire
from inrzip.architectures.base import Config, Grid
from inrzip.architectures.grid import GridConfig, channel_groups, count
from inrzip.architectures.grid_layout import places
from inrzip.architectures.motion import MotionConfig, layers, mosaics
from inrzip.architectures.warping import SPACINGS, node_shape
from inrzip.configuration import encode_config
from inrzip.container import write_container
from inrzip.grid_coding import PRIOR
from inrzip.grid_payload import CodedPlane, encode_planes, has_preview
from inrzip.header import Header
from inrzip.motion_payload import Motions, encode_motions, n_planes
from inrzip.network import encode_network, quantise_network
from inrzip.priors import grid_prior
from inrzip.signal import Spec

STEP_INDEX = 160
LATENT_SCALE = 0.35
"""Of latents: about as many of them are 0 as in a photograph at usual rates."""
FILM_LATENT_SCALE = 0.1
"""The same in videos, at about 0.1 bits for a pixel."""
MOTION_SCALES = 2.0, 0.5, 0.2, 0.1
"""Of coded displacements, level by level."""


def random_network(config: Config, grid: Grid) -> bytes:
    """A payload of that configuration as it begins, its weights quantised."""
    module = config.build(grid, jax.random.key(0))
    arrays = jax.tree.leaves(eqx.filter(module, eqx.is_inexact_array))
    return encode_network(config, quantise_network(module, [STEP_INDEX] * len(arrays)))


def random_file(spec: Spec, architecture: type[Config], n_parameters: int, segment_length: int) -> bytes:
    """A whole file of such payloads; `n_parameters` for each segment."""
    header = Header(spec, architecture.number, segment_length)
    grids = [
        Grid((b - a, *spec.shape[1:]), spec.channels) for a, b in map(header.segment_bounds, range(header.n_segments))
    ]
    made = {grid: random_network(architecture.solve(grid, n_parameters), grid) for grid in set(grids)}
    return write_container(header, [made[grid] for grid in grids])


def random_picture(spec: Spec) -> bytes:
    """A file of latent grids with the prior's networks and random latents."""
    height, width = spec.shape
    return write_container(Header(spec, GridConfig.number, height), [_latents((height, width), spec.channels)])


def random_film(config: MotionConfig, grid: Grid) -> bytes:
    """A payload of pictures and motion, all frames with both."""
    rng, (_, height, width) = np.random.default_rng(0), grid.shape
    order = layers(grid.shape[0], config.interval)
    motions: Motions = {
        step.frame: [
            np.rint(rng.laplace(0, scale, (n_planes(step), *node_shape((height, width), spacing)))).astype(np.int64)
            for spacing, scale in zip(SPACINGS, MOTION_SCALES, strict=True)
        ]
        for layer in order
        for step in layer
        if step.references
    }
    parts = [encode_motions(order, motions)]
    for layer in order:
        for steps in mosaics(layer, (height, width)):
            parts.append(_latents((len(steps) * height, width), grid.channels, FILM_LATENT_SCALE, previewed=False))
    return encode_config(config) + b"".join(wire.varint(len(part)) + part for part in parts)


def _latents(shape: tuple[int, int], channels: int, scale: float = LATENT_SCALE, previewed: bool = True) -> bytes:
    config = GridConfig(PRIOR, grid_prior.NEUTRAL_TONE, 8, 8)
    rng = np.random.default_rng(0)
    planes = []
    for group in channel_groups(channels):
        grids = [np.rint(rng.laplace(0, scale, place.shape)).astype(np.int64) for place in places(shape)]
        n = group.stop - group.start
        planes.append(CodedPlane(n, np.zeros(count(n), np.int64), grids))
    preview = b""
    if previewed and has_preview(shape):
        inner = _latents(grid_preview.size(shape, grid_preview.halvings(shape)), channels)
        preview = wire.varint(len(inner)) + inner
    return encode_config(config) + preview + encode_planes(config, grid_prior.load(PRIOR), shape, planes)
