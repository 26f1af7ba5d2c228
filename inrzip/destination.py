"""Where a compressed signal goes: a file of its own, or a file of several, which it begins or is added to."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from inrzip.architectures.base import Grid
from inrzip.architectures.pfnr import PfnrConfig

from .collection import CollectionFile, Entry, check_name, write_collection
from .errors import InrzipError
from .files import atomic_output, check_writable
from .members import Collection
from .reader import Reader
from .video_sequence import Pool


class Destination:
    """The file `path`: of one signal if `member` is None, else of several, of which `member` is the name of this one.
    With `append` it is added to those that are there.
    """

    def __init__(self, path: Path, member: str | None, append: bool, overwrite: bool):
        """Refuses early what `write` would refuse."""
        check_writable(path, overwrite or append)
        self.path = path
        self._member, self._append, self._overwrite = member, append, overwrite
        self._entries: list[Entry] = []
        if member is not None:
            check_name(member)
        if append:
            with CollectionFile.open(path) as there:
                self._entries = there.entries
        if member in [entry.name for entry in self._entries]:
            raise InrzipError(f"{path}: has a member {member} already; name another (--name)")

    def identity(self) -> str:
        """Tells what is there from anything else that could be."""
        if not self._append:
            return ""
        with open(self.path, "rb") as file:
            return f"{self._member} after {hashlib.file_digest(file, 'sha256').hexdigest()}"

    def pool(self, grid: Grid, settings: dict[str, int]) -> Pool | None:
        """The weights of earlier videos in sequence for a video on that grid, if there are any that it can use."""
        if not self._append:
            return None
        with Collection(self.path, None) as members:
            last = members.last_video(PfnrConfig.number)
            if last is None:
                return None
            return members.pool(last).following(len(members) - last, grid, settings)

    def write(self, data: bytes, check: Callable[[Reader], None] | None = None) -> None:
        """Writes the file, with what was there; at once or not at all. `check` is shown what lies on the disk before it
        gets its name, and raises if that is not to be. Raises InrzipError.
        """
        with atomic_output(self.path, self._overwrite or self._append) as temporary:
            self._write(temporary, data)
            if check is not None:
                with Collection(temporary, None) as members, members[len(members) - 1] as reader:
                    check(reader)

    def _write(self, temporary: Path, data: bytes) -> None:
        if self._member is None:
            temporary.write_bytes(data)
        elif not self._append:
            write_collection(temporary, [(self._member, data)])
        else:
            with CollectionFile.open(self.path) as there:
                if there.entries != self._entries:
                    raise InrzipError(f"{self.path}: was changed meanwhile; append again")
                write_collection(temporary, [(self._member, data)], there)

    @contextlib.contextmanager
    def read(self) -> Iterator[Reader]:
        """What was written, to be decoded."""
        with Collection(self.path, None) as members, members[len(members) - 1] as reader:
            yield reader
