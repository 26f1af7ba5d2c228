"""Files made once are decoded for ever: the same integers exactly, the same samples to one level, on any machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrzip
from inrzip.recipes import RECIPES
from tests.common import ROOT
from tests.make_golden import EXPECTED, FOLDER, MAX_BYTES, MAX_TOTAL_BYTES, describe, weight_digest

FILES: dict[str, dict[str, Any]] = json.loads(EXPECTED.read_text())

# A process of its own, with so many threads, that prints what it decodes.
DECODER = f"""
import json, os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[1])])
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
import numpy as np
import inrzip
from inrzip.recipes import RECIPES
from tests.make_golden import FOLDER, weight_digest
found = {{}}
for name in sys.argv[3:]:
    path = FOLDER / (name + ".inrz")
    np.save(Path(sys.argv[2]) / (name + ".npy"), np.asarray(inrzip.open(path)))
    found[name] = weight_digest(path)
print(json.dumps(found))
"""


def test_the_set_is_complete():
    """A file that went missing is a failure, not a test less."""
    assert {path.stem for path in FOLDER.glob("*.inrz")} == set(FILES)
    assert {facts["kind"] for facts in FILES.values()} == {"image", "video", "audio", "shape", "volume", "protein"}
    assert {name.split("_")[-1] for name in FILES if "sound" not in name} == set(RECIPES) - {"hnerv"}
    assert {"video_hnerv_copied_sound", "video_hnerv_coded_sound"} < set(FILES)
    sizes = [path.stat().st_size for path in FOLDER.glob("*.inrz")]
    assert max(sizes) <= MAX_BYTES and sum(sizes) <= MAX_TOTAL_BYTES


@pytest.mark.parametrize("name", FILES)
def test_decodes_as_ever(name):
    expected, found = FILES[name], describe(FOLDER / f"{name}.inrz")
    for fact in ("bytes", "weights", "kind", "sample_type", "shape", "meta", "tracks", "level"):
        assert found[fact] == expected[fact], fact
    level = expected["level"]
    assert found["mean"] == pytest.approx(expected["mean"], abs=level / 4)
    assert found["std"] == pytest.approx(expected["std"], abs=level / 4)
    for (place, mine), (same_place, theirs) in zip(found["samples"], expected["samples"], strict=True):
        assert place == same_place and abs(mine - theirs) <= 1.001 * level


@pytest.mark.parametrize("name", FILES)
def test_is_intact(name):
    assert inrzip.verify(FOLDER / f"{name}.inrz")["intact"]
    assert inrzip.info(FOLDER / f"{name}.inrz")["kind"] == FILES[name]["kind"]


def decoded_elsewhere(folder: Path, threads: int) -> dict[str, str]:
    # Without the settings of the tests: other compilation of the same networks, as on another machine.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    folder.mkdir()
    command = [sys.executable, "-c", DECODER, str(threads), str(folder), *FILES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    digests: dict[str, str] = json.loads(done.stdout)
    return digests


def test_same_in_other_processes_with_one_and_two_threads(tmp_path):
    decoded = {name: np.asarray(inrzip.open(FOLDER / f"{name}.inrz")).astype(np.float64) for name in FILES}
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        assert decoded_elsewhere(folder, threads) == {name: facts["weights"] for name, facts in FILES.items()}
        for name, facts in FILES.items():
            mine = decoded[name]
            theirs = np.load(folder / f"{name}.npy").astype(np.float64)
            assert np.max(np.abs(mine - theirs)) <= 1.001 * facts["level"]


def test_the_weight_digest_notices_a_change():
    """The check itself: another file, another digest; the same bytes from memory, the same."""
    digests = {weight_digest(FOLDER / f"{name}.inrz") for name in FILES}
    assert len(digests) >= len(FILES) - 1  # with and without coded sound, the pictures may be the same
    name = next(iter(FILES))
    assert weight_digest((FOLDER / f"{name}.inrz").read_bytes()) == FILES[name]["weights"]
