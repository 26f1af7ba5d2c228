"""A method: one way to compress, at several qualities. Peers are methods, and so are our recipes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path

from inrzip.signal import Kind

from .items import Content, Item


class CannotCode(Exception):
    """A method that has nothing for this item: a sample type or a number of channels that it does not know."""


class NotInstalled(Exception):
    """The method's library is missing, or was built without it."""


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to compress signals of one kind.

    - `name`: as on the command line and in reports; `settings`: what was chosen, in words, for the report.
    - `ladder`: quality points by rising size, in the method's own units. A lossless method has one.
    - `encode`: a whole file at one of them: it holds all that its decoder needs. Raises `CannotCode`.
    - `decode`: that file's samples or mesh. The item tells only what players of such files know otherwise: the
      layout of the array, and for sound where it begins, as lossy codecs delay it.
    - `version`: of the library. Raises `NotInstalled`.
    - `ours`: whether this is one of `inrzip`'s recipes.
    """

    name: str
    kind: Kind
    settings: str
    ladder: tuple[float, ...]
    encode: Callable[[Item, float], bytes]
    decode: Callable[[bytes, Item], Content]
    version: Callable[[], str]
    lossless: bool = False
    ours: bool = False


def source_hash(*paths: Path) -> str:
    """SHA-256 of source files, by content: code that changed is another version."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def identity(method: Method) -> str:
    """What a method's files depend on besides item and quality: settings, library, and the code that calls it.

    Our recipes' version is that code already.
    """
    encode = method.encode.func if isinstance(method.encode, functools.partial) else method.encode
    source = inspect.getsourcefile(encode)
    code = source_hash(Path(source)) if source and not method.ours else ""
    return "|".join([method.name, method.kind.name, method.settings, method.version(), code])
