"""The command line in this process: arguments, results, failures. Fakes stand in for the compressor."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import inrzip
from inrzip import cli, console, options, reports, verbs
from inrzip.errors import CorruptFile, InrzipError

# --- fakes -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Report:
    """What the fakes return: the fields of both reports."""

    path: Path
    bytes: int = 48_900
    source_bytes: int | None = 611_250
    bpp: float | None = 0.995
    quality: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"psnr_db": 34.2149, "ms_ssim": 0.98})
    seconds: float = 125.0
    recipe: str = "grid"
    n_parameters: int = 1234
    note: str | None = None
    resumed: bool = False
    stopped_early: bool = False
    lossless: bool = False
    shape: tuple[int, ...] = (512, 768, 3)

    def to_json(self) -> dict[str, object]:
        return {"path": self.path, "bytes": self.bytes, "quality": {"psnr_db": float("inf")}}


Calls = list[tuple[Any, Any, dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The calls of the fake `compress` and `decompress`, which write a few bytes."""
    made: Calls = []

    def work(source: Path, destination: Path | None = None, **how: Any) -> Report:
        made.append((source, destination, how))
        if "bad" in source.name:
            raise CorruptFile(f"{source}: is no picture;\n  give another")
        path = destination or source.with_suffix(".png")
        path.write_bytes(b"made of " + source.read_bytes())
        return Report(path)

    monkeypatch.setattr(inrzip, "compress", work, raising=False)
    monkeypatch.setattr(inrzip, "decompress", work, raising=False)
    monkeypatch.setattr(verbs, "_choose_machine", lambda opts: None)
    return made


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(b"pixels")
    return path


SUMMARY = "48.9 kB  (12.5x smaller, 0.995 bpp)  34.21 dB  in 2 m 05 s"

# --- arguments -------------------------------------------------------------------------------------------------------


def test_compress_passes_every_option(calls: Calls, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = photo.with_name("o.inrz")
    given = (
        "--target-size 50kB --time 1h30m --recipe grid --codec cabac --set a=1 --set b=x=y --audio drop --kind image -f"
    )
    assert cli.main(["compress", *given.split(), str(photo), "-o", str(out)]) == 0
    source, destination, how = calls[0]
    assert (source, destination) == (photo, out)
    stop = how.pop("stop")
    assert stop() is False
    assert how == {
        "recipe": "grid",
        "codec": "cabac",
        "quality": None,
        "target_size": 50_000,
        "target_bpp": None,
        "target_psnr": None,
        "effort": 5,
        "time_limit": 5400,
        "audio": "drop",
        "settings": {"a": "1", "b": "x=y"},
        "lossless": False,
        "prior": None,
        "kind": "image",
        "overwrite": True,
        "progress": None,
    }
    assert capsys.readouterr().out == f"{out}  {SUMMARY}\n"


def test_decompress_passes_every_option(calls: Calls, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = photo.rename(photo.with_suffix(".inrz"))
    given = "--region 1:2,3: --frames 5 --scale 2.5 --max-memory 2GB --partial"
    assert cli.main(["decompress", str(packed), *given.split()]) == 0
    assert calls[0][:2] == (packed, None)
    assert calls[0][2] == {
        "region": ((1, 2), (3, None)),
        "frames": (5, 6),
        "scale": 2.5,
        "max_memory": 2 * 10**9,
        "partial": True,
        "bits": None,
        "member": None,
        "overwrite": False,
        "progress": None,
    }
    assert capsys.readouterr().out == f"{packed.with_suffix('.png')}  48.9 kB  512 x 768 x 3  in 2 m 05 s\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("compress", "no input file"),
        ("compress --json", "no input file"),
        ("compress a.png -q 5 --target-size 5", "not allowed with"),
        ("compress a.png -e 2 --time 5m", "not allowed with"),
        ("compress a.png -e 0", "whole number from 1 to 9"),
        ("compress a.png -q 101", "from 0 to 100"),
        ("compress a.png -q nan", "from 0 to 100"),
        ("compress a.png --target-psnr -3", "above 0"),
        ("compress a.png --target-size lots", "'lots' is no size"),
        ("compress a.png --set width", "key=value"),
        ("compress a.png --kind picture", "invalid choice"),
        ("compress a.png --threads 0", "whole number"),
        ("compress a.png --qual 5", "unrecognized"),
        ("compress a.png b.png -o nowhere", "no folder"),
        ("compress a.png a.jpg", "both become a.inrz"),
        ("compress a.png b.png -o -", "standard output"),
        ("compress a.png packed.inrz", "name it with -o"),
        ("compress a.png -o - --json", "--json"),
        ("decompress a.inrz b.png", "name the output with -o"),
        ("decompress a.inrz --region -5:10,3:4", "-5 is negative"),
        ("decompress a.inrz --frames 7:7", "empty"),
        ("decompress a.inrz --scale 0", "above 0"),
        ("info a b", "takes one file"),
        ("recipes a", "takes no file"),
        ("squash a.png", "is no command"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    calls: Calls, line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and not calls
    assert words in err and err.startswith("inrzip: ") and err.count("\n") == 1 and "--help" in err


def test_options_may_stand_anywhere_and_end_at_a_double_dash() -> None:
    parsed = options.parse_arguments(["compress", "a", "-q", "30", "b", "--json", "-", "--", "-weird.png", "--json"])
    assert parsed.inputs == ["a", "b", "-", "-weird.png", "--json"]
    assert parsed.quality == 30 and parsed.json


# --- results ---------------------------------------------------------------------------------------------------------


def test_one_bad_input_of_three(calls: Calls, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photo.parent / "packed"
    folder.mkdir()
    names = [photo, photo.with_name("bad.png"), photo.with_name("other.png")]
    names[1].write_bytes(b"?")
    names[2].write_bytes(b"!")
    assert cli.main(["compress", "--json", *map(str, names), "-o", str(folder)]) == 1
    out, err = capsys.readouterr()
    first, second, third = json.loads(out)
    assert first == {"path": str(folder / "photo.inrz"), "bytes": 48_900, "quality": {"psnr_db": None}}
    assert second == {"source": str(names[1]), "error": f"{names[1]}: is no picture; give another"}
    assert third["path"] == str(folder / "other.inrz")
    assert err == f"inrzip: {names[1]}: is no picture; give another\n"


def test_json_is_one_object_and_quiet_is_quiet(calls: Calls, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compress", "--json", str(photo)]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(photo.with_suffix(".inrz"))
    assert cli.main(["compress", "--quiet", str(photo)]) == 0
    assert capsys.readouterr() == ("", "")


def test_info_verify_recipes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"kind": "image", "shape": (512, 768), "n_bytes": 48_912, "rate": 1 / 3, "meta": {"bits": 8, "a": ()}}
    info = dataclasses.make_dataclass("Info", ["name", "kinds", "summary"])
    monkeypatch.setattr(inrzip, "info", lambda source, member: facts, raising=False)
    monkeypatch.setattr(inrzip, "verify", lambda source, against, member: {"against": against}, raising=False)
    known = [info("g", ("image", "video"), "fast"), info("siren", (), "old")]
    monkeypatch.setattr(inrzip, "recipe_list", lambda: known, raising=False)
    codecs = [dataclasses.make_dataclass("Codec", ["name", "summary"])("auto", "small")]
    monkeypatch.setattr(inrzip, "codec_list", lambda: codecs, raising=False)
    assert cli.main(["info", "a.inrz"]) == 0
    expected = "kind:    image\nshape:   512 x 768\nn bytes: 48.9 kB (48,912 bytes)\nrate:    0.33333\nmeta:\n"
    assert capsys.readouterr().out == expected + "  bits: 8\n  a:    none\n"
    assert cli.main(["info", "a.inrz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [512, 768]
    assert cli.main(["verify", "a.inrz", "--against", "a.png"]) == 0
    assert capsys.readouterr().out == "a.inrz: OK\n  against: a.png\n"
    assert cli.main(["recipes"]) == 0
    assert capsys.readouterr().out == (
        "--recipe\n  g      image, video  fast\n  siren                old\n\n--codec\n  auto  small\n"
    )
    assert cli.main(["recipes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipes"][0] == {
        "name": "g",
        "kinds": ["image", "video"],
        "summary": "fast",
    }


def test_summaries() -> None:
    larger = Report(Path("a"), source_bytes=1000, bpp=None, quality={"chamfer_percent": 0.1234}, stopped_early=True)
    assert (
        reports.compress_text(larger, "a")
        == "a  48.9 kB  (48.9x larger)  chamfer 0.123 %  in 2 m 05 s  (stopped early)"
    )
    plain = Report(Path("a"), source_bytes=None, bpp=None, quality={})
    assert reports.compress_text(plain, "two\nlines") == "two lines  48.9 kB  in 2 m 05 s"
    assert "n parameters: 1,234" in reports.compress_text(plain, "a", verbose=True)


def test_json_values() -> None:
    import numpy as np

    value = {
        "a": np.float32(0.5),
        "b": np.arange(2),
        "c": b"\x01",
        "d": float("nan"),
        "e": signal.SIGINT,
        "f": np.bool_(1),
    }
    assert json.loads(reports.json_text(value)) == {
        "a": 0.5,
        "b": [0, 1],
        "c": "01",
        "d": None,
        "e": "sigint",
        "f": True,
    }


# --- failures --------------------------------------------------------------------------------------------------------


class Panic(BaseException):
    """As extension modules raise them."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InrzipError("the picture is empty"), "in.png: the picture is empty"),
        (MemoryError(), "in.png: not enough memory; "),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), "in.png: not enough memory; "),
        (FileNotFoundError(2, "No such file or directory", "x.png"), "x.png: No such file or directory"),
        (ImportError("No module named 'jax'"), "No module named 'jax'; the installation"),
        (KeyError("k"), "in.png: KeyError: 'k'; this is a bug; -v shows where"),
        (Panic("a\nb"), "in.png: Panic: a b; this is a bug; -v shows where"),
    ],
)
def test_every_failure_is_one_line(
    error: BaseException, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **how: object) -> None:
        raise error

    monkeypatch.setattr(inrzip, "compress", fail, raising=False)
    assert cli.main(["compress", "in.png"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"inrzip: {words}") and err.count("\n") == 1
    assert cli.main(["compress", "-v", "in.png"]) == 1
    shows_where = "Traceback" in capsys.readouterr().err
    assert shows_where != isinstance(error, InrzipError)


def test_no_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    no_gpu = type("jax", (), {"default_backend": staticmethod(lambda: "cpu")})
    monkeypatch.setitem(sys.modules, "jax", no_gpu)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert cli.main(["compress", "a.png", "--device", "gpu"]) == 1
    assert capsys.readouterr().err.startswith("inrzip: --device gpu: JAX finds no GPU; ")


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert console.one_line("a\x1b[31m\r\n  b\udcff é") == "a\\x1b[31m b\\udcff é"
