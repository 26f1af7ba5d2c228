"""Multiply-accumulates that the benchmarks count, against counts by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

pytest.importorskip("psutil")

import inrzip
from benchmarks.macs import count_macs
from benchmarks.speed import Run, against, counted_training, decoding_macs, table_row
from inrzip.architectures.base import Representation, Trainable
from inrzip.checkpoint import Checkpoint
from inrzip.examples import Frames
from inrzip.fitting import Schedule
from inrzip.job import Job


class Lookup(Trainable):
    """Frames of 4 samples as products of a row of 3 numbers with one matrix."""

    matrix: Float[Array, "3 4"]

    def prepare(self) -> tuple[Lookup, Float[Array, ""]]:
        return self, jnp.float32(0)

    def predict_training(self, times: Float[Array, " b"], targets: Float[Array, "b 2 2 1"]) -> Float[Array, "b 2 2 1"]:
        rows = jnp.stack([jnp.ones_like(times), times, times**2], -1)
        return (rows @ self.matrix).reshape(-1, 2, 2, 1)

    def finish(self, samples: np.ndarray | None, low: float, high: float) -> Representation:
        raise NotImplementedError


def test_only_steps_that_are_taken_count() -> None:
    """11 steps are asked for; whole epochs of 3 steps make 9 of them. A fit that is known is not run again."""
    frames = Frames(np.zeros((5, 2, 2, 1), np.uint8), 0, 255, batch_size=2)
    job = Job(Checkpoint(None, ""), None, None)
    a_step = 3 * 2 * 3 * 4  # forward and backward of a batch of 2
    with counted_training() as counted:
        job.fit("a", Lookup(jnp.ones((3, 4))), frames, Schedule(11, 1e-3))
        assert counted == [9 * a_step]
        job.fit("a", Lookup(jnp.ones((3, 4))), frames, Schedule(11, 1e-3))
        assert counted == [9 * a_step]
    job.fit("b", Lookup(jnp.ones((3, 4))), frames, Schedule(11, 1e-3))
    assert counted == [9 * a_step]


def test_products_convolutions_and_loops() -> None:
    a, b = jnp.zeros((3, 5)), jnp.zeros((5, 7))
    assert count_macs(lambda a, b: jnp.sin(a @ b), a, b) == 3 * 5 * 7
    assert (
        count_macs(jax.jit(jax.vmap(lambda a, b: a @ b)), jnp.zeros((2, 3, 5)), jnp.zeros((2, 5, 7))) == 2 * 3 * 5 * 7
    )

    def loop(a: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda carry, _: (carry @ jnp.zeros((5, 5)), None), a, length=4)[0]

    assert count_macs(loop, a) == 4 * 3 * 5 * 5
    image, kernel = jnp.zeros((1, 6, 8, 9)), jnp.zeros((4, 3, 3, 3))

    def convolved(image: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", feature_group_count=2)

    assert count_macs(convolved, image, kernel) == 4 * 8 * 9 * 3 * 3 * 3  # 3 of the 6 channels in each of 2 groups


def test_decoding_a_siren(quick: None) -> None:
    """Layers' inputs times outputs, for every pixel."""
    samples = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    fitted = inrzip.fit(samples, "siren", target_size=400, effort=1)
    network = fitted.reader.segment(0)
    matrices = [leaf for leaf in jax.tree.leaves(network) if getattr(leaf, "ndim", 0) == 2]
    assert decoding_macs(fitted.data) == 600 * sum(matrix.size for matrix in matrices)


def test_ratios() -> None:
    peer = Run("x", "jpeg", 100, 0.1, 0.02, 0.01, 50.0, 40.0, None, None)
    ours = Run("x", "siren -e 1", 90, 10.0, 1.0, 0.1, 500.0, 400.0, 1e6, 1e3)
    found = against(ours, peer, 1000, 1e9)
    assert found.encode_ratio == pytest.approx(100) and found.decode_ratio == pytest.approx(10)
    assert found.encode_share == pytest.approx(0.1) and found.decode_share == pytest.approx(0.01)
    assert table_row(found).count("|") == 11 and "–" in table_row(peer)
