"""docs/new-architecture.md: its file, used as it stands, gets everything that the page promises."""

from __future__ import annotations

import csv
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrzip
from inrzip import cli
from inrzip.recipes import ARCHITECTURES, RECIPES
from tests.common import ROOT, check_architecture, check_hostile_config, picture, tone, write_png

TEXT = (ROOT / "docs" / "new-architecture.md").read_text()
FILE, ENTRY = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
NUMBER = 200


def test_it_is_short() -> None:
    assert FILE.count("\n") <= 60 and ENTRY.count("\n") == 1
    assert NUMBER not in ARCHITECTURES and "ripples" not in RECIPES


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The page's file as a module, and its entry in the lists, as if `inrzip/recipes.py` had them."""
    path = tmp_path / "ripples.py"
    path.write_text(FILE)
    spec = importlib.util.spec_from_file_location("ripples", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ripples", module)
    spec.loader.exec_module(module)
    recipe = eval(ENTRY, vars(sys.modules["inrzip.recipes"]) | vars(module))
    monkeypatch.setitem(ARCHITECTURES, module.RipplesConfig.number, module.RipplesConfig)  # type: ignore[arg-type]
    monkeypatch.setitem(RECIPES, recipe.name, recipe)  # type: ignore[arg-type]
    yield module.RipplesConfig


def test_the_contract(config: Any) -> None:
    assert config.number == NUMBER
    for shape in ((13,), (1, 9), (5, 7, 3)):
        check_architecture(config, shape)
    for waves in (0, 2**40):
        check_hostile_config(config, {"waves": waves}, (5, 6))


def test_the_command_line(
    config: Any, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Listed, compressed to a size with a setting and another code of weights, a region of it decoded, described."""
    monkeypatch.chdir(tmp_path)
    write_png(Path("photo.png"), picture(40, 30, 3))
    packed = ["compress", "photo.png", "-o", "p.inrz", "--recipe", "ripples", "-e", "1", "--target-size", "600B"]
    assert cli.main([*packed, "--set", "waves=40", "--codec", "trellis"]) == 0
    assert 0 < Path("p.inrz").stat().st_size <= 600
    assert cli.main(["decompress", "p.inrz", "-o", "part.npy", "--region", "3:9,20:24"]) == 0
    np.testing.assert_array_equal(np.load("part.npy"), inrzip.open("p.inrz")[3:9, 20:24])
    assert cli.main(["verify", "p.inrz", "--against", "photo.png"]) == 0
    assert cli.main(["info", "p.inrz"]) == 0
    assert cli.main(["recipes"]) == 0
    assert "ripples: waves 40" in (shown := capsys.readouterr().out) and "a sum of waves" in shown
    assert cli.main([*packed, "-f", "--set", "depth=3"]) == 1


@pytest.mark.parametrize("kind", ["audio", "video", "volume"])
def test_every_kind(config: Any, kind: str, quick: None) -> None:
    waves = sum(np.sin(place) for place in np.meshgrid(*map(np.arange, (4, 9, 8)), indexing="ij"))
    samples = {"audio": tone(400, 2), "video": np.rint(100 + 30 * waves).astype(np.uint8), "volume": waves}[kind]
    found = inrzip.fit(samples, "ripples", kind=kind, target_size=500, effort=1)
    assert found.n_bytes <= 500 and found.quality
    assert np.asarray(found.reader).shape[: samples.ndim] == samples.shape


def test_the_benchmarks(config: Any, tmp_path: Path, quick: None) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("psutil")
    from benchmarks.__main__ import main

    photo = write_png(tmp_path / "photo.png", picture(30, 30, 3))
    command = ["rd", "--data", str(photo), "--recipes", "ripples", "--efforts", "1", "--qualities", "60"]
    assert main([*command, "--peers", "png", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    with open(tmp_path / "out" / "items.csv", newline="") as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"ripples -e 1", "png"}
