"""`.inrz` files in Pillow: `Image.open`, once `inrzip.plugins` is imported."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import ImageFile

from .errors import InrzipError
from .header import KIND_MASK, MAGIC
from .reader import Reader
from .short_files import SHORT_MAGIC
from .signal import Kind

FORMAT = "INRZ"
MODES = {("u1", 1): "L", ("u1", 2): "LA", ("u1", 3): "RGB", ("u1", 4): "RGBA", ("u2", 1): "I;16", ("f4", 1): "F"}
"""Pillow's names of the sample types and channels that it can hold."""
MOST_REDUCED = 64


def accept(prefix: bytes) -> bool:
    """Whether a file begins as one of an image or a video does."""
    return prefix.startswith(SHORT_MAGIC) or (
        prefix.startswith(MAGIC) and prefix[len(MAGIC)] & KIND_MASK in (Kind.IMAGE, Kind.VIDEO)
    )


class InrzImageFile(ImageFile.ImageFile):
    """An image, or a video whose frames `seek` goes to. Samples are decoded when they are looked at; `thumbnail` and
    `draft` decode no more than they need.
    """

    format = FORMAT
    format_description = "Fitted network (inrzip)"

    def _open(self) -> None:
        try:
            assert self.fp is not None
            self._fp = self.fp
            self._reader = Reader(cast(BinaryIO, self.fp))
        except InrzipError as error:
            raise SyntaxError(str(error)) from error
        spec = self._reader.spec
        mode = MODES.get((spec.sample_type, spec.channels))
        if mode is None:
            raise SyntaxError(f"{spec.channels} channels of type {spec.sample_type}, which Pillow does not hold")
        self._mode, self._scale, self._frame, self._shown = mode, 1.0, 0, -1
        self._size = spec.shape[-1], spec.shape[-2]
        self.n_frames = spec.shape[0] if spec.kind == Kind.VIDEO else 1
        self.is_animated = self.n_frames > 1
        for key, value in spec.meta.items():
            self.info[key] = value
        rate = spec.meta.get("rate")
        if isinstance(rate, tuple):
            self.info["duration"] = 1000 * rate[1] / rate[0]

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Before anything is decoded: asks for a smaller picture, of no less than `size`, a power of two smaller."""
        if self._shown >= 0 or size is None or self._scale != 1:
            return None
        width, height = self._size
        by = 1
        while by < MOST_REDUCED and width >= 2 * by * max(size[0], 1) and height >= 2 * by * max(size[1], 1):
            by *= 2
        if by == 1:
            return None
        self._scale = 1 / by
        rows, columns = self._reader.output_shape(scale=self._scale)[-2:]
        self._size = columns, rows
        return self._mode, (0, 0, width / by, height / by)

    def load(self) -> Any:
        if self._shown != self._frame:
            pixels = self._reader.at(self._scale)[self._frame if self._reader.spec.kind == Kind.VIDEO else ...]
            if self._exclusive_fp and not self.is_animated:
                self._fp.close()
            self.fp, self._shown = io.BytesIO(np.ascontiguousarray(pixels).tobytes()), self._frame
            raw = "F;32NF" if self._mode == "F" else "I;16N" if self._mode == "I;16" else self._mode
            self.tile = [ImageFile._Tile("raw", (0, 0, *self._size), 0, (raw,))]  # a bare name would map the file
        return super().load()

    def tell(self) -> int:
        return self._frame

    def seek(self, frame: int) -> None:
        if self._seek_check(frame):
            self._frame = frame
