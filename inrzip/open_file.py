"""Open files that are read part by part: of a path, of bytes, of a URL, or what the caller has open."""

from __future__ import annotations

import abc
import io
import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from .errors import CorruptFile, InrzipError

Source = Path | str | bytes | BinaryIO
"""What a file is opened by. Of an open one, `read` and `seek` are all that is used."""
Opened = TypeVar("Opened")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::|://)")


class Closing(abc.ABC):
    """What is closed at the end of a `with` block."""

    @abc.abstractmethod
    def close(self) -> None:
        """Gives back what it holds open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OpenFile(Closing):
    """A file of which parts are read, by one thread at a time."""

    size: int  # of the whole file, in bytes

    def __init__(self, file: BinaryIO, name: str, owned: bool):
        """`name` stands for the file in messages. `owned`: `close` closes it."""
        self.name = name
        self._file, self._owned = file, owned
        self._turn = threading.Lock()
        try:
            self.size = file.seek(0, os.SEEK_END)
        except (OSError, ValueError) as error:
            raise InrzipError(f"{name}: cannot be read at random ({_reason(error)}); save it as a file") from error

    def close(self) -> None:
        """Closes the file, unless it was given open."""
        if self._owned:
            self._file.close()

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes of the file. Raises CorruptFile, without its name, if it has fewer; InrzipError if reading fails."""
        pieces, left = [], count
        try:
            with self._turn:
                self._file.seek(offset)
                while left and (piece := self._file.read(left)):
                    pieces.append(piece)
                    left -= len(piece)
        except Exception as error:  # files of servers have errors of their own
            raise InrzipError(f"{self.name}: cannot be read: {_reason(error)}") from error
        if left:
            raise CorruptFile("became shorter while it was read; get the file again")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def check_length(self, needed: int) -> None:
        """Raises CorruptFile, without the file's name, if it is shorter."""
        if self.size < needed:
            raise CorruptFile(f"is cut short: at least {needed - self.size} bytes are missing; get the file again")


def opened(source: Source, name: str | None, reads: Callable[[BinaryIO, str, bool], Opened]) -> Opened:
    """What `reads` makes of an open file, its name, and whether it was opened here. Raises InrzipError."""
    if isinstance(source, bytes):
        return reads(io.BytesIO(source), name or "<bytes>", True)
    if not isinstance(source, Path | str):
        return reads(source, name or str(getattr(source, "name", "<stream>")), False)
    remote = isinstance(source, str) and _URL.match(source)
    file = open_url(str(source)) if remote else open_regular(Path(source))
    try:
        return reads(file, name or str(source), True)
    except BaseException:
        file.close()
        raise


def open_url(url: str) -> BinaryIO:
    """A file on a server, of which the bytes that are read are fetched, and no others. Raises InrzipError."""
    try:
        import fsspec
    except ImportError as error:
        raise InrzipError(f"{url}: files on servers need another package: pip install 'inrzip[remote]'") from error
    try:
        file: BinaryIO = fsspec.open(url, "rb", cache_type="none").open()
    except FileNotFoundError as error:
        raise InrzipError(f"{url}: does not exist") from error
    except Exception as error:  # each protocol has errors of its own
        raise InrzipError(f"{url}: cannot be opened: {_reason(error)}") from error
    return file


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def open_regular(path: Path) -> BinaryIO:
    """Opens a file, and nothing else that has a path. Raises InrzipError."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):  # opening a named pipe would wait for a writer, perhaps for ever
            return open(path, "rb")
    except FileNotFoundError as error:
        raise InrzipError(f"{path}: does not exist") from error
    except OSError as error:
        raise InrzipError(f"{path}: cannot be opened: {error.strerror or error}") from error
    except ValueError as error:
        raise InrzipError(f"{str(path)!r}: is no file's name: {error}") from error
    what = "is a directory; name a file" if stat.S_ISDIR(mode) else "is not a regular file; save its content as one"
    raise InrzipError(f"{path}: {what}")
