"""Decoded segments that are kept: those used last, within a number of bytes, shared by threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Segments by number, of at most `limit` bytes together, as `size` tells; the one used last is kept however large
    it is.
    """

    def __init__(self, limit: int, size: Callable[[T], int]):
        self._limit, self._size = limit, size
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Future[T]] = OrderedDict()
        self._sizes: dict[int, int] = {}

    def get(self, number: int, make: Callable[[], T]) -> T:
        """The segment of that number; `make` makes it, if it is not there. Threads that want the same one wait for the
        first of them.
        """
        with self._lock:
            found = self._kept.get(number)
            if found is not None:
                self._kept.move_to_end(number)
            else:
                made = self._kept[number] = Future()
        if found is not None:
            return found.result()
        try:
            segment = make()
        except BaseException as error:
            with self._lock:
                del self._kept[number]
            made.set_exception(error)
            raise
        made.set_result(segment)
        with self._lock:
            self._sizes[number] = self._size(segment)
            self._drop()
        return segment

    def _drop(self) -> None:
        """Lets go of what was not used for longest; of what is still being made, nothing is known."""
        for number in list(self._kept)[:-1]:
            if sum(self._sizes.values()) <= self._limit:
                return
            if number in self._sizes:
                del self._kept[number], self._sizes[number]
