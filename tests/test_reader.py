"""Opening a file: regions, frames, scales and limits, on files of random networks (no fit is needed)."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest

import inrzip
from inrzip.architectures.enerv import EnervConfig
from inrzip.architectures.hnerv import HnervConfig
from inrzip.architectures.nerv import NervConfig
from inrzip.architectures.siren import SirenConfig
from inrzip.errors import CorruptFile, InrzipError, LimitExceeded
from inrzip.signal import VALUES_AT_ONCE, Kind, Spec
from tests.common import random_file

IMAGE = Spec(Kind.IMAGE, (13, 17), 3, "u1", 0.0, 255.0)
GREY = Spec(Kind.IMAGE, (9, 6), 1, "u2", 0.0, 65535.0)
SOUND = Spec(Kind.AUDIO, (100,), 2, "i2", -30000.0, 30000.0, {"rate": (8000, 1)})
VOLUME = Spec(Kind.VOLUME, (7, 5, 6), 1, "f4", -3.0, 5.0)
FILM = Spec(Kind.VIDEO, (5, 8, 10), 3, "u1", 0.0, 255.0, {"rate": (25, 1)})

FILES = {
    "image": (IMAGE, SirenConfig, 1 << 40),
    "grey": (GREY, SirenConfig, 1 << 40),
    "sound": (SOUND, SirenConfig, 30),
    "volume": (VOLUME, SirenConfig, 3),
    "film": (FILM, SirenConfig, 2),
    "nerv": (FILM, NervConfig, 2),
    "hnerv": (FILM, HnervConfig, 1 << 40),
    "enerv": (FILM, EnervConfig, 3),
}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: random_file(spec, config, 300, length) for name, (spec, config, length) in FILES.items()}


@pytest.fixture(scope="module")
def whole(files) -> dict[str, np.ndarray]:
    return {name: inrzip.open(data)[...] for name, data in files.items()}


def close(a: np.ndarray, b: np.ndarray) -> None:
    """Equal to one level: whole samples, or a 255th of the range."""
    assert a.dtype == b.dtype and a.shape == b.shape
    level = 1.001 if a.dtype.kind in "ui" else 8 / 255
    assert np.max(np.abs(a.astype(float) - b.astype(float)), initial=0) <= level


@pytest.mark.parametrize("spec", [IMAGE, GREY, SOUND, VOLUME], ids=lambda spec: spec.sample_type)
def test_rounding_in_blocks(spec: Spec) -> None:
    values = np.random.default_rng(0).normal(0.5, 0.4, (VALUES_AT_ONCE + 5, 2)).astype(np.float32)
    wide = values.clip(0, 1) * np.float64(spec.high - spec.low) + spec.low
    expected = (np.rint(wide) if spec.dtype.kind in "ui" else wide).astype(spec.dtype)
    np.testing.assert_array_equal(spec.quantise(values), expected)
    np.testing.assert_array_equal(spec.quantise(values.T), expected.T)
    assert spec.quantise(values[:0]).shape == (0, 2) and spec.quantise(values[0, 0]).shape == ()


@pytest.mark.parametrize("name", FILES)
def test_everything_alike_by_every_way(files, whole, name, tmp_path):
    spec = FILES[name][0]
    path = tmp_path / "a.inrz"
    path.write_bytes(files[name])
    with inrzip.open(path) as reader, inrzip.open(io.BytesIO(files[name])) as streamed:
        assert reader.spec == spec and reader.dtype == spec.dtype and len(reader) == spec.shape[0]
        assert reader.shape == (spec.shape if spec.channels == 1 else (*spec.shape, spec.channels))
        assert reader.ndim == len(reader.shape) and "Reader" in repr(reader)
        assert whole[name].shape == reader.shape and whole[name].dtype == spec.dtype
        assert len(np.unique(whole[name])) > 5
        close(np.asarray(reader), whole[name])
        close(np.asarray(streamed), whole[name])
        rendered = reader.render()
        assert rendered.shape == (*spec.shape, spec.channels)
        close(rendered.reshape(whole[name].shape), whole[name])
        parts = list(reader.parts())
        assert reader.output_shape() == spec.shape
    close(np.concatenate(parts), rendered)
    if spec.kind == Kind.VIDEO:
        assert [len(part) for part in parts] == [1] * 5


KEYS = [
    np.s_[2],
    np.s_[-1],
    np.s_[1:4],
    np.s_[::-1],
    np.s_[::2],
    np.s_[4:1:-1],
    np.s_[3:3],
    np.s_[..., 0],
    np.s_[1:, ...],
    np.s_[-3:],
    np.s_[np.int64(1)],
    np.s_[:99],
    None,
    np.s_[[2, 0, -1, 2]],
    np.s_[np.array([[1, 0], [2, 2]])],
    np.s_[..., None],
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indices_as_numpy_takes_them(files, whole, name, key):
    close(np.asarray(inrzip.open(files[name])[key]), np.asarray(whole[name][key]))


@pytest.mark.parametrize(
    "key", [np.s_[2:5, 3], np.s_[1:9:3, ::-2, 1], np.s_[..., 2:0:-1], np.s_[0, 0, 0], np.s_[5, ..., 1]]
)
def test_indices_along_several_axes(files, whole, key):
    close(np.asarray(inrzip.open(files["image"])[key]), np.asarray(whole["image"][key]))


@pytest.mark.parametrize(
    "key",
    [
        1.5, "a", True, [1.0, 2], np.s_[..., ...], np.s_[0, 0, 0, 0], 13, -14, (0, 99), [0, 13], [[-14]],
        np.zeros((13, 16), bool), np.s_[0, np.zeros((17, 3, 1), bool)],
    ],
    ids=str,
)  # fmt: skip
def test_wrong_indices(files, key):
    with pytest.raises(IndexError):
        inrzip.open(files["image"])[key]


@pytest.mark.parametrize(
    "key",
    [
        np.s_[[3, -1], [5, 5], 1],
        np.s_[[[3], [1]], 2:9:2, [0, 2]],
        np.s_[None, ..., [2, 2]],
        np.s_[np.arange(13) % 3 == 1, :, None, 0],
        np.arange(221).reshape(13, 17) % 7 == 0,
        np.s_[1, np.arange(51).reshape(17, 3) % 5 == 0],
        np.s_[[], 3],
        np.s_[np.array(4), np.zeros(17, bool)],
    ],
)
def test_arrays_as_indices(files, whole, key):
    close(inrzip.open(files["image"])[key], whole["image"][key])


@pytest.mark.parametrize("name", FILES)
def test_random_access_equals_going_through(files, whole, name):
    reader = inrzip.open(files[name])
    order = np.random.default_rng(0).permutation(len(reader))
    for i in order[:12].tolist():
        close(np.asarray(reader[i]), np.asarray(whole[name][i]))


def test_only_the_segments_needed_are_read(files):
    """Damage in the last segment does not matter to those who look at the first."""
    data = bytearray(files["sound"])
    data[-9] ^= 0xFF
    reader = inrzip.open(bytes(data))
    close(reader[:90], inrzip.open(files["sound"])[:90])
    with pytest.raises(CorruptFile):
        reader[90:]


def test_regions(files, whole):
    reader = inrzip.open(files["image"])
    close(reader.render([(2, 9), (5, None)]), whole["image"][2:9, 5:])
    close(reader.render([(0, None), (16, 17)]), whole["image"][:, 16:])
    close(reader.render([(12, 999), (0, 1)]), whole["image"][12:, :1])
    film = inrzip.open(files["film"])
    close(film.render(frames=(1, 4)), whole["film"][1:4])
    close(film.render([(3, 5), (0, 4)], frames=(4, None)), whole["film"][4:, 3:5, :4])
    sound = inrzip.open(files["sound"])
    close(sound.render(frames=(20, 70)), whole["sound"][20:70])
    close(sound.render([(20, 70)]), whole["sound"][20:70])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("image", {"region": [(0, 5)]}),
        ("image", {"region": [(5, 5), (0, 1)]}),
        ("image", {"region": [(6, 5), (0, 1)]}),
        ("image", {"region": [(13, None), (0, 1)]}),
        ("image", {"region": [(-1, 5), (0, 1)]}),
        ("image", {"frames": (0, 1)}),
        ("volume", {"frames": (0, 1)}),
        ("film", {"frames": (5, 6)}),
        ("film", {"frames": (3, 2)}),
        ("film", {"region": [(0, 1)] * 3}),
        ("image", {"scale": 0.0}),
        ("image", {"scale": -1.0}),
        ("image", {"scale": float("nan")}),
        ("image", {"scale": float("inf")}),
    ],
)
def test_impossible_wishes(files, name, options):
    with pytest.raises(InrzipError) as caught:
        inrzip.open(files[name]).render(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("scale", "shape"), [(2, (26, 34)), (0.5, (6, 8)), (0.01, (1, 1)), (1.37, (18, 23))])
def test_scaled_sizes(files, scale, shape):
    reader = inrzip.open(files["image"])
    assert reader.output_shape(scale=scale) == shape
    assert reader.render(scale=scale).shape == (*shape, 3)


def test_time_of_a_film_is_not_scaled(files):
    assert inrzip.open(files["film"]).render(scale=2).shape == (5, 16, 20, 3)
    assert inrzip.open(files["sound"]).render(scale=0.5).shape == (50, 2)


def test_magnifying_interpolates_and_minifying_averages(files, whole):
    """Three samples for one: the middle one is the original. One for two: near the mean of the two."""
    reader = inrzip.open(files["image"])
    close(reader.render(scale=3)[1::3, 1::3], whole["image"])
    even = inrzip.open(files["image"]).render([(0, 12), (0, 16)], scale=0.5).astype(float)
    means = whole["image"][:12, :16].reshape(6, 2, 8, 2, 3).mean((1, 3))
    assert np.max(np.abs(even - means)) <= 2.5
    assert np.max(np.abs(even - whole["image"][:12:2, :16:2])) > 3  # not merely picked


def test_memory_limits(files):
    huge = Spec(Kind.IMAGE, (2**20, 2**20), 3, "u1", 0.0, 255.0)
    data = random_file(huge, SirenConfig)
    tracemalloc.start()
    with pytest.raises(LimitExceeded, match="max-memory"):
        inrzip.open(data).render()
    with pytest.raises(LimitExceeded):
        inrzip.open(data)[...]
    with pytest.raises(LimitExceeded):
        inrzip.open(files["image"], max_memory=1 << 30).render(scale=1e4)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    assert inrzip.open(data)[2**19, 2**19 : 2**19 + 5].shape == (5, 3)  # a region of it is no problem


def test_a_mesh_is_for_shapes(files):
    with pytest.raises(InrzipError, match="no mesh"):
        inrzip.open(files["image"]).mesh()


def test_conversion_to_arrays(files, whole):
    reader = inrzip.open(files["grey"])
    assert np.asarray(reader, dtype="f8").dtype == np.float64
    close(np.array(reader, copy=True), whole["grey"])
    with pytest.raises(ValueError, match=r"copy|share"):
        np.array(reader, copy=False)


def test_every_flipped_byte_of_a_small_file_is_noticed(files):
    data = files["grey"]
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(CorruptFile):
            inrzip.open(bytes(damaged))[0, 0]
