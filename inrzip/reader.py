"""Opening a file: nothing is decoded until it is asked for, and then only the segments that are needed."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from inrzip.architectures.base import Axes, Grid, Representation
from inrzip.architectures.bits import Bits
from inrzip.architectures.context import ExactSamples
from inrzip.architectures.grid import GridConfig, LatentGrid
from inrzip.architectures.nirvana import NirvanaConfig
from inrzip.architectures.pfnr import PfnrConfig

from . import exact, grid_preview, memory
from .compilation import prepare
from .container import Container, naming
from .errors import CorruptFile, InrzipError
from .grid_payload import has_preview
from .group_chain import ChainReader
from .indexing import Seconds, listed, positions, positions_of, samples_in, scaled_size
from .network import decode_network
from .open_file import Closing, Source
from .recipes import ARCHITECTURES
from .scaled import Scaled
from .segment_cache import Cache
from .signal import AudioTrack, Kind, Mesh, MetaValue, Spec
from .video_sequence import Earlier, Pool, before_of, decode_video

DEFAULT_MAX_MEMORY = 4 << 30
DEFAULT_CACHE_BYTES = 256 << 20
MAX_SUPERSAMPLING = 64
"""Points along an axis that are averaged for one sample when minifying: all there are, down to this part of a scale."""

MORE_BITS, DEEP_GAIN = 8, 257
"""Of samples of 8 bits as such of 16: 255 becomes 65535."""

Bounds = tuple[int, int | None]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Positions along each axis, how many neighbours along it are averaged into one sample, and the preview that both
    are of, if it is one.
    """

    axes: list[Float[ndarray, " n"]]
    factors: list[int]
    preview: LatentGrid | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of the result."""
        return tuple(len(axis) // factor for axis, factor in zip(self.axes, self.factors, strict=True))

    @property
    def on_samples(self) -> bool:
        """Whether all positions are those of samples, so that nothing is in between or averaged."""
        whole = all(bool((axis == np.rint(axis)).all()) for axis in self.axes)
        return whole and self.preview is None and all(factor == 1 for factor in self.factors)


@dataclasses.dataclass(frozen=True)
class _Known:
    """Samples that are decoded already."""

    decoded: Int[ndarray, "*grid channels"]

    def samples(self) -> Int[ndarray, "*grid channels"]:
        return self.decoded


@dataclasses.dataclass(frozen=True)
class _Sampling:
    """Samples for each original one along each axis, points that are averaged for one, and of how many original ones a
    sample of the preview that is used is one (1: none is used).
    """

    scales: list[float]
    factors: list[int]
    reduction: int


class Reader(Closing):
    """A signal in an `.inrz` file, decoded when and where it is looked at. Several threads may share one.

    `reader[100:200, 300:400]` decodes that region (a video by frame, a sound by sample), `np.asarray(reader)` all of
    it, `render` any region at any scale.

    `source`: a path, a URL (`https://` and what else fsspec, if it is installed, opens), the file's bytes, or anything
    with `read` and `seek`; only the parts that are needed are read. `max_memory`: bytes that decoding may take, None
    for any number. `cache_bytes`: decoded segments are kept up to that many bytes, those used last, and always the very
    last, so that going through a file in order decodes each once. `partial`: of a picture of latent grids whose file
    was cut short, what is there is decoded: `container.cut` tells; of a video or sound, see `rows_there`. `name`: what
    stands for the file in messages.
    `earlier`: the weights of members before this one of a file of several signals (see `inrzip.members`).
    """

    def __init__(
        self,
        source: Source,
        max_memory: int | None = DEFAULT_MAX_MEMORY,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        partial: bool = False,
        name: str | None = None,
        earlier: Earlier | None = None,
    ):
        prepare()
        self._container = Container.open(source, name, partial=partial)
        self._earlier = earlier or _nothing_earlier
        self._max_memory = max_memory
        self._kept = Cache(cache_bytes, _memory_of)
        self._exact = Cache(cache_bytes, _size_of)
        container = self._container
        self._chain = ChainReader(self.payload, self._grid, container.name, max_memory, container.header.version)

    @property
    def spec(self) -> Spec:
        """What the header says of the signal."""
        return self._container.header.spec

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `np.asarray(reader)`: the grid, and the channels if there are several."""
        return self.spec.shape if self.spec.channels == 1 else (*self.spec.shape, self.spec.channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def meta(self) -> Mapping[str, MetaValue]:
        """Facts of the signal, such as `rate`; see `Spec`."""
        return self.spec.meta

    @property
    def lossless(self) -> bool:
        """Whether all samples are those of the original, bit by bit."""
        return self._container.header.lossless and not self._container.cut

    @property
    def container(self) -> Container:
        """The parsed file."""
        return self._container

    def tracks(self) -> list[AudioTrack]:
        """The sound tracks of a video."""
        return self._container.tracks

    def close(self) -> None:
        self._container.close()

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<inrzip.Reader {self.spec.kind.name.lower()} {self.shape} {self.dtype}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Shaped[ndarray, "..."]:
        return self.at(1.0).__array__(dtype, copy)

    def __getitem__(self, key: Any) -> Shaped[ndarray, "..."]:
        """NumPy indexing. Ints, slices (also with steps, or from the end), an ellipsis and new axes decode nothing
        else; lists and arrays, of numbers or truth values, decode the rows and columns that they name. Raises
        IndexError.
        """
        return self.at(1.0)[key]

    def at(self, scale: float) -> Scaled:
        """The signal at a scale (see `render`), to be indexed as the signal itself is."""
        return Scaled(self, scale, self.output_shape(scale=scale))

    def render(
        self,
        region: Sequence[Bounds] | None = None,
        frames: Bounds | None = None,
        scale: float = 1.0,
        time: Seconds | None = None,
    ) -> Shaped[ndarray, "*grid channels"]:
        """Samples of a region at any scale, in the signal's sample type, with a channel axis.

        `region`: (start, stop) along each axis, in samples, time excepted for videos; stop None is the end. `frames`:
        (start, stop) of a video, or samples of a sound. `time`: the same in seconds: the frames that are shown, or the
        samples that lie, from the first moment until before the second. `scale`: samples for each original one along
        the axes of `region` (time stays as it is in videos): above 1 the function is evaluated in between, below 1 it
        is averaged over the area of each sample, so that what is finer does not alias (down to 1/64; smaller scales
        average 64 points along each axis). Small scales of large pictures are made of the preview in the file
        (`is_preview`). Raises InrzipError.
        """
        return np.concatenate(list(self._parts(self._plan(region, frames, scale, time, whole=True))))

    def parts(
        self,
        region: Sequence[Bounds] | None = None,
        frames: Bounds | None = None,
        scale: float = 1.0,
        time: Seconds | None = None,
        deep: Spec | None = None,
    ) -> Iterator[Shaped[ndarray, "part *rest channels"]]:
        """What `render` returns, in consecutive pieces along the first axis: frames of a video, parts of a segment.
        `deep`: as samples of another type (`deepened`): the function's value, rounded less.
        """
        return self._parts(self._plan(region, frames, scale, time), deep)

    def output_shape(
        self,
        region: Sequence[Bounds] | None = None,
        frames: Bounds | None = None,
        scale: float = 1.0,
        time: Seconds | None = None,
    ) -> tuple[int, ...]:
        """The grid shape of what `render` would return, without decoding."""
        return self._wanted(region, frames, time, self._sampling(scale))[1]

    def is_preview(self, scale: float) -> bool:
        """Whether a scale shows the preview in the file of a large picture: quickly, but not as well as could be."""
        return self._reduction(scale) > 1

    def mesh(self, region: Sequence[Bounds] | None = None, scale: float = 1.0) -> Mesh:
        """The surface of a shape by marching cubes, on its grid scaled by `scale`."""
        from .sdf import count_crossings, extract_mesh

        if self.spec.kind != Kind.SHAPE:
            raise InrzipError(f"{_article(self.spec.kind)} has no mesh")
        plan = self._plan(region, None, scale, None, supersample=False, whole=True)
        axes = plan.axes
        values = self._values(plan)[..., 0] * (self.spec.high - self.spec.low) + self.spec.low
        memory.check(count_crossings(values) * memory.BYTES_PER_VERTEX, self._max_memory, self._container.name)
        cube = [(2 * axis + 1) / n - 1 for axis, n in zip(axes, self.spec.shape, strict=True)]
        spacing = tuple(float(a[1] - a[0]) if len(a) > 1 else 1.0 for a in cube)
        return extract_mesh(values, self.spec, tuple(float(a[0]) for a in cube), spacing)  # type: ignore[arg-type]

    def segment(self, index: int) -> Representation:
        """The network of one segment, its weights decoded; raises CorruptFile or LimitExceeded."""
        return self._kept.get(index, lambda: self._decode(index))

    def rows_there(self) -> int:
        """Rows along the first axis of a file that was cut short: those of its whole segments, and of the next one if
        something of it can be shown. Raises CorruptFile if there are none.
        """
        header, n = self._container.header, self._container.n_whole
        if n < header.n_segments:
            try:
                self.segment(n)
                n += 1
            except CorruptFile:
                if n == 0:
                    raise
        return header.segment_bounds(n - 1)[1]

    def payload(self, index: int) -> bytes:
        """The bytes of one segment's network. Raises CorruptFile."""
        payload = self._container.segment(index)
        if not self._container.header.lossless:
            return payload
        with self._naming(index):
            return exact.split(payload, self._container.cut)[0]

    def exact_samples(self, index: int) -> Shaped[ndarray, "part *rest channels"]:
        """All samples of one segment of a lossless file. Raises CorruptFile if they are not those of the original."""
        return self._exact.get(index, lambda: self._decode_exact(index))

    def _decode_exact(self, index: int) -> Shaped[ndarray, "part *rest channels"]:
        header, network = self._container.header, self.segment(index)
        memory.check(exact.decoding_bytes(self._grid(index)), self._max_memory, self._container.name)
        with self._naming(index):
            part = exact.split(self._container.segment(index))[1]
            return exact.decode_part(part, network, ARCHITECTURES[header.architecture], self.spec)

    @contextlib.contextmanager
    def _naming(self, index: int) -> Iterator[None]:
        """Puts file and segment before what is wrong with it."""
        try:
            yield
        except InrzipError as error:
            raise type(error)(f"{self._container.name}: segment {index}: {error}") from error

    def _grid(self, index: int) -> Grid:
        """That of one segment."""
        start, stop = self._container.header.segment_bounds(index)
        return Grid((stop - start, *self.spec.shape[1:]), self.spec.channels)

    def _decode(self, index: int) -> Representation:
        header, grid = self._container.header, self._grid(index)
        if header.architecture == NirvanaConfig.number:
            return self._chain.network(index)
        payload = self.payload(index)
        with self._naming(index):
            if header.architecture == PfnrConfig.number:
                return decode_video(payload, grid, self._earlier, self._max_memory, header.version)[0]
            network = decode_network(
                payload, header.architecture, grid, self._max_memory, header.version, self._container.cut
            )
        if isinstance(network, ExactSamples):
            network = dataclasses.replace(network, low=self.spec.low, high=self.spec.high)
        return network

    def _between(self, index: int) -> Representation:
        """What a segment is like between its samples: its network, or straight lines where a file has none."""
        network = self.segment(index)
        if not isinstance(network, Bits) or network.network is not None:
            return network
        samples = _Known(self.exact_samples(index).astype(np.int64))
        return ExactSamples(network.grid, samples, self.spec.low, self.spec.high)

    def pool(self) -> Pool:
        """The weights that videos in sequence use up to this one. Raises CorruptFile."""
        header, name = self._container.header, self._container.name
        if header.architecture != PfnrConfig.number or header.n_segments != 1:
            raise CorruptFile(f"{name}: holds no weights that other videos may use")
        payload, grid = self.payload(0), self._grid(0)
        try:
            return decode_video(payload, grid, self._earlier, self._max_memory, header.version)[1]
        except InrzipError as error:
            raise type(error)(f"{name}: {error}") from error

    def before(self) -> int:
        """How many members back the video is whose weights this one uses; 0: it uses none."""
        header = self._container.header
        if header.architecture != PfnrConfig.number:
            return 0
        with naming(self._container.name):
            return before_of(self.payload(0), self._grid(0))

    def picked(self, places: Sequence[range | Int[ndarray, " n"]], scale: float) -> Shaped[ndarray, "*grid channels"]:
        """Some samples of the signal at a scale: the outer product of their places along each axis."""
        sampling = self._sampling(scale)
        sizes = [len(axis) for axis in places]
        self._check_memory(sizes, sampling.factors, whole=True)
        if not all(sizes):
            return np.empty((*sizes, self.spec.channels), self.dtype)
        whole = [scaled_size(0, n, s) for n, s in zip(self.spec.shape, sampling.scales, strict=True)]
        axes = [
            positions_of(listed(axis), n, size, factor)
            for axis, n, size, factor in zip(places, self.spec.shape, whole, sampling.factors, strict=True)
        ]
        return np.concatenate(list(self._parts(self._planned(axes, sampling))))

    def _plan(
        self,
        region: Sequence[Bounds] | None,
        frames: Bounds | None,
        scale: float,
        time: Seconds | None,
        *,
        supersample: bool = True,
        whole: bool = False,
    ) -> _Plan:
        """Refuses what would not fit in memory; with `whole`, all samples are to be there at once."""
        sampling = self._sampling(scale, supersample)
        bounds, sizes = self._wanted(region, frames, time, sampling)
        self._check_memory(sizes, sampling.factors, whole)
        axes = [positions(*b, n, f) for b, n, f in zip(bounds, sizes, sampling.factors, strict=True)]
        return self._planned(axes, sampling)

    def _wanted(
        self, region: Sequence[Bounds] | None, frames: Bounds | None, time: Seconds | None, sampling: _Sampling
    ) -> tuple[list[tuple[int, int]], tuple[int, ...]]:
        """Bounds along each axis, and how many samples are wanted between them."""
        if time is not None:
            if frames is not None:
                raise InrzipError("give frames or a time, not both")
            frames = samples_in(time, self.spec)
        bounds = self._bounds(region, frames)
        return bounds, tuple(scaled_size(*b, s) for b, s in zip(bounds, sampling.scales, strict=True))

    def _sampling(self, scale: float, supersample: bool = True) -> _Sampling:
        if not (math.isfinite(scale) and scale > 0):
            raise InrzipError(f"scale {scale} is no positive number")
        spec = self.spec
        scaled = [not (spec.kind == Kind.VIDEO and i == 0) for i in range(len(spec.shape))]
        reduction = self._reduction(scale)
        factor = min(math.ceil(1 / (scale * reduction)), MAX_SUPERSAMPLING) if supersample else 1
        return _Sampling([scale if s else 1.0 for s in scaled], [factor if s else 1 for s in scaled], reduction)

    def _planned(self, axes: list[Float[ndarray, " n"]], sampling: _Sampling) -> _Plan:
        preview, reduction = None, sampling.reduction
        if reduction > 1:
            picture = self.segment(0)
            assert isinstance(picture, LatentGrid)
            preview = picture.preview
            axes = [(axis + 0.5) / reduction - 0.5 for axis in axes]
        return _Plan(axes, sampling.factors, preview)

    def _reduction(self, scale: float) -> int:
        """Of a picture whose preview has samples enough for a scale, for how many along an axis one of them stands;
        else 1.
        """
        header = self._container.header
        if header.architecture == GridConfig.number and len(self.spec.shape) == 2:
            height, width = self.spec.shape
            reduction = 1 << grid_preview.halvings((height, width))
            if has_preview((height, width), header.version) and scale * reduction <= 1:
                return reduction
        return 1

    def _bounds(self, region: Sequence[Bounds] | None, frames: Bounds | None) -> list[tuple[int, int]]:
        spec = self.spec
        if frames is not None and spec.kind not in (Kind.VIDEO, Kind.AUDIO):
            raise InrzipError(f"{_article(spec.kind)} has no frames; use a region (--region)")
        timed = spec.kind == Kind.VIDEO or (spec.kind == Kind.AUDIO and frames is not None)
        given: list[Bounds] = [frames or (0, None)] if timed else []
        n_spatial = len(spec.shape) - len(given)
        if region is not None and len(region) != n_spatial:
            raise InrzipError(f"a region here has one range for each of {n_spatial} axes, not {len(region)}")
        given += region if region is not None else [(0, None)] * n_spatial
        bounds = []
        for (start, stop), size in zip(given, spec.shape, strict=True):
            end = size if stop is None else min(stop, size)
            if not 0 <= start < end:
                raise InrzipError(f"range {start}:{'' if stop is None else stop} is empty or outside 0:{size}")
            bounds.append((start, end))
        return bounds

    def _rows_at_once(self, sizes: Sequence[int], factors: Sequence[int]) -> int:
        """Output rows in a piece: a video is decoded frame by frame."""
        if self.spec.kind == Kind.VIDEO:
            return 1
        return memory.rows_at_once(factors[0] * math.prod(n * f for n, f in zip(sizes[1:], factors[1:], strict=True)))

    def _check_memory(self, sizes: Sequence[int], factors: Sequence[int], whole: bool) -> None:
        """Raises LimitExceeded for an output of `sizes` samples that would not fit, piece by piece or as a whole."""
        spec = self.spec
        rows = sizes[0] if whole and spec.kind == Kind.SHAPE else self._rows_at_once(sizes, factors)
        needed = memory.decoding_bytes(sizes, factors, spec.channels, rows)
        if whole:  # the pieces, and the array they are put together in
            needed += 2 * math.prod(sizes) * spec.channels * spec.dtype.itemsize
        memory.check(needed, self._max_memory, self._container.name)

    def _parts(self, plan: _Plan, deep: Spec | None = None) -> Iterator[Shaped[ndarray, "part *rest channels"]]:
        rows = self._rows_at_once(plan.sizes, plan.factors)
        for piece in self._pieces(plan.axes[0], plan.factors[0], rows):
            part = dataclasses.replace(plan, axes=[piece, *plan.axes[1:]])
            if deep is not None:
                yield deep.quantise(self._deep_values(part))
                continue
            yield (
                self._exact_part(part) if self.lossless and part.on_samples else self.spec.quantise(self._values(part))
            )

    def _deep_values(self, plan: _Plan) -> Float[ndarray, "*grid channels"]:
        """Normalised values for samples of 16 bits, at places that all lie in one segment."""
        index = int(self._owners(plan.axes[0][:1])[0])
        network, values = self.segment(index), self._values(plan)
        if not isinstance(network, Bits) or network.network is None or any(factor != 1 for factor in plan.factors):
            return values
        low, span = round(self.spec.low), max(network.config.span, 1)
        numbers = self._exact_part(plan).astype(np.float64) - low if plan.on_samples else np.rint(values * span)
        start, _ = self._container.header.segment_bounds(index)
        fine = network.finer(numbers, (plan.axes[0] - start, *plan.axes[1:]), MORE_BITS)
        return fine * (2.0**MORE_BITS / DEEP_GAIN / span)

    def _exact_part(self, plan: _Plan) -> Shaped[ndarray, "*grid channels"]:
        """Samples of a lossless file, at places that all lie in one segment."""
        index = int(self._owners(plan.axes[0][:1])[0])
        start, _ = self._container.header.segment_bounds(index)
        places = [np.rint(axis).astype(np.int64) for axis in plan.axes]
        samples: Shaped[ndarray, "*grid channels"] = self.exact_samples(index)[np.ix_(places[0] - start, *places[1:])]
        return samples

    def _pieces(self, positions: Float[ndarray, " n"], factor: int, rows: int) -> Iterator[Float[ndarray, " m"]]:
        """Cuts positions along the first axis where segments end, and then into pieces of at most `rows` samples."""
        owner = self._owners(positions)[::factor]
        start = 0
        for stop in (*(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(owner)):
            for first in range(start, stop, rows):
                yield positions[first * factor : min(first + rows, stop) * factor]
            start = stop

    def _owners(self, positions: Float[ndarray, " n"]) -> Int[ndarray, " n"]:
        header = self._container.header
        nearest: Int[ndarray, " n"] = np.clip(np.rint(positions), 0, self.spec.shape[0] - 1).astype(np.int64)
        return nearest // header.segment_length

    def _values(self, plan: _Plan) -> Float[ndarray, "*grid channels"]:
        """Normalised values on the outer product of a plan's axes, neighbours averaged."""
        axes, factors = plan.axes, plan.factors
        owners = self._owners(axes[0])
        values = []
        for index in dict.fromkeys(owners.tolist()):
            mine: Axes = (axes[0][owners == index] - self._container.header.segment_bounds(index)[0], *axes[1:])
            values.append((plan.preview or self._between(index)).render(mine))
        result = np.concatenate(values) if len(values) != 1 else values[0]
        if not np.isfinite(result).all():
            raise CorruptFile(f"{self._container.name}: the network's values are not finite; get the file again")
        for axis, factor in enumerate(factors):
            if factor > 1:
                shape = (*result.shape[:axis], result.shape[axis] // factor, factor, *result.shape[axis + 1 :])
                result = result.reshape(shape).mean(axis + 1)
        return result


def deepened(spec: Spec, bits: int) -> Spec:
    """A signal of 8-bit samples as one of 16 `bits`. Raises InrzipError for other samples and other `bits`."""
    if bits != 16 or spec.sample_type != "u1":
        raise InrzipError(f"samples of type {spec.sample_type} cannot be written with {bits} bits: only u1 with 16")
    meta = {key: value for key, value in spec.meta.items() if key != "bits"}
    return dataclasses.replace(spec, sample_type="u2", low=spec.low * DEEP_GAIN, high=spec.high * DEEP_GAIN, meta=meta)


def _memory_of(segment: Representation) -> int:
    return segment.held_bytes()


def _size_of(samples: Shaped[ndarray, "..."]) -> int:
    return samples.nbytes


def _nothing_earlier(before: int) -> Pool:
    raise CorruptFile("it uses weights of an earlier video of its file, and cannot be decoded on its own")


def _article(kind: Kind) -> str:
    name = kind.name.lower()
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
