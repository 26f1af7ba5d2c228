"""`inrzip`'s own recipes as methods. Their quality points are those of `--quality`."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from inrzip import plan
from inrzip.checkpoint import Checkpoint
from inrzip.compilation import prepare
from inrzip.compression import encode_signal
from inrzip.errors import InrzipError
from inrzip.job import Job
from inrzip.progress import Progress
from inrzip.reader import Reader
from inrzip.recipes import RECIPES, Recipe
from inrzip.signal import Kind
from inrzip.weight_codecs import WeightCodec, choose_codec

from .items import Content, Item, as_signal
from .methods import Method, source_hash

ROOT = Path(__file__).resolve().parent.parent
QUALITIES = (26.0, 38.0, 50.0, 62.0)
"""Points of --quality: 12.5 double the size."""


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to fit: the steps of an effort from 1 to 9."""

    level: int

    def __str__(self) -> str:
        return f"-e {self.level}"


@dataclasses.dataclass(frozen=True)
class Seconds:
    """How long to fit: for so many seconds, all that belongs to a file included."""

    seconds: float

    def __str__(self) -> str:
        return f"--time {self.seconds:g}s"


Length = Effort | Seconds


class OutOfTime(Exception):
    """The time limit was reached within a fit. What was done of it is kept beside the cache."""


def code_version() -> str:
    """A hash of all that decides what a recipe's file becomes: the library's source files."""
    folders = ("inrzip", "architectures", "priors", "codecs")
    return source_hash(*(path for folder in folders for path in (ROOT / folder).rglob("*.py")))


def _parse(text: str) -> tuple[Recipe, WeightCodec]:
    """Recipe and codec of "recipe" or "recipe:codec". Raises InrzipError for names that do not exist."""
    recipe, _, codec = text.partition(":")
    if recipe not in RECIPES:
        raise InrzipError(f"recipe {recipe!r} does not exist; there are {', '.join(RECIPES)}")
    return RECIPES[recipe], choose_codec(codec or None)


def knows(text: str, kind: Kind) -> bool:
    """Whether a recipe is for signals of that kind. Raises InrzipError for names that do not exist."""
    return kind in _parse(text)[0].kinds


def recipe_method(
    text: str,
    kind: Kind,
    length: Length,
    qualities: Sequence[float] = QUALITIES,
    *,
    folder: Path | None = None,
    deadline: float | None = None,
) -> Method:
    """The method of "recipe" or "recipe:codec" (names that `inrzip recipes` lists) fitted for that long.

    Fits under way are kept in `folder`, and go on from there; at `deadline` (of `time.monotonic`) they raise
    `OutOfTime`. Raises InrzipError for names that do not exist.
    """
    recipe, codec = _parse(text)

    def encode(item: Item, quality: float) -> bytes:
        prepare()
        limit = length.seconds if isinstance(length, Seconds) else None
        request = plan.Request(quality=quality, time_limit=limit)
        if isinstance(length, Effort):
            request = dataclasses.replace(request, effort=length.level)
        facts = (item.digest(), text, str(length), quality, code_version())
        fingerprint = hashlib.sha256(repr(facts).encode()).hexdigest()
        checkpoint = Checkpoint(None if folder is None else folder / fingerprint, fingerprint)

        def progress(_: Progress) -> None:
            if deadline is not None and time.monotonic() > deadline:
                raise OutOfTime

        job = Job(checkpoint, progress, None)
        end = None if limit is None else time.monotonic() + limit - checkpoint.seconds
        data, _, _ = encode_signal(as_signal(item), request, recipe, codec, {}, [], job, end)
        checkpoint.remove()
        return data

    def decode(data: bytes, item: Item) -> Content:
        with Reader(data, max_memory=None) as reader:
            return reader.mesh() if item.kind == Kind.SHAPE else reader.render()

    name = f"{text} {length}"
    settings = f"--recipe {recipe.name} --codec {codec.name} {length}; quality points are those of -q"
    return Method(name, kind, settings, tuple(qualities), encode, decode, code_version, ours=True)
