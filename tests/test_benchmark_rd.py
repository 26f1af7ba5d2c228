"""`python -m benchmarks rd`: caching, time limits, and one report that holds all it shows."""

from __future__ import annotations

import csv
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("psutil")

from benchmarks import curves, published
from benchmarks.__main__ import main
from benchmarks.items import Item, area_averaged, find_files, load_item
from benchmarks.methods import CannotCode, Method, NotInstalled
from benchmarks.runner import Cache, make_tasks, run
from inrzip.errors import InrzipError
from inrzip.media.samples import array_signal
from inrzip.signal import Kind


def small_picture(path: Path, side: int = 48) -> Path:
    import imageio.v3 as iio

    y, x = np.mgrid[:side, : side + 5]
    samples = np.stack([127 + 100 * np.sin(x / (4 + c)) * np.cos(y / 6) for c in range(3)], -1)
    iio.imwrite(path, samples.astype(np.uint8))
    return path


def counting_method(name: str, calls: list[float], **changes: object) -> Method:
    """Rounds samples to steps of `quality`, and writes down what it was asked."""

    def encode(item: Item, quality: float) -> bytes:
        calls.append(quality)
        return (item.samples // int(quality)).tobytes()

    def decode(data: bytes, item: Item) -> np.ndarray:
        quality = calls[-1] if calls else 1
        return (np.frombuffer(data, np.uint8) * int(quality)).reshape(item.samples.shape).astype(np.uint8)

    facts = {"settings": "steps", "ladder": (8.0, 4.0), "version": lambda: "1"} | changes
    return Method(name, Kind.IMAGE, encode=encode, decode=decode, **facts)  # type: ignore[arg-type]


def one_item(seed: int = 0, name: str = "a.png") -> Item:
    samples = np.random.default_rng(seed).integers(0, 255, (12, 13, 3), np.uint8)
    signal = array_signal(samples, Kind.IMAGE, Path(name), None)
    return Item(name, signal.spec, signal.samples)


def silent(_: str) -> None:
    pass


def test_finished_points_are_not_run_again(tmp_path: Path) -> None:
    calls: list[float] = []
    tasks = make_tasks([one_item()], [counting_method("steps", calls)])
    first = run(tasks, Cache(tmp_path), None, silent)
    again = run(tasks, Cache(tmp_path), None, silent)
    assert calls == [8.0, 4.0] and first.points == again.points and len(first.points) == 2
    run(make_tasks([one_item(1)], [counting_method("steps", calls)]), Cache(tmp_path), None, silent)
    assert len(calls) == 4  # another item
    run(make_tasks([one_item()], [counting_method("steps", calls, version=lambda: "2")]), Cache(tmp_path), None, silent)
    assert len(calls) == 6  # another version
    run(make_tasks([one_item()], [counting_method("steps", calls, settings="other")]), Cache(tmp_path), None, silent)
    assert len(calls) == 8


def test_damaged_entries_are_made_anew(tmp_path: Path) -> None:
    calls: list[float] = []
    tasks = make_tasks([one_item()], [counting_method("steps", calls)])
    first = run(tasks, Cache(tmp_path), None, silent)
    for path in tmp_path.iterdir():
        path.write_bytes(b"{")
    again = run(tasks, Cache(tmp_path), None, silent)
    assert [p.metrics for p in first.points] == [p.metrics for p in again.points] and len(calls) == 4


def test_the_time_limit_leaves_points(tmp_path: Path) -> None:
    """What is finished counts however late it is; what is not is left, and a later run goes on."""
    calls: list[float] = []
    tasks = make_tasks([one_item()], [counting_method("steps", calls)])
    run(tasks[:1], Cache(tmp_path), None, silent)
    late = run(tasks, Cache(tmp_path), time.monotonic() - 1, silent)
    assert len(late.points) == 1 and late.n_left == 1
    assert len(run(tasks, Cache(tmp_path), None, silent).points) == 2 and len(calls) == 2


def test_refusals_are_reported(tmp_path: Path) -> None:
    def missing() -> str:
        raise NotInstalled("Colours")

    def refuse(item: Item, quality: float) -> bytes:
        raise CannotCode("grey only")

    absent = counting_method("absent", [], version=missing)
    fussy = Method("fussy", Kind.IMAGE, "", (1.0,), refuse, absent.decode, lambda: "1")

    def crash(item: Item, quality: float) -> bytes:
        raise RuntimeError("bad\nluck")

    broken = Method("broken", Kind.IMAGE, "", (1.0,), crash, absent.decode, lambda: "1")
    outcome = run(make_tasks([one_item()], [absent, fussy, broken]), Cache(tmp_path), None, silent)
    assert outcome.refused == [
        ("absent", "not installed: Colours"),
        ("fussy", "a.png: grey only"),
        ("broken", "a.png at 1: failed: RuntimeError: bad luck"),
    ]
    assert not outcome.points


def test_end_to_end(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    """A tiny picture with JPEG and SIREN: JSON, CSV and a report without a link to anything."""
    picture = small_picture(tmp_path / "tiny.png")
    out = tmp_path / "out"
    (tmp_path / "data").mkdir()
    picture = picture.rename(tmp_path / "data" / picture.name)
    (tmp_path / "data" / "README.md").write_text("no picture")
    command = ["rd", "--data", str(picture.parent), "--peers", "jpeg,webp,png", "--recipes", "siren", "--efforts", "1"]
    command += ["--qualities", "60", "--out", str(out), "--anchor", "jpeg"]
    assert main(command) == 0
    curve = json.loads((out / "image-siren-e1.json").read_text())
    assert set(curve) == {"name", "description", "results", "meta"}
    assert len(curve["results"]["bpp"]) == len(curve["results"]["psnr-rgb"]) == 1
    assert curve["results"]["bpp"][0] == pytest.approx(8 * curve["results"]["bytes"][0] / (48 * 53))
    with open(out / "items.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"jpeg", "webp", "png", "siren -e 1"} and len(rows) == 9 + 9 + 1 + 1
    assert [row["exact"] for row in rows if row["method"] == "png"] == ["1"]
    page = (out / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "@import" not in page and "url(http" not in page
    shown = ("README.md was left out", "<svg", "data:image/webp;base64,", "siren -e 1", "BD-rate")
    assert all(words in page for words in shown)
    findings = (out / "README.md").read_text()
    assert "| siren -e 1 | " in findings and "| png | " in findings and "(image.svg)" in findings
    assert (out / "image.svg").read_text().startswith("<svg")
    assert str(tmp_path) not in page + findings + json.dumps(curve)
    stored = sorted((path.name, path.stat().st_mtime_ns) for path in (out / "cache").iterdir())
    assert main([*command, "--quiet"]) == 0
    assert stored == sorted((path.name, path.stat().st_mtime_ns) for path in (out / "cache").iterdir())
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--peers", "gif"], "peer 'gif' does not exist"),
        (["--recipes", "cosine"], "recipe 'cosine' does not exist"),
        (["--recipes", "siren:zip"], "codec 'zip' does not exist"),
        (["--peers", "jpeg", "--anchor", "webp"], "--anchor webp: is not measured"),
        (["--peers", "png", "--published", "nowhere"], "--published nowhere"),
        (["--data", "nothing.png"], "nothing.png: does not exist"),
        (["--peers", "opus"], "no peer of --peers is for the files there are (image)"),
        (["--peers", "", "--recipes", "nerv"], "no recipe of --recipes"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(small_picture(tmp_path / "tiny.png", 16))]
    assert main(["rd", *data, "--out", str(tmp_path / "out"), "--quiet", *words]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_broken_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder; a picture cut short, by itself and within a folder, where it must not go missing from a mean."""
    (tmp_path / "empty").mkdir()
    folder = tmp_path / "folder"
    folder.mkdir()
    whole = small_picture(folder / "whole.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    for data in (tmp_path / "empty", folder / "cut.png", folder):
        assert main(["rd", "--data", str(data), "--peers", "jpeg", "--out", str(tmp_path / "out"), "--quiet"]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and ("no files" in error or "cut.png: is damaged" in error)


@pytest.mark.parametrize("library", ["matplotlib", "imagecodecs"])
def test_a_missing_library_is_one_line(
    tmp_path: Path, library: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, library, None)
    data = str(small_picture(tmp_path / "tiny.png", 16))
    assert main(["rd", "--data", data, "--peers", "jxl", "--out", str(tmp_path / "out"), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert f"{library} is not installed" in error and "pip install" in error and error.count("\n") == 1


def test_times_in_place_of_efforts(tmp_path: Path, quick: None) -> None:
    """`--times`: a curve for each time, whose fits the clock ends."""
    out = tmp_path / "out"
    command = ["rd", "--data", str(small_picture(tmp_path / "tiny.png", 16)), "--peers", "", "--recipes", "siren"]
    assert main([*command, "--times", "1s", "--qualities", "60", "--out", str(out), "--quiet"]) == 0
    assert json.loads((out / "image-siren--time1s.json").read_text())["name"] == "siren --time 1s"
    with open(out / "items.csv", newline="") as file:
        [row] = csv.DictReader(file)
    assert float(row["encode_seconds"]) > 0.5


@pytest.mark.parametrize(
    "words",
    [["--efforts", "0"], ["--times", "soon"], ["--size", "12"], ["--qualities", "x"], ["--limit-time", "-1"]],
)
def test_bad_options(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rd", "--data", "x", "--out", str(tmp_path), *words])
    assert ended.value.code == 2 and words[0] in capsys.readouterr().err


def test_videos_are_cut_and_averaged(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (5, 12, 18, 3), np.uint8)
    assert (area_averaged(frames[0], 4, 6) == np.rint(frames[0].reshape(4, 3, 6, 3, 3).mean((1, 3)))).all()
    odd = area_averaged(frames[0], 5, 7)
    assert odd.shape == (5, 7, 3) and abs(odd.mean() - frames[0].mean()) < 1
    with pytest.raises(InrzipError, match="larger"):
        area_averaged(frames[0], 13, 6)
    folder = tmp_path / "clip"
    folder.mkdir()
    small_picture(folder / "0.png")
    assert find_files([tmp_path]) == [folder / "0.png"]
    item = load_item(Path(__file__).parent / "data" / "bunny.mp4", 3, (64, 36))
    assert item.samples.shape == (3, 36, 64, 3) and "first 3 of" in item.excerpt and "area-averaged" in item.excerpt


def test_published_numbers() -> None:
    """Every stored curve rises, and rows of single images are averaged over those measured."""
    for name in published.available():
        papers = published.load(name, {"kodim15.png"})
        assert len(papers) >= 3 and all(curve.source and curve.scope for curve in papers)
        for curve in papers:
            assert list(curve.pairs) == sorted(curve.pairs) and all(10 < db < 60 for _, db in curve.pairs)
    assert "Cool-Chic 5.0" not in {curve.name for curve in published.load("kodak", set())}
    single = {curve.name: curve.items for curve in published.load("kodak", {"kodim15.png", "mine.png"})}
    assert set(single["Cool-Chic 5.0"]) == {"kodim15.png"} and not single["VTM"]


def test_items_against_published_points() -> None:
    """Of each image that both have: a codec of 20 % more bytes than a paper's points, and one half a dB better."""
    paper = {"a.png": [(0.1, 27.0), (0.3, 30.0), (0.9, 34.0), (1.5, 36.0)], "b.png": [(0.2, 25.0), (0.4, 28.0)]}
    ours = {"a.png": [(1.2 * rate, db) for rate, db in paper["a.png"]], "c.png": paper["a.png"]}
    found = curves.item_deltas("paper", "ours", {"paper": paper, "ours": ours})
    assert [delta.item for delta in found] == ["a.png"]
    assert found[0].rate is not None and found[0].rate.value == pytest.approx(20)
    apart = {"a.png": [(rate, db + 20) for rate, db in paper["a.png"]]}
    found = curves.item_deltas("paper", "ours", {"paper": paper, "ours": apart})
    assert found[0].rate is None and found[0].psnr is not None and found[0].psnr.value == pytest.approx(20)
    rows = list(csv.DictReader(curves.deltas_csv({Kind.IMAGE: found}).splitlines()))
    assert rows[0]["item"] == "a.png" and rows[0]["bd_rate_percent"] == "" and rows[0]["bd_psnr_db"] == "20.000"


def test_published_items_are_in_the_report(tmp_path: Path) -> None:
    """An image of a name in a paper: its points are compared with the anchor; another image is not."""
    for name in ("kodim15.png", "mine.png"):
        small_picture(tmp_path / name)
    data = ["--data", str(tmp_path / "kodim15.png"), str(tmp_path / "mine.png")]
    out = tmp_path / "out"
    words = ["--peers", "webp,jpeg", "--anchor", "webp", "--published", "kodak", "--previews", "0", "--quiet"]
    assert main(["rd", *data, *words, "--out", str(out)]) == 0
    with open(out / "deltas.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    papers = [row for row in rows if row["codec"] == "Cool-Chic 5.0 (published)"]
    assert [(row["item"], row["anchor"]) for row in papers] == [("kodim15.png", "webp")]
    assert {row["item"] for row in rows if row["codec"] == "jpeg"} == {"kodim15.png", "mine.png"}
    assert "Cool-Chic 5.0 (published)<br>against webp" in (out / "report.html").read_text()


def test_a_fit_that_ran_out_of_time_goes_on(tmp_path: Path, quick: None) -> None:
    """The deadline stops it within the fit; later the same file comes of it as without a break."""
    from benchmarks.ours import Effort, OutOfTime, recipe_method

    item = one_item()
    late = recipe_method("siren", Kind.IMAGE, Effort(1), (60.0,), folder=tmp_path, deadline=time.monotonic())
    with pytest.raises(OutOfTime):
        late.encode(item, 60.0)
    outcome = run(make_tasks([item], [late]), Cache(tmp_path / "cache"), None, silent)
    assert outcome.n_left == 1 and not outcome.points and not outcome.refused
    again = recipe_method("siren", Kind.IMAGE, Effort(1), (60.0,), folder=tmp_path)
    assert again.encode(item, 60.0) == recipe_method("siren", Kind.IMAGE, Effort(1), (60.0,)).encode(item, 60.0)
    assert not list(tmp_path.glob("*.part"))
