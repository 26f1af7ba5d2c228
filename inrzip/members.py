"""The signals of a file of several: each is opened as one in a file of its own would be."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from .collection import CollectionFile
from .errors import CorruptFile
from .open_file import Closing, Source
from .reader import DEFAULT_MAX_MEMORY, Reader
from .video_sequence import Pool


class Collection(Closing):
    """All signals of an `.inrz` file, in order: `collection["name"]` or `collection[0]` opens one; nothing is decoded
    before it is looked at. A context manager. A file of one signal is a collection of one.
    """

    def __init__(self, source: Source, max_memory: int | None = DEFAULT_MAX_MEMORY):
        self.file = CollectionFile.open(source)
        self._max_memory = max_memory
        self._pool: tuple[int, Pool] | None = None
        self._turn = threading.RLock()

    @property
    def names(self) -> list[str]:
        """Of the members, in order."""
        return self.file.names

    def __len__(self) -> int:
        return len(self.file.entries)

    def __iter__(self) -> Iterator[Reader]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: int | str) -> Reader:
        """The member of that name or number. Raises InrzipError."""
        if isinstance(key, int) and key >= len(self):
            raise IndexError(key)
        return self.open(key)

    def open(self, key: int | str, *, partial: bool = False) -> Reader:
        """The same. `partial`: see `Reader`."""
        number = self.file.find(key)
        file = self.file

        def earlier(before: int) -> Pool:
            return self.pool(self._place(number, before))

        return Reader(file.section(number), self._max_memory, partial=partial, name=file.label(number), earlier=earlier)

    def pool(self, number: int) -> Pool:
        """The weights that videos in sequence use up to a member. Raises CorruptFile.

        Those of the member asked for last are kept: going forward decodes each once.
        """
        with self._turn:
            chain = [number]
            while self._pool is None or chain[-1] != self._pool[0]:
                before = self[chain[-1]].before()
                if not before:
                    break
                chain.append(self._place(chain[-1], before))
            for place in reversed(chain):
                if self._pool is None or self._pool[0] != place:
                    self._pool = place, self[place].pool()
            assert self._pool is not None
            return self._pool[1]

    def last_video(self, architecture: int) -> int | None:
        """The number of the last member of that architecture."""
        for number in reversed(range(len(self))):
            if self[number].container.header.architecture == architecture:
                return number
        return None

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def __repr__(self) -> str:
        return f"<inrzip.Collection of {len(self)}: {', '.join(self.names[:4])}{', ...' if len(self) > 4 else ''}>"

    def _place(self, number: int, before: int) -> int:
        if before > number:
            raise CorruptFile("it uses weights of a member before the first")
        return number - before
