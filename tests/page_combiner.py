"""A decoder of combiner files, written from docs/format.md with NumPy alone, for tests to compare with."""

from __future__ import annotations

import hashlib
import io

import numpy as np

from tests.page_backbones import word
from tests.page_random import bell

NUMBER = 27


def prior_name(data: bytes) -> int:
    """The 28 bits that files name a prior by."""
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "big") >> 4


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def decode_image(payload: bytes, prior: bytes, shape: tuple[int, int], channels: int) -> np.ndarray:
    """Values of an image, (height, width, channels)."""
    with np.load(io.BytesIO(prior)) as stored:
        p = {name: stored[name] for name in stored.files}
    axes, learned, side, _, _, _, bits = map(int, p["sizes"])
    assert axes == 2
    name, at = varint(payload, 0)
    assert name == prior_name(prior)
    rows, columns = -(-shape[0] // side), -(-shape[1] // side)
    n = rows * columns
    heads = []
    if n == 1:
        level, at = varint(payload, at)
        heads = [(level, 8 * (len(payload) - at) // bits)]
    else:
        for _ in range(n):
            level, at = varint(payload, at)
            count, at = varint(payload, at)
            heads.append((level, count))
    stream = "".join(f"{byte:08b}" for byte in payload[at:])
    chosen: list[list[int]] = [[] for _ in heads]
    position = 0
    for block in range(max(count for _, count in heads)):
        for own, (_, count) in zip(chosen, heads, strict=True):
            if block < count:
                own.append(int(stream[position : position + bits], 2))
                position += bits
    image = np.zeros((rows * side, columns * side, learned))
    for number, ((level, _), indices) in enumerate(zip(heads, chosen, strict=True)):
        i, j = divmod(number, columns)
        patch = _patch(p, _latents(p, level, indices))
        image[i * side : (i + 1) * side, j * side : (j + 1) * side] = patch
    image = image[: shape[0], : shape[1]]
    return image if channels == learned else image.mean(-1, keepdims=True)


def _latents(p: dict[str, np.ndarray], level: int, indices: list[int]) -> np.ndarray:
    values = np.zeros(p["scales"].shape[1])
    counts = p["blocks"].astype(int)
    members = p["members"].astype(int)
    sizes = np.split(members, np.cumsum(counts)[:-1])
    order = np.split(p["order"].astype(int), np.cumsum([s.sum() for s in sizes])[:-1])
    mantissas = (7095, 7737, 8437, 9200, 10033, 10941, 11932, 13011)
    first = 0
    for block, index in enumerate(indices):
        size = int(sizes[level][block])
        for j, latent in enumerate(order[level][first : first + size]):
            scale = int(p["scales"][level, latent])
            number = bell(word(0x52454300 + block, index * 128 + j))
            values[latent] = number * mantissas[scale % 8] * 2.0 ** (scale // 8 - 20)
        first += size
    return values


def _patch(p: dict[str, np.ndarray], latents: np.ndarray) -> np.ndarray:
    _, learned, side, factor, waves, width, _ = map(int, p["sizes"])
    grids, features, ranks = (list(map(int, p[name])) for name in ("grids", "features", "ranks"))
    shared, source = p["shared"].astype(np.float64), iter(latents)

    def take(*shape: int) -> np.ndarray:
        nonlocal shared
        size = int(np.prod(shape))
        part, shared = shared[:size].reshape(shape), shared[size:]
        return part

    def some(*shape: int) -> np.ndarray:
        return np.array([next(source) for _ in range(int(np.prod(shape)))]).reshape(shape)

    before = [0, *features[:-1]]
    kernels = [take(3, 3, b + g, factor, factor, f) for b, g, f in zip(before, grids, features, strict=True)]
    biases = [take(factor, factor, f) for f in features]
    straight = take(features[-1], learned)
    inputs = [features[-1] + 4 * waves, *[width] * (len(ranks) - 1)]
    outputs = [*[width] * (len(ranks) - 1), learned]
    bases = [take(i + 1, o) for i, o in zip(inputs, outputs, strict=True)]
    maps = [take(r, (i + 1) * o) if r else None for r, i, o in zip(ranks, inputs, outputs, strict=True)]
    x = np.zeros((side // factor ** len(grids), side // factor ** len(grids), 0))
    for stage, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        size = len(x)
        x = np.concatenate([x, some(size, size, grids[stage])], -1)
        padded = np.pad(x, [(1, 1), (1, 1), (0, 0)])
        y = np.zeros((size * factor, size * factor, features[stage]))
        for i, j in np.ndindex(size, size):
            window = padded[i : i + 3, j : j + 3]
            y[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor] = (
                np.einsum("abc,abcuvf->uvf", window, kernel) + bias
            )
        if stage + 1 < len(grids):
            y[..., learned:] = np.maximum(y[..., learned:], 0.1 * y[..., learned:])
        x = y
    position = (2 * np.arange(side) + 1) / side - 1
    waves_of = [f(np.pi * 2**o * position / 2) for o in range(waves) for f in (np.sin, np.cos)]
    along = [np.broadcast_to(w[:, None], (side, side)) for w in waves_of]
    fixed = [*along, *(w.T for w in along)]
    h = np.concatenate([x, np.stack(fixed, -1)], -1) if fixed else x
    for layer, (base, rank_map) in enumerate(zip(bases, maps, strict=True)):
        change = some(base.size) if rank_map is None else some(len(rank_map)) @ rank_map
        weights = base + change.reshape(base.shape)
        h = h @ weights[:-1] + weights[-1]
        if layer + 1 < len(bases):
            h = np.sin(h)
    return np.asarray(h + x @ straight + 0.5)
