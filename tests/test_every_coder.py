"""What every coder of integers promises (docs/design.md): one set of tests for all of them."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from inrzip.codecs.model_choice import BIT
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.weights import CODERS
from tests.common import ROOT

GREATEST = (1 << 31) - 1
LAST_BITS = 40
"""Zeros at a stream's end are not stored, which short streams show. Those of layers are too long for this to help."""
SHAPES = [(), (0,), (1,), (3, 0, 2), (97,), (5, 40), (1, 2, 3, 2, 2), (3, 3, 4, 8)]
each_coder = pytest.mark.parametrize("number", CODERS, ids=lambda number: CODERS[number].__name__)


def coded(number: int, network: list[ndarray]) -> bytes:
    """The stream of the tensors, which must decode to the same, and take what was said beforehand."""
    encoder, coder, bits = RangeEncoder(), CODERS[number](), 0.0
    for tensor in network:
        bits += coder.cost(tensor) / BIT
        coder.encode(encoder, tensor)
    data = encoder.finish()
    assert 8 * len(data) == pytest.approx(bits, rel=0.02, abs=LAST_BITS)
    decoder, copy = RangeDecoder(data), CODERS[number]()
    for tensor in network:
        found = copy.decode(decoder, tensor.shape)
        assert found.dtype == np.int32 and found.shape == tensor.shape
        np.testing.assert_array_equal(found, tensor)
    decoder.finish()
    return data


def layers(seed: int) -> list[ndarray]:
    """Tensors of the ranks and spreads of a network's layers, one of them far from stationary."""
    rng = np.random.default_rng(seed)
    shapes = [(2, 40), (40,), (40, 40), (3, 3, 20, 24), (40, 3), (3,)]
    network = [np.rint(rng.laplace(0, 3 + 5 * i, shape)).astype(np.int64) for i, shape in enumerate(shapes)]
    network[2] = np.rint(network[2] * rng.lognormal(0, 1, (40, 1))).astype(np.int64)
    return network


@each_coder
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_and_extreme_values(number: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for value in (0, 1, -1, 1000, GREATEST, -GREATEST - 1):
        constant = np.full(shape, value, np.int64)
        outlier = constant.copy()
        outlier.flat[: min(1, outlier.size)] = 3
        coded(number, [constant, outlier, constant])
    for bound in (1, 50, GREATEST):
        coded(number, [rng.integers(-bound, bound + 1, shape)])


@each_coder
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_networks_of_any_tensors(number: int, data: st.DataObject) -> None:
    network = []
    for _ in range(data.draw(st.integers(0, 4))):
        shape = tuple(data.draw(st.lists(st.integers(0, 5), max_size=5)))
        bound = data.draw(st.sampled_from([0, 1, 30, 1000, GREATEST]))
        n = math.prod(shape)
        values = data.draw(st.lists(st.integers(-bound, bound), min_size=min(n, 15), max_size=min(n, 15)))
        network.append(np.resize(np.array(values, np.int64), shape) if n else np.zeros(shape, np.int64))
    coded(number, network)


@each_coder
def test_a_network_of_layers(number: int) -> None:
    """Of equal bytes whatever the layout in memory is."""
    network = layers(1)
    assert 0.02 * 8 * len(coded(number, network)) > LAST_BITS
    assert coded(number, network) == coded(number, [np.asfortranarray(tensor) for tensor in network])


DIGESTS = f"""
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
sys.path.insert(0, {str(ROOT)!r})
from tests.test_every_coder import digests
print(digests())
"""


def digests() -> str:
    """What all coders write, in short."""
    return hashlib.sha256(b"".join(coded(number, layers(2)) for number in CODERS)).hexdigest()


def test_bytes_do_not_depend_on_threads() -> None:
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        command = [sys.executable, "-c", DIGESTS, threads]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.stdout.strip() == digests(), done.stderr
