"""The fitting loop: it learns, ends on time, survives divergence, and goes on exactly where it stood."""

from __future__ import annotations

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inrzip.architectures.base import Grid, Representation, parameters
from inrzip.architectures.hnerv import HnervConfig
from inrzip.architectures.nerv import NervConfig
from inrzip.architectures.siren import SirenConfig
from inrzip.checkpoint import Checkpoint
from inrzip.constraints import Constrained, Rounded, round_through
from inrzip.examples import FrameParts, Frames, GridPoints, ScatteredPoints
from inrzip.fitting import MOST_JUDGED, SELDOM, SOON, Schedule, _turned_after, fit, learning_rate, start
from inrzip.job import LEAST_STEPS, Job
from tests.common import picture, slow

PICTURE = picture(16, 20, 3)
EXAMPLES = GridPoints(PICTURE, 0.0, 255.0, 256)
GRID = Grid((16, 20), 3)
CONFIG = SirenConfig(12, 2, (8, 8))


def new_module():
    return CONFIG.build(GRID, jax.random.key(0))


def error_of(module) -> float:
    return float(np.mean((module.render(GRID.axes()) - PICTURE / 255) ** 2))


def same(a, b) -> bool:
    return all(bool(jnp.array_equal(x, y)) for x, y in zip(parameters(a), parameters(b), strict=True))


def test_learns():
    module = new_module()
    fitted = fit(module, EXAMPLES, Schedule(400, 5e-3))
    assert error_of(fitted) < 0.2 * error_of(module)


def test_axes_turn_at_the_same_steps_however_calls_are_cut():
    """Where the interval changes, a turn is due by the old one and by the new one."""
    intervals = [_turned_after(step) for step in range(3000)]
    assert intervals[0] == SOON and intervals[-1] == SELDOM
    for step in range(1, len(intervals)):
        if intervals[step] != intervals[step - 1]:
            assert step % intervals[step] == step % intervals[step - 1] == 0


def test_no_step_at_all():
    assert same(fit(new_module(), EXAMPLES, Schedule(0, 1e-3)), new_module())


def test_the_result_has_no_more_than_the_parameters_that_were_fitted():
    module = new_module()
    fitted = fit(module, EXAMPLES, Schedule(3, 1e-3))
    assert jax.tree.structure(fitted) == jax.tree.structure(module)
    assert not same(fitted, module)


def test_resumed_fit_ends_as_an_unbroken_one():
    """A fit stopped by its watcher and started again from the state it was shown makes the same steps."""
    states, final = [], []
    schedule = Schedule(40, 2e-3)

    def stop_half_way(state, loss, n_steps, seconds_left):
        states.append(state)
        return int(state.step) >= 20

    def keep(state, loss, n_steps, seconds_left):
        final.append(state)
        return False

    fit(new_module(), EXAMPLES, schedule, watch=stop_half_way)
    assert 20 <= int(states[-1].step) < 40
    fit(new_module(), EXAMPLES, schedule, state=states[-1], watch=keep)
    resumed = final[-1]
    final.clear()
    fit(new_module(), EXAMPLES, schedule, watch=keep)
    unbroken = final[-1]
    assert int(resumed.step) == int(unbroken.step) == 40
    for a, b in zip(jax.tree.leaves(resumed.parameters), jax.tree.leaves(unbroken.parameters), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("n_steps", [1, 7, 60, 333])
def test_the_result_does_not_depend_on_the_pace(monkeypatch, n_steps):
    """How many steps go into one call is up to the clock; what comes out must not be."""
    from inrzip import fitting

    results = []
    for seconds in (1e-9, 0.003, 10.0):
        monkeypatch.setattr(fitting, "SECONDS_BETWEEN_REPORTS", seconds)
        results.append(fit(new_module(), EXAMPLES, Schedule(n_steps, 2e-2)))
    assert same(results[0], results[1]) and same(results[0], results[2])


def test_deadline_is_kept():
    fit(new_module(), EXAMPLES, Schedule(1, 1e-3))  # compiles
    begun = time.monotonic()
    fit(new_module(), EXAMPLES, Schedule(10**6, 1e-3), deadline=begun + 1.0)
    assert 0.5 < time.monotonic() - begun < 3.0


def test_a_fit_with_a_deadline_is_judged_by_the_steps_that_it_has(monkeypatch):
    """Not by those of the schedule, which a deadline may cut to few: a fit that goes astray early would stay there."""
    clock = iter(range(10**6))
    monkeypatch.setattr("inrzip.fitting.time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr("inrzip.fitting.SECONDS_BETWEEN_REPORTS", 20.0)  # the clock ticks when it is read, so by calls
    judged = []
    fit(
        new_module(),
        EXAMPLES,
        Schedule(10**6, 1e-3),
        deadline=60.0,
        watch=lambda state, *_: judged.append((int(state.step), float(state.best_loss))) and False,
    )
    assert judged[-1][0] < MOST_JUDGED and np.isfinite(judged[-1][1])


def test_watcher_ends_the_fit():
    seen = []
    fit(new_module(), EXAMPLES, Schedule(10**6, 1e-3), watch=lambda *report: seen.append(report) or len(seen) >= 3)
    assert len(seen) == 3
    state, loss, n_steps, seconds_left = seen[-1]
    assert n_steps == 10**6 and 0 < loss < 1 and seconds_left > 0 and int(state.step) > 0


def test_divergence_is_survived():
    """An absurd learning rate ends in finite parameters, no worse than the beginning."""
    module = new_module()
    fitted = fit(module, EXAMPLES, Schedule(60, 1e30))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in parameters(fitted))


def test_a_fit_that_ends_at_the_mean_goes_back():
    """Sines that are moved too far stay near the signal's mean: no divergence, but no fit. It is noticed."""
    mean = float(np.mean((PICTURE / 255 - (PICTURE / 255).mean((0, 1))) ** 2))
    states = []
    fitted = fit(new_module(), EXAMPLES, Schedule(400, 0.1), watch=lambda state, *_: states.append(state) and False)
    assert error_of(fitted) < 0.3 * mean
    assert float(states[-1].pace) < 1


def test_learning_rate():
    rates = np.array([float(learning_rate(jnp.float32(i), jnp.float32(100), jnp.float32(2.0))) for i in range(0, 101)])
    assert rates[0] == 0 and rates.max() <= 2.0 and rates[100] == pytest.approx(0, abs=1e-6)
    assert (np.diff(rates[:10]) > 0).all() and (np.diff(rates[12:]) < 0).all()


def test_rounding_lets_gradients_pass():
    weights, step = jnp.asarray([0.13, -0.26, 1.0]), jnp.float32(0.1)
    np.testing.assert_allclose(round_through(weights, step), [0.1, -0.3, 1.0], atol=1e-6)
    gradient = jax.grad(lambda w: jnp.sum(round_through(w, step) * jnp.arange(3.0)))(weights)
    np.testing.assert_allclose(gradient, [0, 1, 2], atol=1e-6)


def test_rounded_network_has_rounded_parameters_and_fixed_steps():
    sizes = [0.01 * (1 + i) for i in range(len(parameters(new_module())))]
    tuned = fit(Rounded(new_module(), sizes), EXAMPLES, Schedule(20, 1e-3))
    assert not same(tuned.network, new_module())
    np.testing.assert_allclose(tuned.steps, sizes, rtol=1e-6)
    prepared, penalty = tuned.prepare()
    assert float(penalty) == 0
    for array, size in zip(parameters(prepared), sizes, strict=True):
        multiples = np.asarray(array, np.float64) / np.float32(size)
        np.testing.assert_allclose(multiples, np.rint(multiples), atol=1e-3)


def test_tuning_helps_a_coarsely_rounded_network():
    module = fit(new_module(), EXAMPLES, Schedule(300, 5e-3))
    sizes = [float(jnp.std(leaf)) / 8 + 1e-6 for leaf in parameters(module)]

    def error_when_rounded(network):
        return error_of(Rounded(network, sizes).prepare()[0])

    tuned = fit(Rounded(module, sizes), EXAMPLES, Schedule(150, 1e-3)).network
    assert error_when_rounded(tuned) < 0.8 * error_when_rounded(module)


class Priced(Constrained):
    """Parameters doubled on their way, at the price of their squares: for tests."""

    network: Representation

    def prepare(self):
        doubled = jax.tree.map(lambda leaf: 2 * leaf if eqx.is_inexact_array(leaf) else leaf, self.network)
        return doubled, 1e-3 * sum(jnp.sum(leaf**2) for leaf in parameters(self.network))


def test_blocks_and_penalties_in_the_gradient(monkeypatch):
    """Large batches are evaluated in blocks, and penalties count once: the same mean and gradient as of one formula."""
    from inrzip import fitting

    points = jax.random.uniform(jax.random.key(1), (512, 2)) * 15
    values = jax.random.uniform(jax.random.key(2), (512, 3))

    def formula(module):
        prepared, penalty = module.prepare()
        return jnp.mean((prepared.predict(points) - values) ** 2) + penalty

    expected = eqx.filter_value_and_grad(formula)(Priced(new_module()))
    for size in (1024, 128):
        monkeypatch.setattr(fitting, "POINTS_PER_BLOCK", size)
        got = fitting._loss_and_gradient(Priced(new_module()), points, values)
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-6)


# ---- examples ----


@pytest.mark.parametrize(("kind", "low", "high"), [("u1", 0, 255), ("u2", 0, 65535), ("i2", -300, 900), ("f4", -2, 7)])
def test_grid_points_are_the_samples(kind, low, high):
    samples = np.linspace(low, high, 24).reshape(2, 3, 4).astype(kind)
    examples = GridPoints(samples, low, high, 10)
    positions, values = examples.items(jnp.arange(6))
    np.testing.assert_array_equal(positions, [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]])
    expected = (samples.reshape(6, 4).astype(np.float64) - low) / (high - low)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert examples.n_items == 6 and examples.batch_size == 6


def test_equal_samples_are_normalised_without_a_division_by_zero():
    for examples in (
        GridPoints(np.full((4, 1), 7, "u1"), 7.0, 7.0, 8),
        GridPoints(np.full((4, 1), 7, "f4"), 7.0, 7.0, 8),
        Frames(np.full((2, 3, 3, 1), 7, "u1"), 7.0, 7.0, 2),
    ):
        assert not np.any(examples.items(jnp.arange(2))[1])


def test_frames_come_once_an_epoch():
    examples = Frames(np.zeros((7, 2, 2, 1), "u1"), 0.0, 255.0, 2)
    steps = [examples.choose(jax.random.key(i), jnp.int32(i)) for i in range(8)]
    for epoch in (steps[:4], steps[4:]):
        assert set(np.concatenate(epoch).tolist()) == set(range(7))
    assert not np.array_equal(np.concatenate(steps[:4]), np.concatenate(steps[4:]))


def test_a_single_frame_is_enough():
    examples = Frames(np.zeros((1, 2, 2, 1), "u1"), 0.0, 255.0, 2)
    assert examples.choose(jax.random.key(0), jnp.int32(5)).tolist() == [0]


@pytest.mark.parametrize(("height", "width", "n_parts"), [(96, 200, 2), (200, 101, 2), (250, 300, 9)])
def test_parts_of_frames_cover_them(height: int, width: int, n_parts: int) -> None:
    """Each once in an epoch, all of one size, of different frames in a step; with what is there in the video."""
    video = np.random.default_rng(0).integers(0, 256, (3, height, width, 1), "u1")
    parts = FrameParts(video, 0.0, 255.0, 1)
    assert len(parts.corners) == n_parts and parts.steps_per_epoch == 3
    seen, together = np.zeros(video.shape[:3], int), []
    for step in range(parts.steps_per_epoch):
        corners, targets = parts.batch(jax.random.key(0), jnp.int32(step))
        assert (
            corners.shape == (n_parts, 3) and targets.shape[1] * targets.shape[2] < 1.1 * height * width / n_parts + 300
        )
        for (frame, row, column), target in zip(np.asarray(corners).astype(int), np.asarray(targets), strict=True):
            place = (frame, slice(row, row + target.shape[0]), slice(column, column + target.shape[1]))
            np.testing.assert_allclose(target * 255, video[place], atol=1e-3)
            seen[place] += 1
        together.append(len(np.unique(corners[:, 0])))
    assert seen.min() == 1 and seen.mean() < 1.1
    assert max(together) > 1
    whole = FrameParts(video[:, :7, :9], 0.0, 255.0, 1).batch(jax.random.key(0), jnp.int32(0))
    assert whole[0].shape == (1,) and whole[1].shape == (1, 7, 9, 1)


def test_probes():
    examples = GridPoints(np.zeros((70_000, 1), "u1"), 0.0, 255.0, 16)
    assert sum(map(len, examples.probe(True))) == 70_000
    assert 0 < sum(map(len, examples.probe(False))) <= 65_536
    frames = Frames(np.zeros((20, 2, 2, 1), "u1"), 0.0, 255.0, 2)
    assert np.concatenate(list(frames.probe(True))).tolist() == list(range(20))
    few = np.concatenate(list(frames.probe(False)))
    assert len(few) == 8 and few[0] == 0 and few[-1] == 19


def test_scattered_points():
    positions, values = np.random.default_rng(0).random((50, 3)), np.random.default_rng(1).random((50, 1))
    examples = ScatteredPoints(positions.astype("f4"), values.astype("f4"), 8)
    inputs, targets = examples.batch(jax.random.key(0), jnp.int32(0))
    n = examples.batch_size
    assert 8 <= n <= 50 and inputs.shape == (n, 3) and targets.shape == (n, 1)
    rows = {tuple(row): float(v) for row, v in zip(positions.astype("f4").tolist(), values[:, 0], strict=True)}
    for point, value in zip(np.asarray(inputs).tolist(), targets[:, 0], strict=True):
        assert rows[tuple(point)] == pytest.approx(float(value))


# ---- jobs ----


def test_a_job_does_no_fit_twice(tmp_path):
    checkpoint = Checkpoint(tmp_path / "a.inrz", "mine")
    first = Job(checkpoint, None, None).fit("one", new_module(), EXAMPLES, Schedule(10, 1e-3))
    again = Checkpoint(tmp_path / "a.inrz", "mine")
    assert again.resumed and set(again.fits) == {"one"}
    begun = time.monotonic()
    second = Job(again, None, None).fit("one", new_module(), EXAMPLES, Schedule(10**9, 1e-3))
    assert same(first, second) and time.monotonic() - begun < 5
    assert not Checkpoint(tmp_path / "a.inrz", "another").resumed


def test_a_stopped_job_makes_few_steps():
    job = Job(Checkpoint(None, ""), None, lambda: True)
    begun = time.monotonic()
    job.fit("one", new_module(), EXAMPLES, Schedule(10**7, 1e-3))
    assert time.monotonic() - begun < 20 and LEAST_STEPS < 1000


def test_progress_rises_to_the_end_of_its_share():
    reports = []
    job = Job(Checkpoint(None, ""), reports.append, None)
    job.share, job.label = (0.25, 0.5), "segment 1/2"
    job.fit("one", new_module(), EXAMPLES, Schedule(40, 1e-3), describe=lambda loss: f"loss {loss:.1g}")
    fractions = [report.fraction for report in reports]
    assert fractions == sorted(fractions) and fractions[0] >= 0.25 and fractions[-1] == pytest.approx(0.5)
    assert reports[-1].stage == "fitting" and reports[-1].detail.startswith("segment 1/2 loss ")


@pytest.mark.parametrize("architecture", [NervConfig, slow(HnervConfig)])
def test_frame_networks_learn(architecture):
    frames = np.stack([np.roll(picture(18, 22, 3), 2 * i, 1) for i in range(3)])
    grid = Grid(frames.shape[:3], 3)
    config = architecture.solve(grid, 8_000)
    module = config.build(grid, jax.random.key(0))
    examples = Frames(frames, 0.0, 255.0, 2)

    def error(m):
        return float(np.mean((m.render(grid.axes()) - frames / 255) ** 2))

    def finished(training):
        return training.finish(frames, 0.0, 255.0)

    training = module.training_module(jax.random.key(1))
    fitted = fit(training, examples, Schedule(60, 1e-2))
    assert error(finished(fitted)) < 0.7 * error(finished(training))
    state = start(training)
    assert all(hasattr(leaf, "shape") for leaf in jax.tree.leaves(state))
