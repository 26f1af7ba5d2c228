"""PFNR's network next to docs/format.md, and videos in sequence: at random, appended, damaged and hostile."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inrzip
from inrzip import Kind, Spec
from inrzip.architectures.base import Grid, parameters, predict
from inrzip.architectures.nerv import NervConfig
from inrzip.architectures.pfnr import Choosing, Fourier, Pfnr, PfnrConfig, Subnetwork, is_shared
from inrzip.codecs.levels import UniformSteps
from inrzip.codecs.uniform import nearest_step_index
from inrzip.codecs.weights import AUTOMATIC, QuantisedTensor
from inrzip.collection import CollectionFile, write_collection
from inrzip.container import write_container
from inrzip.errors import CorruptFile, InrzipError
from inrzip.header import Header
from inrzip.network import encode_network, quantise_network
from inrzip.recipes import RECIPES
from inrzip.video_sequence import CHOICE_STEP, Pool, decode_video, encode_video
from inrzip.weight_codecs import CODECS, choose_codec
from tests import common, page_pfnr
from tests.common import check_architecture, check_hostile_config
from tests.page_decoder import read_config, read_tensors
from tests.test_backbones import noisy

VAST = 2**40
GRID = Grid((3, 12, 14), 3)
LARGER = Grid((2, 15, 26), 1)
VERSION = 4


def config(**changes: Any) -> PfnrConfig:
    return dataclasses.replace(PfnrConfig(0, 50, 2, 5, 4, 3, 3, 1, (3, 2)), **changes)


def spec(grid: Grid) -> Spec:
    return Spec(Kind.VIDEO, grid.shape, grid.channels, "u1", 0.0, 255.0, {"rate": (25, 1), "format": ".mp4"})


def coders(tensors: Any) -> list[Any]:
    return [make() for make in AUTOMATIC]


def none_earlier(before: int) -> Pool:
    raise AssertionError(before)


# ---- the network ----


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 5), (3, 17, 13)])
def test_contract(shape: tuple[int, ...]) -> None:
    check_architecture(PfnrConfig, shape)


@pytest.mark.parametrize("channels", [1, 3])
def test_solve_comes_near(channels: int) -> None:
    grid = Grid((4, 40, 60), channels)
    for asked in (15_000, 60_000):
        found = PfnrConfig.solve(grid, asked, share=50)
        found.check(grid)
        assert abs(found.n_parameters(grid) - 2 * asked) < 0.6 * asked
    assert PfnrConfig.solve(grid, 15_000, before=3, modes=4).before == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 7), (8, 3)])
def test_the_operator_is_that_of_the_page_and_of_fft(shape: tuple[int, int]) -> None:
    rng, modes, s = np.random.default_rng(0), 2, 3
    operator = Fourier(3, 4, modes, jax.random.key(0))
    real, imaginary = np.asarray(operator.real, "f8"), np.asarray(operator.imaginary, "f8")
    x = rng.normal(0, 1, (*shape, 3)).astype("f4")
    found = np.asarray(jax.jit(lambda x: operator(x, s))(x[None]))[0]
    np.testing.assert_allclose(found, page_pfnr.operator(x, real, imaginary, s), atol=1e-5)
    if min(shape) > 2 * modes:
        spectrum = np.fft.rfft2(x, axes=(0, 1), norm="forward")
        made = np.zeros((shape[0] * s, shape[1] * s // 2 + 1, 4), complex)
        for u, f in enumerate((0, 1, -2, -1)):
            for v in range(modes):
                made[f, v] = spectrum[f, v] @ (real[u, v] + 1j * imaginary[u, v])
        size = shape[0] * s, shape[1] * s
        np.testing.assert_allclose(found, np.fft.irfft2(made, s=size, axes=(0, 1), norm="forward"), atol=1e-5)


@pytest.mark.parametrize("of", [config(), config(modes=1, strides=(4,), shuffle=2), config(modes=3, channels=2)])
def test_values_are_those_of_the_page(of: PfnrConfig) -> None:
    network = noisy(of, GRID)
    weights = [np.asarray(leaf, np.float64) for leaf in parameters(network)]
    *fields, strides = (getattr(of, name) for name in of.field_is_tuple())
    found = np.asarray(predict(network, jnp.asarray([0.0, 1.4])))
    for time, frame in zip((0.0, 1.4), found, strict=True):
        expected = page_pfnr.frame(fields, list(strides), weights, time, GRID.shape)
        assert expected.std() > 0.02
        np.testing.assert_allclose(frame, expected, atol=1e-4)


def test_without_the_operator_it_is_nerv() -> None:
    of = config()
    network = noisy(of, GRID)
    leaves, treedef = jax.tree.flatten(network)
    silent = jax.tree.unflatten(
        treedef, [*leaves[:-4], jnp.zeros_like(leaves[-4]), jnp.zeros_like(leaves[-3]), *leaves[-2:]]
    )
    nerv = NervConfig(5, 4, 3, 3, 1, (3, 2)).build(GRID, jax.random.key(0))
    same = jax.tree.unflatten(jax.tree.structure(nerv), [*leaves[:-4], *leaves[-2:]])
    times = jnp.asarray([0.0, 1.4])
    np.testing.assert_allclose(predict(silent, times), predict(same, times), atol=1e-6)


# ---- choosing ----


def kept_values(network: Pfnr, seed: int, part: float) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    pairs = zip(parameters(network), is_shared(network), strict=True)
    return [np.where(rng.random(x.shape) < part * one, 1 + rng.random(x.shape), 0).astype("f4") for x, one in pairs]


def test_a_share_of_each_layer_is_chosen() -> None:
    network = config(share=30).build(GRID, jax.random.key(0))
    kept = kept_values(network, 1, 0.5)
    choosing = Subnetwork(network, kept).training_module(jax.random.key(0))
    assert isinstance(choosing, Choosing)
    made, penalty = choosing.prepare()
    assert penalty == 0
    module = choosing.finish(None, 0, 1)
    assert isinstance(module, Subnetwork)
    for array, whole, used, is_one in zip(
        parameters(made), parameters(module.whole()), module.used, is_shared(network), strict=True
    ):
        np.testing.assert_allclose(array, whole, atol=1e-6)
        assert int(used.sum()) == (max(1, used.size * 30 // 100) if is_one else used.size)
    for own, old, used in zip(parameters(module), kept, module.used, strict=True):
        assert not np.asarray(own)[(old != 0) | ~np.asarray(used)].any()
    whole = parameters(module.whole())
    for found, old, used in zip(whole, kept, module.used, strict=True):
        reused = (old != 0) & np.asarray(used)
        np.testing.assert_array_equal(np.asarray(found)[reused], old[reused])


def test_what_is_kept_does_not_move_and_scores_do() -> None:
    from inrzip.fitting import Schedule, fit
    from inrzip.segment import make_examples

    network = config(share=50).build(GRID, jax.random.key(0))
    kept = kept_values(network, 2, 0.4)
    samples = np.random.default_rng(0).integers(0, 255, (*GRID.shape, 3)).astype("u1")
    start = Subnetwork(network, kept).training_module(jax.random.key(0))
    fitted = fit(start, make_examples(RECIPES["pfnr"], samples, 0, 255), Schedule(12, 0.02))
    assert isinstance(start, Choosing) and isinstance(fitted, Choosing)
    for bits, old in zip(fitted.network.kept, kept, strict=True):
        np.testing.assert_array_equal(np.asarray(bits).view("f4"), old)
    assert all(np.abs(new - old).max() > 1e-3 for new, old in zip(fitted.scores, start.scores, strict=True))


def test_sensitivity_is_of_the_own_weights() -> None:
    network = config().build(GRID, jax.random.key(0))
    kept = kept_values(network, 3, 0.5)
    module = Subnetwork(network, kept)
    found = module.per_weight([1.0] * len(kept))
    for mean, old in zip(found, kept, strict=True):
        assert mean == pytest.approx(1 / max((old == 0).mean(), 1 / old.size), rel=1e-5)


# ---- files ----


def quantised(module: Subnetwork) -> list[QuantisedTensor]:
    return quantise_network(module, [nearest_step_index(0.02 + 0.01 * (i % 2)) for i in range(len(module.kept))])


def random_video(grid: Grid, before: int, pool: Pool | None, seed: int) -> tuple[bytes, Pool, Subnetwork]:
    """A member's bytes, the store after it, and what it was made of."""
    rng = np.random.default_rng(seed)
    of = config(before=before)
    network = noisy(of, grid)
    shapes = [leaf.shape for leaf in parameters(network)]
    kept = [np.zeros(shape, "f4") for shape in shapes] if pool is None else pool.kept(shapes)
    shared = is_shared(network)
    used = [rng.random(shape) < (0.4 if one else 1) for shape, one in zip(shapes, shared, strict=True)]
    leaves = [np.asarray(x) * u * (old == 0) for x, u, old in zip(parameters(network), used, kept, strict=True)]
    module = Subnetwork(jax.tree.unflatten(jax.tree.structure(network), list(map(jnp.asarray, leaves))), kept, used)
    tensors = quantised(module)
    payload = encode_video(of, module, tensors, coders)
    _, after = decode_video(payload, grid, lambda _: pool, None, VERSION)  # type: ignore[arg-type, return-value]
    stored = jax.tree.unflatten(jax.tree.structure(module.network), [jnp.asarray(t.values()) for t in tensors])
    return (
        write_container(Header(spec(grid), of.number, grid.shape[0]), [payload]),
        after,
        Subnetwork(stored, kept, used),
    )


def sequence() -> tuple[list[tuple[str, bytes]], list[Subnetwork], list[Grid]]:
    """Three videos, the third of another size, and a picture among them."""
    picture = common.random_file(Spec(Kind.IMAGE, (5, 6), 3, "u1", 0.0, 255.0, {}), common_siren())
    first, pool, a = random_video(GRID, 0, None, 0)
    second, pool, b = random_video(GRID, 1, pool, 1)
    third, pool, c = random_video(LARGER, 2, pool, 2)
    return [("a", first), ("b", second), ("picture", picture), ("c", third)], [a, b, c], [GRID, GRID, LARGER]


def common_siren() -> Any:
    from inrzip.architectures.siren import SirenConfig

    return SirenConfig


MEMBERS, MODULES, GRIDS = sequence()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.inrz"
    write_collection(path, MEMBERS)
    return path


def test_members_are_what_was_coded(film: Path) -> None:
    with inrzip.open_all(film) as members:
        for name, module in zip(("a", "b", "c"), MODULES, strict=True):
            with members[name] as reader:
                found = np.asarray(reader)
            values = np.asarray(predict(module, jnp.arange(float(module.grid.shape[0])))) * 255
            assert np.abs(found.reshape(values.shape) - values).max() <= 0.51
        np.testing.assert_array_equal(np.asarray(members[2]), np.asarray(inrzip.open(MEMBERS[2][1])))
        reused = [
            np.asarray(used)[np.asarray(bits) != 0] for used, bits in zip(MODULES[1].used, MODULES[1].kept, strict=True)
        ]
        assert 0.3 < np.concatenate(reused).mean() < 0.5


def test_random_access_and_order(film: Path) -> None:
    """Any member first; frames and regions are those of the whole."""
    with inrzip.open_all(film) as members:
        whole = [np.asarray(reader) for reader in members]
    for order in ((3, 0, 1), (1, 3), (3,), (0, 3, 1, 3)):
        with inrzip.open_all(film) as members:
            for number in order:
                np.testing.assert_array_equal(np.asarray(members[number]), whole[number])
    with inrzip.open_all(film) as members, members["c"] as reader:
        np.testing.assert_array_equal(reader[1, 3:9, 4:], whole[3][1, 3:9, 4:])


def test_appending_changes_nothing(film: Path, tmp_path: Path) -> None:
    """After each member that is added, all that was there decodes to the very same samples."""
    seen: list[np.ndarray] = []
    for n in range(1, len(MEMBERS) + 1):
        path = tmp_path / f"{n}.inrz"
        if n == 1:
            write_collection(path, MEMBERS[:1])
        else:
            with CollectionFile.open(tmp_path / f"{n - 1}.inrz") as before:
                write_collection(path, [MEMBERS[n - 1]], before)
        with inrzip.open_all(path) as members:
            found = [np.asarray(reader) for reader in members]
        for old, new in zip(seen, found, strict=False):
            np.testing.assert_array_equal(old, new)
        seen = found
    assert (tmp_path / f"{len(MEMBERS)}.inrz").read_bytes() == film.read_bytes()


def test_a_file_is_decoded_from_the_page(film: Path) -> None:
    with inrzip.open_all(film) as members:
        expected = [np.asarray(reader) for reader in members]
    stores: dict[int, Any] = {}
    grids = dict(zip((0, 1, 3), GRIDS, strict=True))
    for number, (_, data) in enumerate(page_pfnr.members(film.read_bytes())):
        if number not in grids:
            continue
        grid = grids[number]
        payload = inrzip.Reader(data).container.segment(0)
        fields, strides, begin = read_config(payload, 22)
        wanted = page_pfnr.shapes(fields, strides, grid.shape, grid.channels)
        store = stores[number - fields[0]] if fields[0] else None

        def read(shapes: Any, stream: bytes = payload[begin:]) -> Any:
            return [(tensor.integers, tensor.weights.astype(np.float64)) for tensor in read_tensors(stream, shapes)]

        weights, stores[number] = page_pfnr.weights_of(wanted, store, read)
        for time in range(grid.shape[0]):
            values = page_pfnr.frame(fields, strides, weights, time, grid.shape)
            samples = np.rint(values * 255).astype(int).reshape(expected[number][time].shape)
            assert np.abs(samples - expected[number][time]).max() <= 1


def test_a_member_alone(film: Path) -> None:
    """What uses weights of others says so; info names it."""
    for name, data in MEMBERS:
        if name in ("b", "c"):
            with pytest.raises(CorruptFile, match="weights of an earlier video"):
                np.asarray(inrzip.open(data))
    facts: Any = inrzip.info(film)
    assert [member.get("uses") for member in facts["members"]] == [None, "a", None, "b"]
    checked: Any = inrzip.verify(film)
    assert all(member["intact"] for member in checked["members"].values())


def test_sequences_that_no_encoder_writes(tmp_path: Path) -> None:
    first, second, picture, third = (data for _, data in MEMBERS)
    path = tmp_path / "x.inrz"
    for files, why in (
        ([second], "before the first"),
        ([picture, second], "no weights that other videos"),
        ([picture, first, third], "no weights that other videos"),
        ([first, picture, second], "no weights that other videos"),
    ):
        write_collection(path, [(str(i), data) for i, data in enumerate(files)])
        with inrzip.open_all(path) as members:
            last = members[len(files) - 1]
            with pytest.raises(CorruptFile, match=rf"^[^\n]*member {len(files) - 1}: [^\n]*{why}[^\n]*$"):
                np.asarray(last)


def test_a_damaged_member_is_named(film: Path) -> None:
    """What uses it fails with one line that names it; the others are there."""
    data = bytearray(film.read_bytes())
    data[data.index(MEMBERS[1][1]) + 40] ^= 4
    with inrzip.open_all(bytes(data)) as members:
        assert np.asarray(members["a"]).std() > 0 and np.asarray(members["picture"]).std() > 0
        with pytest.raises(CorruptFile, match=r"member b"):
            np.asarray(members["c"])
        with pytest.raises(CorruptFile, match=r"member b"):
            np.asarray(members["b"])


def test_payloads_that_no_encoder_writes() -> None:
    pool = decode_video(inrzip.Reader(MEMBERS[0][1]).container.segment(0), GRID, none_earlier, None, VERSION)[1]
    shapes = [values.shape for values in pool.values]
    counts = [int(np.count_nonzero(values)) for values in pool.values]
    choices = [QuantisedTensor(np.ones(n, "i4"), UniformSteps(CHOICE_STEP)) for n in counts if n]
    sizes = [(values.size - n,) if n else values.shape for values, n in zip(pool.values, counts, strict=True)]
    own = [QuantisedTensor(np.zeros(shape, "i4"), UniformSteps(200)) for shape in sizes]

    def decoded(tensors: list[QuantisedTensor], known: Pool = pool) -> Any:
        return decode_video(encode_network(config(before=1), tensors), GRID, lambda _: known, None, VERSION)

    network, after = decoded([*choices, *own])
    for values, mine, new in zip(pool.values, parameters(network), after.values, strict=True):
        np.testing.assert_array_equal(values, mine)
        np.testing.assert_array_equal(values, new)
    for bad in (
        dataclasses.replace(choices[0], levels=UniformSteps(191)),
        dataclasses.replace(choices[0], integers=choices[0].integers * 2),
        dataclasses.replace(choices[0], integers=-choices[0].integers),
    ):
        with pytest.raises(CorruptFile, match="its choice of weights"):
            decoded([bad, *choices[1:], *own])
    with pytest.raises(CorruptFile, match="weights of another network"):
        decoded([*choices, *own], known=Pool(config(), pool.values[:-2]))
    # Tensors of other shapes have nothing in the store; a full store leaves nothing to read.
    other = config(before=1, channels=4)
    wanted = [leaf.shape for leaf in parameters(other.structure(GRID))]
    kept = pool.kept(wanted)
    assert shapes != wanted and sum(values.any() for values in kept) < sum(n > 0 for n in counts)
    full = Pool(config(), [np.ones(s, "f4") if c else np.zeros(s, "f4") for s, c in zip(shapes, counts, strict=True)])
    every = [QuantisedTensor(np.ones(v.size, "i4"), UniformSteps(CHOICE_STEP)) for v in full.values if v.any()]
    rest = [tensor for tensor, v in zip(own, full.values, strict=True) if not v.any()]
    network, _ = decoded([*every, *rest], known=full)
    assert all((np.asarray(x) == v).all() for x, v in zip(parameters(network), full.values, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"modes": 0},
        {"modes": 17},
        {"modes": VAST},
        {"share": 0},
        {"share": 101},
        {"channels": 0},
        {"channels": VAST},
        {"channels": 4096, "hidden": 4096},
        {"hidden": VAST},
        {"frequencies": 0},
        {"floor": VAST},
        {"shuffle": 0},
        {"strides": ()},
        {"strides": (0,)},
        {"strides": (VAST,)},
        {"strides": (8,) * 8},
        {"before": VAST},
    ],
)
def test_hostile_configurations(change: dict[str, Any]) -> None:
    check_hostile_config(PfnrConfig, dataclasses.asdict(config()) | change, GRID.shape)


def test_codecs() -> None:
    """Those that keep zeros, and have one step for a tensor, are taken; others are refused in one line."""
    taken = set()
    for name in CODECS:
        try:
            choose_codec(name, RECIPES["pfnr"])
            taken.add(name)
        except InrzipError as error:
            assert "one step for each tensor" in str(error)
    assert {"auto", "cabac", "tables", "priced", "laplace"} <= taken
    assert not taken & {"channels", "trellis", "codebook", "outputs", "huffman", "pruned", "few-bits", "half"}


def moving(seed: int, n_frames: int = 3, size: tuple[int, int] = (12, 14)) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    blobs = [np.exp(-((x - 3 - 2 * i * seed) ** 2 + (y - 6) ** 2) / 9) for i in range(n_frames)]
    return np.stack([np.stack([40 + 180 * b, 60 + 5.0 * y, 200 - 5.0 * x], -1) for b in blobs]).astype(np.uint8)


def write(path: Path, samples: np.ndarray) -> Path:
    np.save(path, samples)
    return path


def test_videos_in_sequence(tmp_path: Path, quick: None) -> None:
    """The whole way: sizes are met, qualities are measured on the file, and stay."""
    out, size, reports = tmp_path / "films.inrz", 2_000, []
    for i in range(3):
        source = write(tmp_path / f"v{i}.npy", moving(1 + i))
        how: Any = {"append": True} if i else {"member": "v0"}
        report = inrzip.compress(
            source, out, recipe="pfnr", kind="video", target_size=size, effort=1, settings={"share": "50"}, **how
        )
        reports.append(report)
        assert report.bytes <= size
    with inrzip.open_all(out) as members:
        assert members.names == ["v0", "v1", "v2"]
        assert [reader.before() for reader in members] == [0, 1, 1]
        for i, reader in enumerate(members):
            again = inrzip.verify(out, tmp_path / f"v{i}.npy", member=i)
            assert again["psnr_db"] == reports[i].quality["psnr_db"]
            assert reader.container.size == reports[i].bytes
        stored = [np.mean([values.astype(bool).mean() for values in members.pool(i).values]) for i in range(3)]
        assert stored[0] < stored[1] <= stored[2]


def test_which_videos_share_a_network() -> None:
    """Those with the same settings, `share` excepted, and frames that it can make; others get one of their own."""
    pool = Pool(config(), [])
    for settings, share in (({}, 50), ({"share": 30}, 30), ({"modes": 2}, 50), ({"modes": 2, "share": 9}, 9)):
        found = pool.following(3, LARGER, settings)
        assert found is not None and found.config == config(before=3, share=share)
    for other in ({"modes": 1}, {"channels": 6}, {"stem": 4}):
        assert pool.following(1, GRID, other) is None
    assert pool.following(1, Grid((3, 1, 2), 3), {}) is None


@pytest.mark.slow
def test_a_video_alone(tmp_path: Path, quick: None) -> None:
    """A single video is a plain file."""
    found = inrzip.fit(moving(1), "pfnr", kind="video", target_size=1_500, effort=1)
    assert found.n_bytes <= 1_500 and found.reader.before() == 0
    assert np.asarray(found.reader).shape == (3, 12, 14, 3)
