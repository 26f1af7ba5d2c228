"""What is shipped: a wheel holds every module, and a bare checkout works without being installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.common import ROOT

PACKAGES = {"inrzip": "inrzip", "architectures": "inrzip/architectures", "priors": "inrzip/priors"}
PACKAGES |= {"codecs": "inrzip/codecs", "inrzip/media": "inrzip/media"}

# Imports every module, each architecture too, and codes a number: no file of the package may be missing.
PROBE = """
import importlib, sys
import inrzip, inrzip.cli
from inrzip import container, header, recipes, wire, media
from inrzip.codecs import weights
for name in sys.argv[2:]:
    importlib.import_module(name)
assert inrzip.__file__.startswith(sys.argv[1]), inrzip.__file__
assert len(recipes.ARCHITECTURES) >= 3 and inrzip.compress and inrzip.open
print("fine")
"""


def source_modules() -> dict[str, str]:
    """Every Python file that belongs to the package: where it goes in a wheel, and its module's name."""
    found = {}
    for folder in ("inrzip", "architectures", "priors", "codecs"):
        for path in (ROOT / folder).rglob("*.py"):
            relative = path.relative_to(ROOT)
            place = relative if folder == "inrzip" else Path("inrzip") / relative
            found[place.as_posix()] = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
    return found


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def probe(folder: Path, cwd: Path, *prefix: str) -> None:
    modules = [name for name in source_modules().values() if not name.endswith("__main__")]
    command = [sys.executable, "-c", *prefix, PROBE, str(folder), *modules]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr


def test_every_folder_with_code_is_listed():
    """A folder that pyproject.toml does not list would be left out of the wheel without a word."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    needed = {Path(place).parent.as_posix().replace("/", ".") for place in source_modules()}
    assert set(settings["packages"]) == needed
    assert set(settings["package-dir"].values()) == {"inrzip", "architectures", "priors", "codecs"}


def test_codecs_stays_without_an_init():
    """A regular package of that name at the root could hide the standard library's."""
    assert not (ROOT / "codecs" / "__init__.py").exists()
    standard = sys.stdlib_module_names
    assert not [path for path in (ROOT / "codecs").glob("*.py") if path.stem in standard]


def test_priors_are_small():
    """Of all that was learned and comes with the package."""
    learned = [path for path in (ROOT / "priors").iterdir() if path.suffix in (".inrprior", ".npz")]
    assert len(learned) >= 7 and sum(path.stat().st_size for path in learned) < 8_000_000


def test_bare_checkout(tmp_path):
    """From the root, with nothing installed; and from elsewhere by PYTHONPATH."""
    probe(ROOT, ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "inrzip", "recipes"],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "siren" in done.stdout and not done.stderr


@pytest.mark.slow
def test_wheel(tmp_path):
    """Built in a copy of the sources, as a build leaves files behind, and imported from elsewhere."""
    import shutil

    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns(".*", "build", "tests", "benchmarks", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(copy)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
        pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "inrzip/viewer").glob("*/*.*")}
        shipped = {"inrzip/py.typed", *(name for name in pages if not name.endswith(".pyc"))}
        assert set(source_modules()) | shipped <= names
        assert not [name for name in names if not name.startswith("inrzip/") or name.endswith((".hpp", ".cpp"))]
        if sys.platform == "linux" and shutil.which("g++"):
            assert [name for name in names if name.startswith("inrzip/architectures/_grid_") and name.endswith(".so")]
        file.extractall(tmp_path / "site")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n" + PROBE
    modules = [name for name in source_modules().values() if not name.endswith("__main__")]
    command = [sys.executable, "-c", program, str(tmp_path / "site"), *modules]
    done = subprocess.run(command, cwd=elsewhere, env=environment(), capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr
    assert sysconfig.get_paths()["purelib"] not in done.stdout
