"""Settings of all tests: JAX on the CPU, compiling fast rather than well, and keeping nothing on disk afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

# Tests compile many small programs and run each for moments. Sub-processes inherit this, unless they ask otherwise.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What one test process or another has compiled is compiled: the processes of pytest-xdist and those that tests start
# inherit the folder, and the first, which made it, removes it.
os.environ["INRZIP_TESTS_CACHE"] = os.getenv("INRZIP_TESTS_CACHE") or tempfile.mkdtemp(prefix="inrzip-tests-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["INRZIP_TESTS_CACHE"]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "true"
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
# An import of JAX beforehand would have read the environment too early; a sub-process finds the package by this.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.getenv("PYTHONPATH")]))

import pytest

from tests import common

SLOW = Path(__file__).parent / "slow.txt"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits of a second: few steps, and few samples of a shape."""
    common.make_quick(monkeypatch.setattr)


@pytest.fixture(autouse=True, scope="module")
def drop_compiled_programs():
    """Compiled programs of one test file are of no use to the next, and take memory."""
    yield
    import sys

    if "jax" in sys.modules:
        import jax

        jax.clear_caches()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what slow.txt lists, before `-m "not slow"` is heeded. A case that is not there any more is an error."""
    listed = {line for line in SLOW.read_text().splitlines() if line and not line.startswith("#")}
    found = {item.nodeid: item for item in items}
    for name in listed & set(found):
        found[name].add_marker(pytest.mark.slow)
    whole_files = not any("::" in argument for argument in items[0].config.args) if items else False
    gone = {name for name in listed - set(found) if name.split("::")[0] in {i.nodeid.split("::")[0] for i in items}}
    if whole_files and gone:
        raise pytest.UsageError(f"{SLOW}: there is no {', '.join(sorted(gone))}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["INRZIP_TESTS_CACHE"], ignore_errors=True)
