"""The results of commands as text for people and as JSON for programs, and errors as one line."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .console import one_line
from .errors import InrzipError
from .units import format_duration, format_size

# JAX's only marks of an allocation that failed: its exception's type is that of every run-time error.
_XLA_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "INTERNAL: Error dispatching computation: Out of memory")
_MEMORY_ADVICE = {
    "compress": "free some, or give a smaller input",
    "decompress": "decode less at once with --region, --frames or a smaller --scale",
}


class CompressReport(Protocol):
    """What `inrzip.compress` returns, as far as it is shown."""

    @property
    def path(self) -> Path: ...
    @property
    def bytes(self) -> int: ...
    @property
    def source_bytes(self) -> int | None: ...
    @property
    def bpp(self) -> float | None: ...
    @property
    def quality(self) -> Mapping[str, float]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def recipe(self) -> str: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def note(self) -> str | None: ...
    @property
    def resumed(self) -> bool: ...
    @property
    def stopped_early(self) -> bool: ...
    @property
    def lossless(self) -> bool: ...
    def to_json(self) -> dict[str, object]: ...


class DecompressReport(Protocol):
    """What `inrzip.decompress` returns, as far as it is shown."""

    @property
    def path(self) -> Path: ...
    @property
    def bytes(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def note(self) -> str: ...
    def to_json(self) -> dict[str, object]: ...


class RecipeInfo(Protocol):
    """One of what `inrzip.recipes` returns."""

    @property
    def name(self) -> str: ...
    @property
    def kinds(self) -> Iterable[object]: ...
    @property
    def summary(self) -> str: ...


class CodecInfo(Protocol):
    """One of what `inrzip.codec_list` returns."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...


def _quality_text(name: str, value: float) -> str:
    if name == "psnr_db":
        return f"{value:.2f} dB"
    for ending, unit, decimals in (("_db", " dB", 2), ("_percent", " %", 3)):
        if name.endswith(ending):
            return f"{name.removesuffix(ending).replace('_', ' ')} {value:.{decimals}f}{unit}"
    return f"{name.replace('_', ' ')} {value:.4g}"


def _main_quality(quality: Mapping[str, float]) -> str:
    """PSNR alone where there is one, as everybody reads it; else all measures."""
    shown = {"psnr_db": quality["psnr_db"]} if "psnr_db" in quality else quality
    return ", ".join(_quality_text(name, value) for name, value in shown.items())


def _rate_text(report: CompressReport) -> str:
    parts = []
    if report.source_bytes and report.bytes:
        ratio = report.source_bytes / report.bytes
        parts.append(f"{ratio:.3g}x smaller" if ratio >= 1 else f"{1 / ratio:.3g}x larger")
    if report.bpp is not None:
        parts.append(f"{report.bpp:.3g} bpp")
    return f"({', '.join(parts)})" if parts else ""


def compress_text(report: CompressReport, name: str, verbose: bool = False) -> str:
    """The summary of a compression, such as `photo.inrz  48.9 kB  (12.5x smaller, 0.995 bpp)  34.21 dB  in 2 m 05 s`.

    One line; with `verbose`, more lines follow with the recipe, the number of parameters and every quality measured.
    """
    ways = [word for word, so in (("resumed", report.resumed), ("stopped early", report.stopped_early)) if so]
    parts = [
        one_line(name),
        format_size(report.bytes),
        _rate_text(report),
        "lossless, checked" if report.lossless else _main_quality(report.quality),
        f"in {format_duration(report.seconds)}",
        f"({', '.join(ways)})" if ways else "",
    ]
    summary = "  ".join(part for part in parts if part)
    if not verbose:
        return summary
    facts = {"recipe": report.recipe, "n_parameters": report.n_parameters, **report.quality}
    return summary + "\n" + facts_text(facts, indent=2)


def decompress_text(report: DecompressReport, name: str) -> str:
    """The summary of a decompression on one line: `photo.png  1.20 MB  512 x 768 x 3  in 0.42 s`."""
    shape = " x ".join(str(size) for size in report.shape)
    parts = (one_line(name), format_size(report.bytes), shape, f"in {format_duration(report.seconds)}")
    return "  ".join(part for part in parts if part)


def _value_text(key: str, value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and (key == "bytes" or key.endswith("_bytes")):
        return f"{format_size(value)} ({value:,} bytes)" if value >= 1000 else format_size(value)
    if isinstance(value, int) and not isinstance(value, enum.Enum):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        separator = " x " if key == "shape" else ", "
        return separator.join(_value_text("", item) for item in value) or "none"
    return one_line(str(value))


def facts_text(facts: Mapping[str, object], indent: int = 0) -> str:
    """Aligned `key: value` lines; a mapping within follows its key, indented."""
    plain = {str(key): _plain(value) for key, value in facts.items()}
    width = max((len(key) for key, value in plain.items() if not isinstance(value, dict)), default=0) + 1
    lines = []
    for key, value in plain.items():
        label = " " * indent + one_line(key).replace("_", " ") + ":"
        if isinstance(value, dict):
            lines.append(label + ("\n" + facts_text(value, indent + 2) if value else " none"))
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            lines.append(label + "\n" + _table(value, indent))
        else:
            lines.append(f"{label:<{width + indent}} {_value_text(key, value)}")
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, object]], indent: int) -> str:
    """Facts of several things, one line each, under their names."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [tuple(_value_text("shape" if key == "shape" else "", row.get(key, "")) for key in keys) for row in rows]
    text = _aligned([tuple(one_line(key) for key in keys), *cells])
    return "\n".join(" " * indent + line for line in text.split("\n"))


def recipe_facts(recipe: RecipeInfo) -> dict[str, object]:
    """A recipe as JSON-able facts."""
    return {"name": recipe.name, "kinds": _plain(list(recipe.kinds)), "summary": recipe.summary}


def recipes_text(recipes: Iterable[RecipeInfo], codecs: Iterable[CodecInfo]) -> str:
    """One line for each recipe in aligned columns: its name, the kinds of signal it takes, its summary; likewise for
    each codec.
    """
    rows = [(r.name, ", ".join(str(_plain(kind)) for kind in r.kinds), r.summary) for r in recipes]
    codec_rows = [(c.name, c.summary) for c in codecs]
    parts = [("--recipe", _aligned(rows)), ("--codec", _aligned(codec_rows))]
    return "\n\n".join(f"{option}\n{text}" for option, text in parts)


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as lines whose columns, but for the last, have equal widths."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"  {line.rstrip()}" for line in lines)


def _plain(value: object) -> Any:
    """`value` in what JSON has, from NumPy numbers and arrays, tuples, paths, enums, bytes and dataclasses."""
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars, without importing it
        return _plain(value.tolist())
    return str(value)


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


def json_text(value: object) -> str:
    """`value` as strict JSON, in ASCII."""
    return json.dumps(_finite(_plain(value)), indent=2, allow_nan=False)


def error_text(error: BaseException, verb: str, files: Sequence[str], verbose: bool = False) -> str:
    """What went wrong, on one line for the user: which file, what, and what to do.

    `files` are the names the command was given, the one being worked on first.
    """
    text = one_line(str(error))
    if isinstance(error, InrzipError):
        return text if any(one_line(file) in text for file in files) else f"{files[0]}: {text}"
    if isinstance(error, MemoryError) or text.startswith(_XLA_OUT_OF_MEMORY):
        return f"{files[0]}: not enough memory; {_MEMORY_ADVICE.get(verb, 'free some and try again')}"
    if isinstance(error, ImportError):
        return f"{text}; the installation is not complete: install inrzip again with pip"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or files[0]}: {error.strerror}"
    advice = "this is a bug; please report it" if verbose else "this is a bug; -v shows where"
    name = type(error).__name__
    return f"{files[0]}: {name}: {text}; {advice}" if text else f"{files[0]}: {name}; {advice}"


class TrainReport(Protocol):
    """What `inrzip.train_prior` returns, as far as it is shown."""

    @property
    def path(self) -> Path: ...
    @property
    def bytes(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def patches(self) -> int: ...
    @property
    def rounds(self) -> int: ...
    @property
    def seconds(self) -> float: ...


def training_text(report: TrainReport) -> str:
    """One line."""
    learned = f"{report.rounds} rounds of {report.patches} patches in {format_duration(report.seconds)}"
    return f"{one_line(str(report.path))}: {format_size(report.bytes)}, prior {report.name}, {learned}"


class TogetherReport(Protocol):
    """What `inrzip.compress_together` returns, as far as it is shown."""

    @property
    def path(self) -> Path: ...
    @property
    def bytes(self) -> int: ...
    @property
    def members(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def seconds(self) -> float: ...


def together_text(report: TogetherReport) -> str:
    """A line for each signal, and one for the file."""
    lines = [f"{one_line(m['name'])}: {m['bytes']} B, {_main_quality(m['quality'])}" for m in report.members]
    head = f"{one_line(str(report.path))}: {format_size(report.bytes)}, {len(report.members)} signals"
    return "\n".join([*lines, f"{head}, {format_duration(report.seconds)}"])
