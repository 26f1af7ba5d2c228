"""Videos of pictures and motion as payloads (docs/format.md, "Pictures and motion").

A payload is the configuration, all motion as one coded stream after its length, and then pictures, each after its
length: the first frame, and what motion leaves of the others.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.architectures.base import Grid
from inrzip.architectures.grid import GridConfig
from inrzip.architectures.motion import Layer, MotionConfig, Step, layers, mosaics
from inrzip.architectures.warping import FRACTIONS, SPACINGS, Frame, moved, moved_precisely, node_shape, spread
from inrzip.codecs.motion import Contexts, Planes, decode_pyramid, encode_pyramid
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder

from . import wire
from .errors import CorruptFile
from .grid_payload import Picture
from .header import VERSION

PER_PIXEL = 4
"""Coded displacements are in so many parts of a pixel."""
PER_UNIT_OF_MIX = 8
"""Coded mixes are in so many parts of the way from the first reference to the second."""
FARTHEST = 1 << 18
"""The greatest displacement, in 1/`FRACTIONS`."""
MIDDLE = 0.5
"""What a picture holds where motion leaves nothing, so that it is like others: no darker than black."""

Field = Int[ndarray, "planes rows columns"]
"""Displacements from each reference, then, if there are two, the mix; in 1/`FRACTIONS`."""
Motions = dict[int, list[Planes] | None]
"""Coded numbers by frame; None: the frame is a picture of its own, and its references are not used."""


def n_planes(step: Step) -> int:
    """Planes at each level of a frame's motion."""
    return 2 if len(step.references) == 1 else 5


def base_field(step: Step, fields: dict[tuple[int, int], Field], shape: tuple[int, int]) -> Field:
    """What a frame's motion is told as a difference to: nothing for one reference; between two, the even part of the
    motion from the one to the other, and the middle of both.
    """
    if len(step.references) == 1:
        return np.zeros((2, *shape), np.int32)
    before, after = step.references
    between = fields[after, before]
    there, whole = step.frame - before, after - before
    first = (2 * between * there + whole) // (2 * whole)
    second = (2 * between * (there - whole) + whole) // (2 * whole)
    return np.concatenate([first, second, np.full((1, *shape), FRACTIONS // 2, np.int32)])


def field_of(base: Field, pyramid: Sequence[Planes]) -> Field:
    """The motion of a frame, exact on every machine."""
    units = np.array([FRACTIONS // PER_PIXEL] * (len(base) // 2 * 2) + [FRACTIONS // PER_UNIT_OF_MIX] * (len(base) % 2))
    moving = spread([planes * units[:, None, None] for planes in pyramid], base.shape[1:])
    field: Field = np.clip(base + np.floor(moving + 0.5), -FARTHEST, FARTHEST).astype(np.int32)
    return field


def note_fields(step: Step, field: Field, fields: dict[tuple[int, int], Field]) -> None:
    """Keeps the motion between a frame and its references, for frames that lie between them."""
    if step.references:
        fields[step.frame, step.references[0]] = field[:2]
    if len(step.references) == 2:
        fields[step.references[1], step.frame] = -field[2:4]


def predicted(field: Field, references: Sequence[Frame]) -> Frame:
    """A frame made of one or two others."""
    move = moved_precisely if references[0].dtype == np.float64 else moved
    frames = [move(reference, field[2 * i : 2 * i + 2]) for i, reference in enumerate(references)]
    if len(frames) == 1:
        return frames[0]
    mix = (np.clip(field[4], 0, FRACTIONS) / np.float32(FRACTIONS)).astype(np.float32)[..., None]
    mixed: Frame = frames[0] + mix * (frames[1] - frames[0])
    return mixed


def encode_motions(order: Sequence[Layer], motions: Motions) -> bytes:
    """All motion of a video."""
    encoder, contexts = RangeEncoder(), Contexts(len(SPACINGS))
    for step in _moving(order):
        pyramid = motions[step.frame]
        encoder.encode_bits(pyramid is None, 1)
        if pyramid is not None:
            encode_pyramid(encoder, contexts, pyramid)
    return encoder.finish()


def decode_motions(order: Sequence[Layer], stream: bytes, shape: tuple[int, int]) -> Motions:
    """The inverse of `encode_motions`. Raises CorruptFile."""
    decoder, contexts = RangeDecoder(stream), Contexts(len(SPACINGS))
    shapes = [node_shape(shape, spacing) for spacing in SPACINGS]
    motions: Motions = {}
    for step in _moving(order):
        alone = decoder.decode_bits(1)
        motions[step.frame] = None if alone else decode_pyramid(decoder, contexts, n_planes(step), shapes)
    decoder.finish()
    return motions


def _moving(order: Sequence[Layer]) -> list[Step]:
    return [step for layer in order for step in layer if step.references]


class CodedFrames:
    """The frames of a payload, decoded when they are first looked at. All of it raises CorruptFile for damaged data.

    `partial`: the payload may end early, but not before its first picture. Pictures that are not whole are left out,
    the first one excepted; what motion makes of other frames is shown without them.
    """

    def __init__(self, config: MotionConfig, cursor: wire.Cursor, grid: Grid, version: int, partial: bool = False):
        n_frames, height, width = grid.shape
        self._shape, self._channels = (height, width), grid.channels
        order = layers(n_frames, config.interval)
        self._steps = {step.frame: step for layer in order for step in layer}
        self._motions = decode_motions(order, cursor.take(cursor.varint()), self._shape)
        self._pictures: dict[int, tuple[Picture, int]] = {}
        self._lost: set[int] = set()
        before: Picture | None = None
        for steps in (steps for layer in order for steps in mosaics(layer, self._shape)):
            own, whole = _picture_part(cursor, partial)
            if not whole and steps[0].references:
                self._lost |= {step.frame for step in steps}
                continue
            if whole and not own.remaining:
                continue
            size = Grid((len(steps) * height, width), grid.channels)
            picture = read_picture(own, size, before, version, partial=not whole)
            before = picture if steps[0].references else None
            self._pictures |= {step.frame: (picture, i * height) for i, step in enumerate(steps)}
            if not whole:
                picture.render((0, 1), (0, 1))  # raises where not even its networks are there
        if cursor.remaining and not partial:
            raise CorruptFile(f"{cursor.remaining} bytes follow its pictures; get the file again")
        self._frames: dict[tuple[int, bool], Frame] = {}
        self._fields: dict[tuple[int, int], Field] = {}
        self._lock = threading.RLock()

    def frame(self, number: int, double: bool = False) -> Frame:
        """A frame in normalised units; `double`: in double precision."""
        with self._lock:
            if (number, double) not in self._frames:
                step = self._steps[number]
                references = [self.frame(reference, double) for reference in step.references]
                self._frames[number, double] = self._made(step, references, double)
            return self._frames[number, double]

    def _made(self, step: Step, references: list[Frame], double: bool) -> Frame:
        height, width = self._shape
        made = np.full((height, width, self._channels), MIDDLE, np.float64 if double else np.float32)
        if step.frame in self._pictures:
            picture, top = self._pictures[step.frame]
            made = picture.render((top, top + height), (0, width), double)
        pyramid = self._motions.get(step.frame)
        if pyramid is None and step.frame in self._lost:
            made = references[0]
        if pyramid is not None:
            field = field_of(base_field(step, self._fields, self._shape), pyramid)
            made = made + predicted(field, references) - np.float32(MIDDLE)
        else:
            field = np.zeros((n_planes(step), height, width), np.int32)
        note_fields(step, field, self._fields)
        clipped: Frame = np.clip(made, 0, 1)
        return clipped


def _picture_part(cursor: wire.Cursor, partial: bool) -> tuple[wire.Cursor, bool]:
    """The bytes of the next picture, and whether that is all of them, as it has to be unless `partial`."""
    try:
        length = cursor.varint()
    except CorruptFile:
        if not partial:
            raise
        return wire.Cursor(cursor.take(cursor.remaining)[:0]), False
    there = min(length, cursor.remaining) if partial else length
    return wire.Cursor(cursor.take(there)), there == length


def read_picture(
    cursor: wire.Cursor, grid: Grid, before: Picture | None, version: int = VERSION, partial: bool = False
) -> Picture:
    """The picture in a part of a payload, which may end early if `partial`. Its networks are told as changes of those
    of the one `before`.
    """
    from .configuration import decode_config

    config = decode_config(GridConfig, cursor, grid)
    assert isinstance(config, GridConfig)
    shape, moves = (grid.shape[0], grid.shape[1]), None if before is None else before.moves
    return Picture(config, cursor.take(cursor.remaining), shape, grid.channels, partial, version, moves=moves)
