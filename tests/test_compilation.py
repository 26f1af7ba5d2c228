"""Compiled programs of a long run are forgotten before the system has no room for more."""

from pathlib import Path

import jax
import pytest

from inrzip import compilation


def test_programs_are_forgotten_only_where_there_are_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forgotten: list[bool] = []
    monkeypatch.setattr(jax, "clear_caches", lambda: forgotten.append(True))
    monkeypatch.setattr(compilation, "MOST_MAPPINGS", 3)
    monkeypatch.setattr(compilation, "_MAPPINGS", tmp_path / "maps")
    compilation.prepare()  # a system that has no such file
    (tmp_path / "maps").write_text("one\n" * 3)
    compilation.prepare()
    assert forgotten == []
    (tmp_path / "maps").write_text("one\n" * 4)
    compilation.prepare()
    assert forgotten == [True]
