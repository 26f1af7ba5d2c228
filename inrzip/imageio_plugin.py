"""`.inrz` files in imageio, read and written, once `inrzip.plugins` is imported."""

from __future__ import annotations

from collections.abc import Iterator
from types import EllipsisType
from typing import Any

import numpy as np
from imageio.core.request import URI_BYTES, InitializationError, IOMode, Request
from imageio.core.v3_plugin_api import ImageProperties, PluginV3
from jaxtyping import Shaped
from numpy import ndarray

from .errors import InrzipError
from .reader import Reader
from .signal import Kind

READ = (Kind.IMAGE, Kind.VIDEO, Kind.VOLUME)
Which = int | EllipsisType | None
"""An image's number, or `...` or None for all."""


class InrzPlugin(PluginV3):
    """Images, videos by frame, and volumes by slice along their first axis. Only what is asked for is decoded.

    Like imageio's other plugins, without an index it reads all of a video or volume; an image has index 0.
    """

    def __init__(self, request: Request):
        super().__init__(request)
        self._reader: Reader | None = None
        if request.mode.io_mode == IOMode.write:
            return
        try:
            self._reader = Reader(request.get_file())
        except InrzipError as error:
            raise InitializationError(str(error)) from error
        if self._reader.spec.kind not in READ:
            raise InitializationError(f"holds a signal of kind {self._reader.spec.kind.name.lower()}, and no pictures")

    @property
    def _open(self) -> Reader:
        if self._reader is None:
            raise RuntimeError("this file was opened to be written")
        return self._reader

    def read(self, *, index: Which = None, scale: float = 1.0) -> Shaped[ndarray, "..."]:
        """The picture, frame or slice of that number, or all of them; `scale` as in `inrzip.Reader.render`."""
        array = self._open.at(scale)
        return array[self._key(index)]

    def write(self, ndimage: Any, *, is_batch: bool = False, **wishes: Any) -> bytes | None:
        """Fits an array, and writes the file: `wishes` are those of `inrzip.fit`. Arrays of four axes, and batches,
        are videos.
        """
        from .research import fit

        array = np.stack(ndimage) if isinstance(ndimage, list | tuple) else np.asarray(ndimage)
        film = array.ndim == 4 or is_batch or isinstance(ndimage, list | tuple)
        wishes.setdefault("kind", Kind.VIDEO if film else Kind.IMAGE)
        data = fit(array, **wishes).data
        self.request.get_file().write(data)
        return data if self.request._uri_type == URI_BYTES else None

    def iter(self) -> Iterator[Shaped[ndarray, "..."]]:
        """The image, or the frames or slices one by one."""
        reader = self._open
        yield from [reader[...]] if reader.spec.kind == Kind.IMAGE else (reader[i] for i in range(len(reader)))

    def properties(self, index: Which = None) -> ImageProperties:
        """Shape and type, without decoding."""
        reader, spec = self._open, self._open.spec
        key = self._key(index)
        all_of_several = key is ... and spec.kind != Kind.IMAGE
        batch = all_of_several or index is Ellipsis
        shape = reader.shape if key is ... else np.broadcast_to(0, reader.shape)[key].shape
        return ImageProperties(shape, reader.dtype, (len(reader) if all_of_several else 1) if batch else None, batch)

    def metadata(self, index: Which = None, exclude_applied: bool = True) -> dict[str, Any]:
        """What the header says, `fps` and `duration` in seconds for videos."""
        reader, spec = self._open, self._open.spec
        facts = {"kind": spec.kind.name.lower(), "range": (spec.low, spec.high), "bytes": reader.container.size}
        rate = spec.meta.get("rate")
        if isinstance(rate, tuple):
            facts |= {"fps": rate[0] / rate[1], "duration": spec.shape[0] * rate[1] / rate[0]}
        return facts | dict(spec.meta)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        super().close()

    def _key(self, index: Which) -> Any:
        """What of the array an index means."""
        if self._open.spec.kind != Kind.IMAGE:
            return ... if index is None else index
        if index not in (None, 0, ...):
            raise IndexError(f"image {index} of 1")
        return np.s_[None] if index is Ellipsis else ...
