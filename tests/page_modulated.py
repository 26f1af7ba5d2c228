"""A decoder of files of modulations, written from docs/format.md with NumPy alone, for tests to compare with."""

from __future__ import annotations

import io
from itertools import accumulate

import numpy as np

from tests.page_combiner import prior_name, varint
from tests.page_stream import SPREADS, Stream, masses_of, starts_of
from tests.page_tables import read_static, table_and_shift

NUMBERS = (28, 29)


def decode_image(payload: bytes, prior: bytes, shape: tuple[int, int], channels: int) -> np.ndarray:
    """Values of an image, (height, width, channels)."""
    with np.load(io.BytesIO(prior)) as stored:
        p = {name: stored[name] for name in stored.files}
    _, axes, learned, side, *_ = map(int, p["modulated"][:7])
    assert axes == 2
    name, at = varint(payload, 0)
    step, at = varint(payload, at)
    assert name == prior_name(prior)
    rows, columns = -(-shape[0] // side), -(-shape[1] // side)
    integers = decode_integers(payload[at:], p, step, rows * columns)
    image = np.zeros((rows * side, columns * side, learned))
    for number, own in enumerate(integers):
        i, j = divmod(number, columns)
        values = _patch(p, own * 2.0 ** ((step - 48) / 8))
        image[i * side : (i + 1) * side, j * side : (j + 1) * side] = values.reshape(side, side, learned)
    image = image[: shape[0], : shape[1]]
    return image if channels == learned else image.mean(-1, keepdims=True)


def decode_integers(data: bytes, p: dict[str, np.ndarray], step: int, n: int) -> np.ndarray:
    """The latents of all patches, in steps."""
    stream, classes = Stream(data), len(p["shares"])
    shares = starts_of([int(share) for share in p["shares"]])
    groups = [stream.symbol(shares, 16) if classes > 1 else 0 for _ in range(n)]
    scales = _scales(p, step)
    count = scales.shape[1]
    integers = np.zeros((n, count), int)
    stages = [int(stage) for stage in p["stages"]] if "stages" in p else [0] * count
    for stage in range(max(stages) + 1):
        latents = [latent for latent in range(count) if stages[latent] == stage]
        tables = {
            (patch, latent): scales[group, latent] // 2 + _moved(p, scales[group] // 2, integers[patch], latent)
            for patch, group in enumerate(groups)
            for latent in latents
            if scales[group, latent] >= 0
        }
        for table in range(61):
            for family in (0, 1):
                mine = [
                    place
                    for place, own in tables.items()
                    if (min(max(own, 0), 60), p["families"][groups[place[0]], place[1]]) == (table, family)
                ]
                i, shift = table_and_shift(table + 1)
                values = read_static(stream, len(mine), masses_of(family, i), shift) if mine else []
                for place, value in zip(mine, values, strict=True):
                    integers[place] = value
    return integers


def _moved(p: dict[str, np.ndarray], tables: np.ndarray, known: np.ndarray, latent: int) -> int:
    """By how many tables the latent's neighbours move its own."""
    if "stages" not in p:
        return 0
    found = usual = 0
    for near, weight in zip(map(int, p["neighbours"][latent]), map(int, p["weights"][latent]), strict=True):
        t = int(tables[near])
        table, shift = table_and_shift(t + 1)
        expected = SPREADS[table] << shift if t >= 0 else 0
        found += weight * (256 * abs(int(known[near])) + 77)
        usual += weight * (expected + 77)
    if usual == 0:
        return int(p["shifts"][8])
    limits = [int((77935, 110217)[(2 * k - 1) % 4 // 2] * 2.0 ** ((2 * k - 1) // 4)) for k in range(-7, 9)]
    return int(p["shifts"][sum((found << 16) // usual >= limit for limit in limits)])


def _scales(p: dict[str, np.ndarray], step: int) -> np.ndarray:
    steps, scales = p["steps"].astype(int), p["scales"].astype(int)
    at = min(max(step, steps[0]), steps[-1])
    above = int(np.searchsorted(steps, at))
    found = scales[above]
    if steps[above] != at:
        a, b = steps[above - 1], steps[above]
        found = (scales[above - 1] * (b - at) + found * (at - a)) // (b - a)
    return np.clip(found + at - step, -1, 120)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _patch(p: dict[str, np.ndarray], latents: np.ndarray) -> np.ndarray:
    gated, axes, channels, side, inner, rank, hyper = map(int, p["modulated"][:7])
    counts, widths = (list(map(int, p[name])) for name in ("latents", "widths"))
    n, fold = sum(counts), 2 ** (axes - 1 if gated else axes)
    units = fold * max(counts)
    shared = p["shared"].astype(np.float64)

    def take(*shape: int) -> np.ndarray:
        nonlocal shared
        size = int(np.prod(shape))
        part, shared = shared[:size].reshape(shape), shared[size:]
        return part

    waves, phases = take(axes, units), take(units)
    moves = take(channels, units) if gated else take(units)
    sizes = list(zip([inner, *widths], widths, strict=False))
    weights, biases = [take(a, b) for a, b in sizes], [take(b) for _, b in sizes]
    maps = [] if gated else [take(n, b) for _, b in sizes]
    lefts: list[np.ndarray] = []
    rights: list[np.ndarray] = []
    if gated:
        features = take(n, hyper).T @ latents + take(hyper)
        features = np.append(np.maximum(features, 0.1 * features), 1.0)
        lefts = [features @ take(hyper + 1, a * rank) for a in [a for a, _ in sizes] + [widths[-1]]]
        rights = [features @ take(hyper + 1, rank * b) for b in [b for _, b in sizes] + [channels]]
        lefts, rights = [x.reshape(-1, rank) for x in lefts], [x.reshape(rank, -1) for x in rights]
    out = take(units + widths[-1], channels)
    straight = take(units + widths[-1], channels) if gated else 0 * out
    middle = take(channels)
    grid = (np.arange(side) + 0.5) * np.pi / side
    position = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    shifts = 0.0 if gated else np.repeat(latents, fold) * moves
    first = np.sin(position @ waves + phases + shifts)
    x = first[:, :inner]
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        gate = _sigmoid(lefts[i] @ rights[i]) if gated else 1.0
        x = np.sin(x @ (gate * weight) + bias + (0.0 if gated else latents @ maps[i]))
    if gated:
        logits = np.zeros((units, channels))
        for c, (a, b) in enumerate(zip([0, *accumulate(counts)], accumulate(counts), strict=False)):
            own = np.repeat(latents[a:b], fold)
            logits[: len(own)] += np.outer(own * moves[c, : len(own)], rights[-1][c])
        out = out * _sigmoid(np.concatenate([logits, lefts[-1] @ rights[-1]])) + straight
    return np.asarray(np.concatenate([first, x], 1) @ out + middle + 0.5)
