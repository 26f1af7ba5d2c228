"""docs/benchmarks.md: what it says to add works when it is added, and is as short as it promises."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("psutil")

from benchmarks import claims, metrics, peers_images
from benchmarks.claims import CLAIMS
from benchmarks.items import Item
from benchmarks.papers import row, verdict
from inrzip.media.samples import array_signal
from inrzip.signal import Kind
from tests.common import ROOT

TEXT = (ROOT / "docs" / "benchmarks.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_snippets_are_short() -> None:
    assert len(SNIPPETS) == 3 and all(snippet.count("\n") < 20 for snippet in SNIPPETS)


def test_the_new_peer() -> None:
    pytest.importorskip("imagecodecs")
    names = vars(peers_images).copy()
    exec(SNIPPETS[0], names)
    y, x = np.mgrid[:20, :31]
    samples = np.stack([x * 8 % 256, y * 9, x * y % 256], -1).astype(np.uint8)
    signal = array_signal(samples, Kind.IMAGE, Path("x.png"), None)
    item, method = Item("x.png", signal.spec, signal.samples), names["JPEGLS"]
    assert method.version()
    sizes = []
    for near in (16.0, 2.0):
        data = method.encode(item, near)
        assert metrics.max_error(item.samples, method.decode(data, item)) <= near
        sizes.append(len(data))
    assert sizes[0] < sizes[1]


def test_the_new_metric() -> None:
    names = vars(metrics).copy()
    exec(SNIPPETS[1], names)
    assert names["mean_absolute_error"](np.array([1, 2]), np.array([4, 2])) == 1.5


def test_the_new_protocol() -> None:
    protocol = eval(SNIPPETS[2], vars(claims).copy())
    assert protocol in [claim.protocol for claim in CLAIMS] or protocol.claimed == 4.7


def test_verdicts() -> None:
    """The verdict follows from the sign, the noise, and the size of what was claimed."""
    from benchmarks.bd import Delta
    from benchmarks.curves import Comparison

    claim = next(c for c in CLAIMS if c.paper == "HNeRV")
    assert claim.protocol is not None

    def judged(db: float) -> str:
        delta = Delta(db, (20.0, 30.0), 0.5, 4, 4, 0)
        assert claim.protocol is not None
        return verdict(claim.protocol, Comparison("nerv", "hnerv", delta, delta, None, 1))[1]

    assert [judged(db) for db in (5.0, 1.0, 0.01, -1.0)] == [
        "holds here",
        "same direction, less than the 4.7 dB claimed",
        "no difference here",
        "not here",
    ]
    nothing = verdict(claim.protocol, Comparison("nerv", "hnerv", None, None, None, 0, "too late"))
    assert nothing == ("–", "no number: too late")
    assert row(claim, "+5 dB", "holds here").count("|") == 6
