"""Latents of a learned network: relative entropy coding, priors and their training, files, collections, damage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import imageio.v3 as iio
import jax
import numpy as np
import pytest
import soundfile

import inrzip
from inrzip import cli, latent_fit, plan, posterior_goals, prior_training, wire
from inrzip.architectures import combiner_network as network
from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import MAX_PATCHES, CombinerConfig, Patches, cut, patch_counts, planes_of
from inrzip.architectures.combiner_network import Layout
from inrzip.codecs import relative_entropy as rec
from inrzip.codecs.learned_numbers import NumberDecoder, encode_numbers
from inrzip.errors import CorruptFile, InrzipError, LimitExceeded
from inrzip.index_search import Search
from inrzip.network import decode_network
from inrzip.plan import segment_length
from inrzip.posterior_payload import LEAST_INDEX_BITS, Coded, Decoder, decode_patches, encode_payload, shortened
from inrzip.priors import latent_prior
from inrzip.recipes import RECIPES
from inrzip.signal import Kind, Spec
from inrzip.training_clips import clip
from tests import page_combiner
from tests.common import check_fitted_together, write_film

TINY = Layout(2, 3, 8, 2, (12, 9), (5, 4), 1, 4, (2, 0))
CUBES = Layout(3, 3, 4, 2, (24, 21), (6, 4), 1, 4, (2, 2))


def pictures(count: int, height: int, width: int) -> list[np.ndarray]:
    """Smooth, with an edge: what a prior can learn something of."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / max(height, width)
    found = []
    for _ in range(count):
        slope = rng.normal(size=(2, 3)) * 90
        edge = (x * rng.normal() + y * rng.normal() > 0.1)[..., None] * rng.normal(size=3) * 60
        found.append(np.clip(128 + y[..., None] * slope[0] + x[..., None] * slope[1] + edge, 0, 255).astype(np.uint8))
    return found


def write_pictures(folder: Path, count: int, height: int, width: int) -> None:
    """Puts such pictures into the folder `media` there."""
    (folder / "media").mkdir()
    for i, picture in enumerate(pictures(count, height, width)):
        iio.imwrite(folder / "media" / f"{i}.png", picture)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prior `tiny`, learned from the pictures in its folder `media`."""
    return learn_tiny(tmp_path_factory.mktemp("home"))


def learn_tiny(folder: Path) -> Path:
    """Makes such a folder."""
    write_pictures(folder, 6, 24, 24)
    (folder / "media" / "no picture.txt").write_text("no picture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(prior_training.LAYOUTS, "image", TINY)
        patch.setattr(prior_training, "BITS", 8)
        patch.setattr(prior_training, "BLOCK_BITS", 7.6)
        patch.setenv(latent_prior.FOLDER_VARIABLE, str(folder))
        arguments = ["train-prior", str(folder / "media"), "-o", "tiny", "--patches", "120", "--rounds", "6", "--quiet"]
        assert cli.main(arguments) == 0
    return folder


@pytest.fixture(autouse=True)
def priors_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(home))
    latent_prior.find.cache_clear()
    monkeypatch.setattr(posterior_goals, "STEPS", (400,) * 9)


# ---- relative entropy coding ----


def test_the_decoder_makes_the_encoders_candidate() -> None:
    """Alone, bit for bit, and such that float32 rounds nothing."""
    scales = np.array([-127, -9, 0, 5, 127])
    rng = np.random.default_rng(0)
    chosen = rec.choose(7, 10, rng.normal(size=(3, 5)), np.full((3, 5), 0.3))
    every = rec.latents(rec.candidates(7, 0, 1 << 10, 5), scales)
    for index in chosen:
        assert np.array_equal(rec.decoded(7, [int(index)], 10, scales), every[index])
    number = int(rec.candidates(7, 33, 1, 5)[0, 1])
    assert float(rec.decoded(7, [33], 10, scales)[1]) == number * rec.MANTISSAS[7] * 2.0 ** (-2 - rec.MANTISSA_BITS)


def test_golden_candidates() -> None:
    """They are the format: no version may make others."""
    assert rec.candidates(0, 0, 2, 3).tolist() == [[-33, -151, -140], [10, -100, -118]]


def test_cost_against_divergence() -> None:
    """An index of as many bits as the posterior is from the prior comes as near as a sample of the posterior would."""
    rng, size, bits = np.random.default_rng(0), 12, 12
    deviation = 2.0 ** (-bits / size)
    mean = rng.normal(size=(300, size)) * np.sqrt(1 - deviation**2)
    divergence = ((mean**2 + deviation**2 - 1) / 2 - np.log(deviation)).sum(1).mean() / np.log(2)
    assert abs(divergence - bits) < 0.5
    spread = np.full(mean.shape, deviation)
    every = rec.candidates(0, 0, 1 << bits, size) / rec.BELL_SCALE
    best = rec.choose(0, bits, mean, spread)
    drawn = np.array([rec.choose(0, bits, m[None], s[None], rng)[0] for m, s in zip(mean, spread, strict=True)])
    wanted = mean / (1 - deviation**2)  # where the squared error alone would have them
    errors = [np.mean((every[index] - wanted) ** 2) for index in (best, drawn)]
    of_samples = deviation**2 + np.mean((wanted - mean) ** 2)
    assert errors[0] < errors[1] < 1.5 * of_samples and errors[0] < 1.3 * of_samples
    assert np.log2(drawn + 1.0).mean() < bits - 1.5  # ordered random coding: small indices are likelier


def test_indices_as_bytes() -> None:
    for bits in (1, 12, 16):
        indices = [i * 37 % (1 << bits) for i in range(5)]
        data = rec.pack(indices, [bits] * 5)
        assert len(data) == -(-5 * bits // 8)
        assert list(rec.unpack(data, [bits] * 5)) == indices
        assert list(rec.unpack(data[:-1], [bits] * 5)) == indices[: (len(data) - 1) * 8 // bits]
    mixed = rec.pack([5, 300, 1], [3, 9, 1])
    assert mixed == bytes([0b10110010, 0b11001000]) and list(rec.unpack(mixed, [3, 9, 1])) == [5, 300, 1]
    assert rec.pack([], []) == b"" and list(rec.unpack(b"", [16] * 4)) == []


def test_indices_of_fewer_bits() -> None:
    """A block that takes less has one of the first candidates."""
    mean = np.random.default_rng(0).normal(size=(2, 6)) * 0.5
    full, few = (rec.choose(3, 10, mean, np.full(mean.shape, 0.5), index_bits=bits) for bits in ([10, 10], [10, 4]))
    every = rec.candidates(3, 0, 1 << 10, 6) / rec.BELL_SCALE
    assert few[0] == full[0] and few[1] < 16
    assert few[1] == np.argmin(np.square(every[:16] - mean[1]).sum(1))


def test_blocks_by_what_they_are_worth() -> None:
    worth = [np.array([40.0, 20.0, 5.0]), np.array([30.0, 2.0, 28.0]), np.array([1.0])]
    assert latent_fit.shared_out(worth, [16, 10, 16], None) == [2, 3, 0]
    assert latent_fit.shared_out(worth, [16, 10, 16], 1000) == [2, 3, 0]  # more bytes would not be better
    assert latent_fit.shared_out(worth, [16, 10, 16], 46) == [1, 3, 0]
    assert latent_fit.shared_out(worth, [16, 10, 16], 26) == [1, 1, 0]
    assert latent_fit.shared_out(worth, [16, 10, 16], 3) == [0, 0, 0]


# ---- the network and its prior ----


@pytest.mark.parametrize("layout", [TINY, Layout(1, 1, 64, 4, (4, 3, 3), (3, 2, 2), 2, 4, (2, 2)), CUBES])
def test_training_begins_with_a_block_transform(layout: Layout) -> None:
    """The network without its coordinate part gives back what `analyse` was given."""
    layout.check()
    shape = (3, layout.side**layout.axes, layout.channels)
    values = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    shared = network.start(layout, 0)
    shared = shared._replace(bases=tuple(0 * base for base in shared.bases))
    own = [part.reshape(3, -1) for part in network.analyse(layout, values)]
    rest = np.zeros((3, layout.n_latents - sum(part.shape[1] for part in own)), np.float32)
    again = network.evaluate(layout, shared, np.concatenate([*own, rest], 1).astype(np.float32), np)
    assert np.abs(again - values).max() < 1e-5


def test_a_prior_as_bytes(home: Path) -> None:
    data = (home / "tiny.inrprior").read_bytes()
    prior = latent_prior.loads(data)
    assert latent_prior.dumps(prior) == data
    assert latent_prior.find(latent_prior.identity(data)).layout == TINY
    assert page_combiner.prior_name(data) == latent_prior.identity(data)
    for damaged in (b"", data[:100], data[:-30], b"PK" + data[2:40]):
        with pytest.raises(ValueError):
            latent_prior.loads(damaged)
    more = dataclasses.replace(prior, order=(prior.order[0] + TINY.n_latents, *prior.order[1:]))
    with pytest.raises(ValueError):
        latent_prior.loads(latent_prior.dumps(more))


def test_training_goes_on_where_it_was(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(prior_training.LAYOUTS, "image", TINY)
    monkeypatch.setattr(prior_training, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(prior_training, "BITS", 8)
    monkeypatch.setattr(prior_training, "BLOCK_BITS", 7.6)

    def killed(report: inrzip.prior_training.Progress) -> None:
        if report.fraction > 0.6:
            raise RuntimeError

    path = tmp_path / "again.inrprior"
    how = {"patches": 120, "rounds": 6}
    with pytest.raises(RuntimeError):
        inrzip.train_prior(home / "media", path, progress=killed, **how)
    assert inrzip.train_prior(home / "media", path, **how).resumed
    assert not path.with_name(path.name + ".part").exists()
    once, again = (latent_prior.loads(p.read_bytes()) for p in (home / "tiny.inrprior", path))
    pairs = zip(jax.tree.leaves(once.shared), jax.tree.leaves(again.shared), strict=True)
    assert all(np.allclose(a, b, atol=1e-2) for a, b in pairs)


def test_what_cannot_be_learned_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train-prior", str(tmp_path), "-o", str(tmp_path / "x.inrprior")]) == 1
    assert "holds no image" in capsys.readouterr().err
    assert cli.main(["train-prior", str(tmp_path)]) == 2
    assert cli.main(["train-prior", str(tmp_path), "-o", "a/b"]) == 1
    assert "no name for a prior" in capsys.readouterr().err


# ---- files ----


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 3), (13, 17, 3), (9, 5, 1), (1, 1, 3)])
def test_a_picture_there_and_back(tmp_path: Path, home: Path, height: int, width: int, channels: int) -> None:
    """The page's decoder, which knows docs/format.md alone, makes the same of the file."""
    [picture] = pictures(1, height, width)
    picture = picture if channels == 3 else picture[..., 0]
    iio.imwrite(tmp_path / "a.png", picture)
    arguments = ["compress", str(tmp_path / "a.png"), "--recipe", "combiner", "--prior", "tiny", "-q", "75", "--quiet"]
    assert cli.main(arguments) == 0
    assert cli.main(["decompress", str(tmp_path / "a.inrz"), "-o", str(tmp_path / "b.png"), "--quiet"]) == 0
    again = iio.imread(tmp_path / "b.png")
    assert again.shape == picture.shape
    error = np.mean((again.astype(float) - picture) ** 2)
    assert error < 0.4 * np.mean((picture - 128.0) ** 2) + 30
    with inrzip.Reader(tmp_path / "a.inrz") as reader:
        payload, values = reader.container.segment(0), reader.segment(0).render(Grid((height, width), 1).axes())
        assert np.array_equal(reader[0:1, -1:], reader[...][0:1, -1:])
    prior = (home / "tiny.inrprior").read_bytes()
    assert np.abs(page_combiner.decode(payload, prior, (height, width), channels) - values).max() < 1e-4


@pytest.mark.parametrize("shape", [(8, 8), (13, 17)])
def test_bytes_are_those_of_blocks_and_a_head(tmp_path: Path, home: Path, shape: tuple[int, int]) -> None:
    """Nothing else is in a file: 17 bytes around one patch; around several 17, and at most 2 for each."""
    iio.imwrite(tmp_path / "a.png", pictures(1, *shape)[0])
    arguments = ["compress", str(tmp_path / "a.png"), "--recipe", "combiner", "--prior", "tiny", "-q", "75", "--quiet"]
    assert cli.main(arguments) == 0
    prior = latent_prior.loads((home / "tiny.inrprior").read_bytes())
    with inrzip.Reader(tmp_path / "a.inrz") as reader:
        payload = reader.container.segment(0)
        patches = reader.segment(0)
        assert isinstance(patches, Patches) and isinstance(patches.coded, Decoder)
        coded = patches.coded._coded
    bits = sum(len(block) * (prior.bits - patch.saved) for patch in coded for block in patch.blocks)
    assert bits > 0
    cursor = wire.Cursor(payload)
    cursor.varint()
    heads = 0 if len(coded) == 1 else cursor.varint() - 1
    assert (tmp_path / "a.inrz").stat().st_size == 17 + heads + -(-bits // 8)
    assert (shape == (8, 8) and not heads) or 0 < heads < 2 * len(coded)


def test_learned_numbers() -> None:
    """There and back, by the page's decoder too; in few bytes where they repeat; cut or prolonged streams are found."""
    rng = np.random.default_rng(0)
    pairs = [(f"kind {i % 3}", int(rng.integers(1 << int(rng.integers(1, 10 + 6 * (i % 3)))))) for i in range(900)]
    data = encode_numbers(pairs)
    decoder, page = NumberDecoder(data), page_combiner.LearnedNumbers(data)
    assert [(kind, decoder.number(kind)) for kind, _ in pairs] == pairs
    decoder.finish()
    assert [(kind, page.read(kind)) for kind, _ in pairs] == pairs
    assert len(encode_numbers([("same", 5)] * 10_000)) < 10_000 * 5 * 0.006 / 8 + 20
    assert [NumberDecoder(encode_numbers([("a", n)])).number("a") for n in (0, 2**32 - 2)] == [0, 2**32 - 2]
    for damaged in (data[:-40], data + bytes(8), b"\xff" * 300):
        with pytest.raises(CorruptFile):
            decoder = NumberDecoder(damaged)
            for kind, _ in pairs:
                decoder.number(kind)
            decoder.finish()


def test_many_patches_that_are_all_alike(home: Path) -> None:
    """They are told of in few bytes, and found again; but not more than the bytes can tell of."""
    data = (home / "tiny.inrprior").read_bytes()
    name, prior = latent_prior.identity(data), latent_prior.loads(data)
    assert isinstance(prior, latent_prior.LatentPrior)
    payload = encode_payload(name, prior, [Coded(2, [(7,)] if i == 5 else []) for i in range(MAX_PATCHES)])
    assert len(payload) < MAX_PATCHES * 5 * 0.008 / 8 + 30
    grid = Grid((8, 8 * MAX_PATCHES), 3)
    row = decode_network(payload, CombinerConfig.number, grid).render((np.arange(8), np.arange(64)))
    assert np.ptp(row[:, :8] - row[:, 8:16]) == 0 and np.ptp(row[:, 32:40] - row[:, 40:48]) > 0
    with pytest.raises(CorruptFile, match="cannot be"):
        decode_network(payload[:9], CombinerConfig.number, grid)


@pytest.mark.parametrize("n", [2, 100, 1000, 2000, MAX_PATCHES])
def test_patches_of_the_first_level_without_blocks(home: Path, n: int) -> None:
    """All learned bits are 1: next to nothing is written, and found again."""
    data = (home / "tiny.inrprior").read_bytes()
    name, prior = latent_prior.identity(data), latent_prior.loads(data)
    assert isinstance(prior, latent_prior.LatentPrior)
    payload = encode_payload(name, prior, [Coded(0, [])] * n)
    grid = Grid((8, 8 * n), 3)
    values = decode_network(payload, CombinerConfig.number, grid).render((np.arange(8), np.arange(16)))
    assert np.ptp(values[:, :8] - values[:, 8:]) == 0
    paged = page_combiner.decode(payload, data, (8, 8 * 2), 3) if n == 2 else values
    assert np.abs(paged - values).max() < 1e-4


def test_more_blocks_than_there_are_bytes(home: Path) -> None:
    """Nothing is made of them."""
    data = (home / "tiny.inrprior").read_bytes()
    name, prior = latent_prior.identity(data), latent_prior.loads(data)
    assert isinstance(prior, latent_prior.LatentPrior)
    payload = encode_payload(name, prior, [Coded(0, [(1,)] * len(prior.sizes[0]))] * 900)
    cut = payload[:60]
    grid = Grid((8, 8 * 900), 3)
    with pytest.raises(CorruptFile, match="blocks in"):
        decode_network(cut, CombinerConfig.number, grid)
    decode_network(cut, CombinerConfig.number, grid, partial=True)


def test_a_payload_that_is_too_long(home: Path) -> None:
    """It goes without the last blocks, down to the size."""
    data = (home / "tiny.inrprior").read_bytes()
    name, prior = latent_prior.identity(data), latent_prior.loads(data)
    assert isinstance(prior, latent_prior.LatentPrior)
    most = min(map(len, prior.sizes))
    coded = [Coded(i % 3, [(i,)] * (most - i % 2)) for i in range(9)]
    whole = encode_payload(name, prior, coded)
    for size in (len(whole), len(whole) - 1, len(whole) // 2, 30):
        found = shortened(name, prior, coded, size)
        assert size - 6 < len(found) <= size
        decode_network(found, CombinerConfig.number, Grid((24, 24), 3))


SOUNDS = Layout(1, 1, 16, 4, (4, 3), (3, 2), 2, 4, (3, 2))


def test_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prior learned from a few sounds, one of them there and back, and the page's decoder."""
    monkeypatch.setitem(prior_training.LAYOUTS, "audio", SOUNDS)
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(posterior_goals, "STEPS", (100,) * 9)
    (tmp_path / "sounds").mkdir()
    times = np.arange(700) / 8000
    for i in range(4):
        wave = 0.3 * np.sin(2 * np.pi * (300 + 80 * i) * times) * np.exp(-times * 20 * i)
        soundfile.write(tmp_path / "sounds" / f"{i}.wav", wave, 8000, subtype="PCM_16")
    learn = ["train-prior", str(tmp_path / "sounds"), "--kind", "audio", "-o", str(tmp_path / "hum.inrprior")]
    assert cli.main([*learn, "--patches", "120", "--rounds", "4", "--quiet"]) == 0
    source, packed, again = tmp_path / "sounds" / "1.wav", tmp_path / "a.inrz", tmp_path / "b.wav"
    compress = ["compress", str(source), "-o", str(packed), "--recipe", "combiner", "--prior", "hum", "-q", "75"]
    assert cli.main([*compress, "--quiet"]) == 0
    assert cli.main(["decompress", str(packed), "-o", str(again), "--quiet"]) == 0
    (wanted, rate), (found, same_rate) = soundfile.read(source), soundfile.read(again)
    assert rate == same_rate and found.shape == wanted.shape
    assert np.mean((found - wanted) ** 2) < 0.3 * np.mean(wanted**2)
    with inrzip.Reader(packed) as reader:
        assert np.array_equal(reader[100:120], reader[...][100:120])
        assert reader.container.header.n_segments == 1
        payload, values = reader.container.segment(0), reader.segment(0).render(Grid((700,), 1).axes())
    paged = page_combiner.decode(payload, (tmp_path / "hum.inrprior").read_bytes(), (700,), 1)
    assert np.abs(paged - values).max() < 1e-4


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the priors `clips` and `blocks`, learned from small videos, pictures and volumes."""
    folder = tmp_path_factory.mktemp("cubes")
    for name in ("clips", "blocks"):
        (folder / name).mkdir()
    for i, picture in enumerate(pictures(4, 24, 24)):
        iio.imwrite(folder / "clips" / f"{i}.png", picture)
        np.save(folder / "blocks" / f"{i}.npy", np.stack([np.roll(picture[..., 0], k, 0) for k in range(6)]))
        np.save(folder / "blocks" / f"flat{i}.npy", picture[..., 0])
    write_film(folder / "clips" / "film.mkv", sound=False)
    with pytest.MonkeyPatch.context() as patch:
        for kind, name, channels in (("video", "clips", 3), ("volume", "blocks", 1)):
            layout = dataclasses.replace(CUBES, channels=channels, grids=(8 * channels, 7 * channels))
            patch.setitem(prior_training.LAYOUTS, kind, layout)
            how = ["-o", str(folder / f"{name}.inrprior"), "--patches", "120", "--rounds", "4", "--quiet"]
            assert cli.main(["train-prior", str(folder / name), "--kind", kind, *how]) == 0
    return folder


@pytest.mark.parametrize("shape", [(1, 6, 5), (9, 4, 11)])
@pytest.mark.parametrize("kind", ["video", "volume"])
def test_cubes_of_videos_and_volumes(
    tmp_path: Path, cubes: Path, monkeypatch: pytest.MonkeyPatch, kind: str, shape: tuple[int, int, int]
) -> None:
    """There and back, frames alone, and the page's decoder."""
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(cubes))
    monkeypatch.setattr(posterior_goals, "STEPS", (100,) * 9)
    source, prior = tmp_path / ("a.mkv" if kind == "video" else "a.npy"), "clips" if kind == "video" else "blocks"
    if kind == "video":
        write_film(source, shape[0], (shape[1], shape[2]), sound=False)
    else:
        np.save(source, np.stack([np.roll(pictures(1, *shape[1:])[0][..., 0], k, 1) for k in range(shape[0])]))
    again = tmp_path / f"b{source.suffix}"
    arguments = ["compress", str(source), "-o", str(tmp_path / "a.inrz"), "--recipe", "combiner", "--prior", prior]
    assert cli.main([*arguments, "-q", "90", "--quiet"]) == 0
    assert cli.main(["decompress", str(tmp_path / "a.inrz"), "-o", str(again), "--quiet"]) == 0
    assert inrzip.read_signal(again).spec.shape == shape
    with inrzip.Reader(tmp_path / "a.inrz") as reader:
        channels = reader.spec.channels
        payload, values = reader.container.segment(0), reader.segment(0).render(Grid(shape, 1).axes())
        assert np.array_equal(reader[-1:], reader[...][-1:])
        signal = inrzip.read_signal(source)
        samples = signal.read(0, shape[0]).astype(float)
        error = np.mean((reader[...].reshape(samples.shape) - samples) ** 2)
    assert error < 0.5 * np.var(samples) + 30
    paged = page_combiner.decode(payload, (cubes / f"{prior}.inrprior").read_bytes(), shape, channels)
    assert np.abs(paged - values).max() < 1e-4


def test_what_a_camera_sees() -> None:
    """Of a picture: some clips stand still, others move; none shows what the picture does not have."""
    rng = np.random.default_rng(0)
    picture = rng.uniform(0.2, 0.7, (40, 60, 3)).astype(np.float32)
    clips = [clip(picture[None], 16, rng).reshape(16, 16, 16, 3) for _ in range(40)]
    assert all(found.min() > 0.19 and found.max() < 0.71 for found in clips)
    still = [bool((found == found[:1]).all()) for found in clips]
    assert 0 < sum(still) < len(still)
    narrow = clip(picture[None, :16, :16], 16, rng)
    assert narrow.shape == (4096, 3) and np.isfinite(narrow).all()


@pytest.mark.parametrize(
    ("kind", "shape", "channels"),
    [
        (Kind.VIDEO, (2000, 288, 352), 3), (Kind.VIDEO, (40000, 17, 17), 4), (Kind.VIDEO, (3, 1080, 1920), 1),
        (Kind.VOLUME, (20000, 36, 36), 3), (Kind.VOLUME, (66, 1000, 1000), 1),
    ],
)  # fmt: skip
def test_segments_of_cubes(kind: Kind, shape: tuple[int, ...], channels: int) -> None:
    """Whole cubes, few enough to be coded, and held."""
    length = segment_length(Spec(kind, shape, channels, "u1", 0, 255, {}), RECIPES["combiner"])
    layers, one = divmod(length, 16)
    cubes = layers * -(-shape[1] // 16) * -(-shape[2] // 16) * (channels if kind == Kind.VOLUME else -(-channels // 3))
    assert one == 0 and ((cubes <= MAX_PATCHES and cubes * 16**3 * 4 < 250e6) or layers == 1)


def test_a_video_of_several_segments(tmp_path: Path, cubes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its sound, in a collection of two: videos are not fitted side by side."""
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(cubes))
    monkeypatch.setattr(posterior_goals, "STEPS", (20,) * 9)
    monkeypatch.setattr(plan, "CUBES_SEGMENT_BYTES", 1)
    sources = [str(write_film(tmp_path / f"{name}.mkv", n, (8, 9))) for name, n in (("a", 19), ("b", 3))]
    arguments = ["compress", *sources, "-o", str(tmp_path / "c.inrz"), "--recipe", "combiner", "--prior", "clips"]
    assert cli.main([*arguments, "-q", "80", "--quiet"]) == 0
    with inrzip.open_all(tmp_path / "c.inrz") as both:
        first, second = both
        assert [member.container.header.n_segments for member in (first, second)] == [2, 1]
        assert first[17:].shape == (2, 8, 9, 3) and first.container.n_tracks == 1
    with pytest.raises(InrzipError, match="one by one"):
        inrzip.compress_together([("a", Path(sources[0]))], tmp_path / "d.inrz", prior="clips")


def test_what_a_decoder_needs(cubes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches are evaluated whole, however little of them there is."""
    data = (cubes / "clips.inrprior").read_bytes()
    name, prior = latent_prior.identity(data), latent_prior.loads(data)
    assert isinstance(prior, latent_prior.LatentPrior)
    payload = encode_payload(name, prior, [Coded(0, [(1,)])] * 512)
    grid, points = Grid((2048, 1, 1), 3), 512 * 4**3
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(cubes))
    assert decode_network(payload, CombinerConfig.number, grid, 10_000 * points).held_bytes() >= 4**3 * 12
    with pytest.raises(LimitExceeded):
        decode_network(payload, CombinerConfig.number, grid, 1_000 * points)


def test_a_prior_of_other_axes(tmp_path: Path, cubes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "line.npy", np.arange(100, dtype=np.uint8))
    arguments = ["compress", str(tmp_path / "line.npy"), "--kind", "volume", "--recipe", "combiner"]
    assert cli.main([*arguments, "--prior", str(cubes / "blocks.inrprior")]) == 1
    assert "signals of 3 axes, not of 1" in capsys.readouterr().err


def random_block(rng: np.random.Generator, size: int, bits: int, depth: int = 0) -> tuple[int, ...]:
    """Indices of a block that is split, often more than once."""
    split, halves = (1 << bits) - 1, [1] if size == 1 else [-(-size // 2), size // 2]
    if depth == rec.MOST_WIDENED or rng.random() < 0.4:
        return (int(rng.integers(split)),)
    return (split, *(i for half in halves for i in random_block(rng, half, bits, depth + 1)))


@pytest.mark.parametrize("shape", [(8, 8), (13, 17)])
def test_blocks_that_are_split(home: Path, shape: tuple[int, int]) -> None:
    """Are read as the page says, and one by one from a file cut short; an older file has none."""
    name, prior = latent_prior.named("tiny", "image")
    grid, rng = Grid(shape, 3), np.random.default_rng(1)
    n, level = int(np.prod(patch_counts(shape, prior.layout.patch))), len(prior.weights) - 1
    coded = []
    for i in range(n):
        saved = min(i % 3, prior.bits - LEAST_INDEX_BITS)
        count = int(rng.integers(1, len(prior.sizes[level]) + 1))
        blocks = [random_block(rng, int(size), prior.bits - saved) for size in prior.sizes[level][:count]]
        coded.append(Coded(level, blocks, saved))
    payload = encode_payload(name, prior, coded)
    assert any(len(block) > 3 for patch in coded for block in patch.blocks)
    network = decode_network(payload, CombinerConfig.number, grid)
    assert isinstance(network, Patches)
    wanted = decode_patches(prior, coded)
    first = network.render(grid.axes())[:8, :8]
    assert np.abs(first - wanted[0].reshape(*prior.layout.patch, 3)[: first.shape[0], : first.shape[1]]).max() < 1e-5
    paged = page_combiner.decode(payload, (home / "tiny.inrprior").read_bytes(), shape, 3)
    assert np.abs(paged - network.render(grid.axes())).max() < 1e-3 * np.abs(paged).max()
    for end in range(len(payload) - 1, len(payload) // 2, -3):
        decode_network(payload[:end], CombinerConfig.number, grid, partial=True).render(grid.axes())
    with pytest.raises(CorruptFile):
        decode_network(payload, CombinerConfig.number, grid, version=5)


def test_a_latent_wider_than_any(home: Path) -> None:
    split = (1 << 10) - 1
    scales = np.full(1, 127, np.int8)
    assert np.isfinite(rec.decoded(3, [split] * rec.MOST_WIDENED + [5], 10, scales)).all()
    with pytest.raises(CorruptFile, match="wider than any"):
        rec.decoded(3, [split] * (rec.MOST_WIDENED + 1) + [5], 10, scales)


def test_far_latents_are_reached() -> None:
    """Where no candidate is near, a block is split, if there is room for it."""
    mean, deviation = np.array([0.3, 40.0, -0.5, 0.2]), np.full(4, 0.2)
    search = Search(0, mean, deviation, 1.0, 12, 12, 4)
    indices, lost = search.best(rec.Part(0, 4, 0), np.inf)
    units, wanted = rec.decoded(0, indices, 12, np.zeros(4, np.int8)), mean * 25 / 24
    assert len(indices) > 3 and np.abs(units - wanted).max() < 0.3
    alone, more = search.best(rec.Part(0, 4, 0), 20)
    assert len(alone) == 1 and more > lost + 100
    assert len(Search(0, mean / 100, deviation, 1.0, 12, 12, 4).best(rec.Part(0, 4, 0), np.inf)[0]) == 1


def test_sizes_and_qualities(tmp_path: Path) -> None:
    """A size is not exceeded; a quality is reached, or it is said that it is not."""
    iio.imwrite(tmp_path / "a.png", pictures(1, 16, 16)[0])
    how = {"recipe": "combiner", "prior": "tiny", "overwrite": True}
    found = [inrzip.compress(tmp_path / "a.png", tmp_path / "a.inrz", target_size=size, **how) for size in (40, 90)]
    assert found[0].bytes <= 40 and found[0].bytes < found[1].bytes <= 90
    assert min(report.quality["psnr_db"] for report in found) > 15
    report = inrzip.compress(tmp_path / "a.png", tmp_path / "a.inrz", target_psnr=20, **how)
    assert report.quality["psnr_db"] >= 20 or report.note
    with pytest.raises(InrzipError, match="cannot hold"):
        inrzip.compress(tmp_path / "a.png", tmp_path / "a.inrz", target_size=26, **how)


def test_a_file_cut_short(tmp_path: Path) -> None:
    """Of blocks in order of importance, those that are there."""
    iio.imwrite(tmp_path / "a.png", pictures(1, 12, 9)[0])
    inrzip.compress(tmp_path / "a.png", tmp_path / "a.inrz", recipe="combiner", prior="tiny", quality=80)
    data = (tmp_path / "a.inrz").read_bytes()
    original, errors = iio.imread(tmp_path / "a.png").astype(float), []
    for end in (len(data), len(data) * 3 // 4, 24):
        with inrzip.Reader(data[:end], partial=True) as reader:
            errors.append(np.mean((reader[...] - original) ** 2))
        if end < len(data):
            with pytest.raises(CorruptFile):
                inrzip.Reader(data[:end])
    assert errors[0] < errors[1] < errors[2]


def test_a_prior_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    iio.imwrite(tmp_path / "a.png", pictures(1, 8, 8)[0])
    inrzip.compress(tmp_path / "a.png", recipe="combiner", prior="tiny")
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(tmp_path))
    latent_prior.find.cache_clear()
    assert cli.main(["decompress", str(tmp_path / "a.inrz"), "-o", str(tmp_path / "b.png")]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "which is not here; put its file" in told
    with pytest.raises(InrzipError, match="there is no such prior"):
        inrzip.compress(tmp_path / "a.png", tmp_path / "c.inrz", recipe="combiner", prior="tiny")
    with pytest.raises(InrzipError, match="takes no prior"):
        inrzip.compress(tmp_path / "a.png", tmp_path / "c.inrz", recipe="siren", prior="tiny")


def test_damaged_payloads(home: Path) -> None:
    data = (home / "tiny.inrprior").read_bytes()
    prior, name = latent_prior.loads(data), latent_prior.identity(data)
    one, two = Grid((8, 8), 3), Grid((8, 16), 3)
    good = encode_payload(name, prior, [Coded(0, [(5,)])])
    decode_network(good, CombinerConfig.number, one)
    levels = len(prior.weights)
    several = [Coded(0, [(5,)]), Coded(1, [])]
    bad = [
        (good, two),
        (good, Grid((8,), 3)),
        (good, Grid((8, 8), 2)),
        (encode_payload(name, prior, [Coded(0, [(5,)], 1)]), one),
        (encode_payload(name, prior, [Coded(levels - 1, [], 200)]), one),
        (encode_payload(name, prior, [Coded(0, [(0,)] * (len(prior.sizes[0]) + 1))]), one),
        (encode_payload(name, prior, several)[:-1], two),
        (encode_payload(name, prior, several) + b"\0", two),
        (good, Grid((1 << 20, 1 << 20), 3)),
    ]
    for payload, grid in bad:
        with pytest.raises(InrzipError):
            decode_network(payload, CombinerConfig.number, grid, 1 << 40)


def test_a_collection_fitted_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_fitted_together(tmp_path, capsys, pictures(3, 10, 8), "combiner", "tiny")


def test_patches_of_any_size() -> None:
    values = np.arange(5 * 7 * 2, dtype=np.float32).reshape(5, 7, 2)
    parts, inside = cut(values, (4, 4))
    assert parts.shape == (4, 16, 2) and inside.sum() == 35
    assert np.array_equal(parts[1].reshape(4, 4, 2)[:, :3], values[:4, 4:])
    assert [p.stop - p.start for p in planes_of(2, 1)] == [1, 1]
    assert [p.stop - p.start for p in planes_of(5, 3)] == [3, 1, 1]


@pytest.mark.parametrize("kind", latent_prior.PACKAGED)
def test_the_packages_prior(kind: str) -> None:
    """It is there, small, and decodes what is coded with it."""
    name, prior = latent_prior.named(None, kind)
    assert len(latent_prior.dumps(prior)) < 1 << 20
    values = decode_patches(prior, [Coded(len(prior.weights) - 1, [(3,), (1,), (4,)])])
    assert np.isfinite(values).all() and latent_prior.find(name) is not None
