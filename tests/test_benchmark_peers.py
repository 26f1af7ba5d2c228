"""Every peer of the benchmarks: whole files that decode to what they should, and refusals that say why."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks import metrics
from benchmarks.items import Item
from benchmarks.measuring import MAIN_METRIC, distortion
from benchmarks.methods import CannotCode, Method, NotInstalled, identity
from benchmarks.peers import ALL, choose_peers
from benchmarks.peers_audio import aligned
from inrzip.errors import InrzipError
from inrzip.media.meshes import read_mesh
from inrzip.media.samples import array_signal
from inrzip.signal import Kind

PEERS = [pytest.param(method, id=method.name) for method in ALL]


def array_item(array: np.ndarray, kind: Kind, name: str = "x.npy") -> Item:
    signal = array_signal(array, kind, Path(name), None)
    return Item(name, signal.spec, signal.samples)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Item]:
    """A small signal of each kind, with odd sides."""
    import trimesh

    y, x = np.mgrid[:67, :85]
    picture = np.stack([128 + 100 * np.sin(x / 9 + c) * np.cos(y / 7) for c in range(3)], -1).astype(np.uint8)
    video = np.stack([np.roll(picture, 2 * t, 1) for t in range(3)])
    t = np.arange(9000) / 16000
    wave = np.stack([np.sin(2 * np.pi * f * t * (1 + t)) for f in (300, 410)], -1) * 9000
    z, y, x = np.mgrid[:20, :22, :24] / 20
    volume = (1000 * np.exp(-((x - 0.5) ** 2) - (y - 0.4) ** 2) * np.cos(3 * z)).astype(np.int16)
    trimesh.creation.icosphere(2).export(tmp_path_factory.getbasetemp() / "ball.obj")
    shape = read_mesh(tmp_path_factory.getbasetemp() / "ball.obj")
    sound = array_item(wave.astype(np.int16), Kind.AUDIO)
    spec = dataclasses.replace(sound.spec, meta={**sound.spec.meta, "rate": (16000, 1)})
    return {
        Kind.IMAGE: array_item(picture, Kind.IMAGE),
        Kind.VIDEO: array_item(video, Kind.VIDEO),
        Kind.AUDIO: Item("x.wav", spec, sound.content),
        Kind.SHAPE: Item("ball.obj", shape.spec, shape.mesh),
        Kind.VOLUME: array_item(volume, Kind.VOLUME),
    }


def needs(method: Method) -> None:
    """Skips the test if the method's library is missing."""
    try:
        method.version()
    except NotInstalled as error:
        pytest.skip(f"not installed: {error}")


@pytest.mark.parametrize("method", PEERS)
def test_more_bytes_are_better(method: Method, items: dict[Kind, Item], monkeypatch: pytest.MonkeyPatch) -> None:
    """From one end of the ladder to the other, bytes and quality rise; lossless methods lose nothing."""
    needs(method)
    from functools import partial

    from benchmarks import measuring
    from inrzip import shape_metrics

    monkeypatch.setattr(shape_metrics, "IOU_GRID", 8)
    monkeypatch.setattr(measuring, "compare", partial(shape_metrics.compare, n=1000))
    item = items[method.kind]
    ends = []
    for quality in dict.fromkeys((method.ladder[0], method.ladder[-1])):
        data = method.encode(item, quality)
        exact, _, figures = distortion(item, method.decode(data, item))
        assert exact or not method.lossless
        ends.append((len(data), figures[MAIN_METRIC[method.kind]]))
    assert len(ends) == (1 if method.lossless else 2) and sorted(ends) == ends
    assert ends[-1][1] > ends[0][1] or method.lossless
    assert method.settings and method.version() and method.name in identity(method)


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "x264", "opus", "draco"])
def test_a_missing_library_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata
    import sys

    def missing(_: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    for library in ("PIL", "av", "DracoPy"):
        monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(importlib.metadata, "version", missing)
    method = next(m for m in ALL if m.name == name)
    with pytest.raises(NotInstalled, match=r"Pillow|PyAV|DracoPy"):
        method.version()


def test_what_a_peer_cannot_code(items: dict[Kind, Item]) -> None:
    deep = array_item(np.zeros((8, 8, 3), np.uint16), Kind.IMAGE)
    with pytest.raises(CannotCode, match="8 bits"):
        next(m for m in ALL if m.name == "jpeg").encode(deep, 50)
    with pytest.raises(CannotCode, match="takes 16 and 24 bits"):
        next(m for m in ALL if m.name == "flac").encode(array_item(np.zeros(9, np.float32), Kind.AUDIO), 1)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no such call on this system")
def test_a_codec_does_not_make_us_real_time(items: dict[Kind, Item]) -> None:
    """SVT-AV1 does, for the superuser; other tests then starved, and a child process could stop the machine."""
    before = os.sched_getscheduler(0)
    [method] = choose_peers(["svt-av1"], [Kind.VIDEO])
    needs(method)
    method.encode(items[Kind.VIDEO], method.ladder[0])
    assert os.sched_getscheduler(0) == before


def test_names() -> None:
    assert [m.name for m in choose_peers(["jpeg", "zlib", "opus"], [Kind.IMAGE, Kind.VOLUME])] == ["jpeg", "zlib"]
    assert {m.kind for m in choose_peers(["all"], [Kind.VIDEO])} == {Kind.VIDEO}
    with pytest.raises(InrzipError, match="'gif' does not exist"):
        choose_peers(["gif"], [])


def test_the_file_nearest_in_bytes(items: dict[Kind, Item]) -> None:
    """What the table of the main job shows of a peer, against every file it could have been."""
    pytest.importorskip("PIL")
    from benchmarks.main_job import nearest_file, peer_of

    item = items[Kind.IMAGE]
    sizes = [len(next(m for m in ALL if m.name == "jpeg").encode(item, quality)) for quality in range(1, 96)]
    wanted = (min(sizes) + max(sizes)) // 3
    assert abs(len(nearest_file("jpeg", item, wanted)) - wanted) == min(abs(size - wanted) for size in sizes)
    assert [peer_of(items[kind]) for kind in (Kind.IMAGE, Kind.AUDIO, Kind.SHAPE)] == ["jpeg", "mp3", "draco"]
    assert peer_of(items[Kind.VOLUME]) == peer_of(array_item(np.zeros((8, 8, 3), np.uint16), Kind.IMAGE)) == "zlib"


@pytest.mark.parametrize("delay", [-40, 0, 57])
def test_sound_is_put_in_place(delay: int) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, (500, 2))
    late = np.pad(wave, ((max(delay, 0), 30), (0, 0)))[max(-delay, 0) :]
    moved = aligned(wave, late, 100)
    assert moved.shape == wave.shape
    assert metrics.mse(moved[50:-50], wave[50:-50]) < 1e-20
