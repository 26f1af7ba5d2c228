"""`compress`: from a media file to an `.inrz` file, segment by segment.

read -> for each segment: fit, quantise, code -> write the container -> decode that file and measure it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Shaped

from inrzip.architectures.base import Config, Grid, Representation
from inrzip.architectures.bits import Bits
from inrzip.architectures.learned import LearnedConfig
from inrzip.architectures.nirvana import NirvanaConfig
from inrzip.architectures.pfnr import PfnrConfig

from . import __version__, exact, media, plan
from .checkpoint import Checkpoint
from .collection import usable_name
from .compilation import prepare
from .configuration import encode_config
from .container import write_container
from .destination import Destination
from .errors import InrzipError, TargetMissed
from .examples import Examples, ScatteredPoints
from .goals import encode_segment
from .group_goals import Groups, encode_groups
from .header import FIXED_BYTES, INDEXED, VERSION, Header
from .job import Job
from .limits import check_spec
from .measure import measure
from .network import count_parameters
from .progress import ProgressCallback
from .psnr_goal import WINDOW_DB
from .reader import Reader
from .recipes import Recipe, check_settings, choose_recipe, parse_settings
from .segment import Task, make_examples
from .short_files import saved_bytes
from .signal import AudioTrack, Kind, ShapeSignal, Signal, Spec
from .video_sequence import Pool
from .weight_codecs import WeightCodec, choose_codec

EXTENSION = ".inrz"
FITTING_SHARE = (0.02, 0.95)
"""Part of the whole job, as its progress shows it, that is spent on fitting."""
SDF_SAMPLES = 1_000_000
RESERVED_BYTES = 2
"""Left free for each segment: its length in the index may take more than estimated."""
LONGEST_GUESS = 1 << 21
"""Longer segments are not tried out to see what the file needs besides them: lengths up to 2^28 take no more."""
SOUND_SHARE = 0.2
"""Of a size asked for a video, and of its time, at most this goes to sound that is coded anew."""

AudioMode = Literal["copy", "inr", "drop"]


@dataclasses.dataclass(frozen=True)
class CompressReport:
    """What `compress` did. `bytes` is the size of the file on disk, or of the member of a file of several signals;
    `quality` is that of what was decoded from it. `lossless`: all samples were decoded, and are those of the original.
    """

    path: Path
    bytes: int
    source_bytes: int | None
    bpp: float | None
    quality: dict[str, float]
    seconds: float
    recipe: str
    n_parameters: int
    note: str | None
    resumed: bool
    stopped_early: bool
    lossless: bool = False

    def to_json(self) -> dict[str, object]:
        """All fields as plain values."""
        return dataclasses.asdict(self) | {"path": str(self.path)}


def compress(
    source: Path | str,
    destination: Path | str | None = None,
    *,
    recipe: str | None = None,
    codec: str | None = None,
    quality: float | None = None,
    target_size: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    effort: int = 5,
    time_limit: float | None = None,
    audio: AudioMode = "copy",
    settings: Mapping[str, str] | None = None,
    lossless: bool = False,
    prior: str | None = None,
    kind: str | Kind | None = None,
    member: str | None = None,
    append: bool = False,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    stop: Callable[[], bool] | None = None,
) -> CompressReport:
    """Compresses a media file to `destination` (default: its name with `.inrz`), and measures the file that came of it.

    With a name for `member` the file is one of several signals, of which this is the first. With `append` the signal
    is added to `destination`, which is there; its name is `member` (default: that of `source`). Targets are for the
    member alone, without its entry in the index.

    `quality` 0 to 100 (default 50), `target_size` in bytes, `target_bpp` in bits for a pixel, voxel or sound sample, or
    `target_psnr` in dB: at most one. `recipe` and `codec`: names that `inrzip recipes` lists. `effort` 1 to 9, or
    `time_limit` in seconds. `audio`: what becomes of a video's sound. `settings`: fields of the recipe's configuration.
    `lossless`: every sample comes back bit by bit, on every machine, which is checked before the file gets its name; a
    quality or PSNR then is that of the recipe's prediction, and there is no target size.
    `prior`: a learned one that `train_prior` made, by its name or file, for the recipes `combiner`, `vc-inr` and
    `coin++`.
    `stop` is asked about once a second; once it is true, the best so far is written. An interrupted run leaves a
    `.part` file, from which the same call goes on. Raises InrzipError.
    """
    source = Path(source)
    output = Path(destination) if destination is not None else source.with_suffix(EXTENSION)
    target = Destination(output, usable_name(source.stem) if append and member is None else member, append, overwrite)
    prepare()
    if output.exists() and source.exists() and output.samefile(source):
        raise InrzipError(f"{output}: is the input itself; name another output with -o")
    request = plan.Request(quality, target_size, target_bpp, target_psnr, effort, time_limit)
    signal = media.read_signal(source, kind=Kind[kind.upper()] if isinstance(kind, str) else kind)
    request.check(signal.spec)
    check_spec(signal.spec)
    chosen = choose_recipe(recipe, signal.spec, lossless)
    lossless = lossless or chosen.architecture.exact
    request = plan_lossless(request, signal.spec) if lossless else request
    if prior is not None and not issubclass(chosen.architecture, LearnedConfig):
        raise InrzipError(f"recipe {chosen.name} takes no prior; use --recipe combiner, vc-inr or coin++")
    numbers = parse_settings(settings or {})
    check_settings(numbers, chosen)
    weight_codec = choose_codec(codec, chosen)
    pool = None
    if chosen.architecture is PfnrConfig:
        pool = target.pool(Grid(signal.spec.shape, signal.spec.channels), numbers)
    options = (request, chosen, weight_codec.name, numbers, audio, signal.spec, lossless, target.identity(), prior)
    checkpoint = Checkpoint(output, _fingerprint(source, options))
    try:
        job = Job(checkpoint, progress, stop)
        job.tell("reading")
        tracks = _sound(source, signal, audio, request, lossless, job)
        deadline = None if time_limit is None else time.monotonic() + time_limit - checkpoint.seconds
        data, n_parameters, notes = encode_signal(
            signal, request, chosen, weight_codec, numbers, tracks, job, deadline, pool, lossless, prior
        )
        measured: dict[str, float] = {}
        target.write(data, (lambda reader: measured.update(_checked(signal, reader, job))) if lossless else None)
        checkpoint.remove()
    except KeyboardInterrupt:
        checkpoint.remove()
        raise
    if not measured:
        job.share = (FITTING_SHARE[1], 1.0)
        job.tell("measuring")
        with target.read() as reader:
            measured = measure(signal, reader, job)
    points = None if signal.spec.kind == Kind.SHAPE else float(np.prod(signal.spec.shape, dtype=np.float64))
    return CompressReport(
        path=output,
        bytes=len(data),
        source_bytes=signal.source_bytes,
        bpp=None if points is None else 8 * len(data) / points,
        quality=measured,
        seconds=checkpoint.seconds,
        recipe=chosen.name,
        n_parameters=n_parameters,
        note=_note(request, signal.spec, notes, len(data), measured),
        resumed=checkpoint.resumed,
        stopped_early=job.stopping,
        lossless=lossless,
    )


def plan_lossless(request: plan.Request, spec: Spec) -> plan.Request:
    """What a lossless file's networks are to reach. Raises InrzipError where there is no such file."""
    exact.check_lossless(spec)
    return plan.for_lossless(request, spec)


def _checked(signal: Signal, reader: Reader, job: Job) -> dict[str, float]:
    """The quality of a file that has to hold all samples of `signal`. Raises InrzipError unless it does."""
    job.share = (FITTING_SHARE[1], 1.0)
    return measure(signal, reader, job, exactly=True)


def encode_signal(
    signal: Signal,
    request: plan.Request,
    recipe: Recipe,
    codec: WeightCodec,
    settings: dict[str, int],
    tracks: list[AudioTrack],
    job: Job,
    deadline: float | None,
    pool: Pool | None = None,
    lossless: bool = False,
    prior: str | None = None,
) -> tuple[bytes, int, list[str]]:
    """The file's bytes, the number of parameters in it, and remarks on segments that missed their goal. `pool`: weights
    of earlier videos that it may use. `lossless`: its samples are to be those of `signal`.
    """
    header = Header(signal.spec, recipe.architecture.number, plan.segment_length(signal.spec, recipe, settings))
    bounds = [header.segment_bounds(i) for i in range(header.n_segments)]
    spared = saved_bytes(header) if prior is None else 0
    budget = _segment_budget(header, tracks, plan.total_bytes(request, signal.spec), request, spared)
    grids = [Grid((stop - start, *signal.spec.shape[1:]), signal.spec.channels) for start, stop in bounds]

    def task(index: int, until: float | None) -> Task:
        task = segment_task(signal, *bounds[index], index, request, recipe, codec, settings, until)
        return dataclasses.replace(task, pool=pool, prior=prior, effort=request.effort)

    if recipe.architecture is NirvanaConfig:
        job.share = FITTING_SHARE
        coded = encode_groups(Groups(grids, task, deadline), plan.goal(request, budget), job)
        payloads, notes = [each.payload for each in coded], [each.note for each in coded if each.note is not None]
    else:
        payloads = _encode_one_by_one(bounds, budget, task, request, job, deadline)
        notes = list(job.checkpoint.notes.values())
    job.label = ""
    networks = payloads
    if lossless:
        header = dataclasses.replace(header, lossless=True)
        payloads = _exact_payloads(signal, header, networks, recipe, pool, job, bool(settings.get("keep")))
        networks = [exact.split(payload)[0] for payload in payloads]
    counts = [count_parameters(p, header.architecture, grid) for p, grid in zip(networks, grids, strict=True)]
    return write_container(header, payloads, tracks), sum(counts), notes


def _exact_payloads(
    signal: Signal,
    header: Header,
    networks: Sequence[bytes],
    recipe: Recipe,
    pool: Pool | None,
    job: Job,
    keep: bool,
) -> list[bytes]:
    """The payloads of a lossless file: those of its networks, and what its samples are besides what these decode to.
    `keep`: networks of bit planes stay, and tell all planes.
    """
    lossy = write_container(dataclasses.replace(header, lossless=False), networks)
    earlier = None if pool is None else (lambda before: pool)
    payloads = []
    job.share = (FITTING_SHARE[1], 1.0)
    with Reader(lossy, None, earlier=earlier) as reader:
        for i, network in enumerate(networks):
            job.tell("coding residuals", 0.5 * i / len(networks))
            samples = signal.read(*header.segment_bounds(i))
            found = _exact_payload(network, samples, reader.segment(i), recipe.architecture, signal.spec, keep)
            payloads.append(found)
    return payloads


def _exact_payload(
    coded: bytes,
    samples: Shaped[np.ndarray, "*grid channels"],
    network: Representation,
    architecture: type[Config],
    spec: Spec,
    keep: bool,
) -> bytes:
    """That of a segment of these samples; `network` is what `coded` decodes to. One of bit planes that takes more than
    it saves is left out, unless it is to be kept.
    """
    payload = exact.join(coded, exact.encode_part(samples, network, architecture, spec, keep))
    if isinstance(network, Bits) and not keep:
        none = network.config.alone
        part = exact.encode_part(samples, none.build(network.grid, jax.random.key(0)), architecture, spec)
        payload = min(payload, exact.join(encode_config(none), part), key=len)
    return payload


def _encode_one_by_one(
    bounds: Sequence[tuple[int, int]],
    budget: int,
    task: Callable[[int, float | None], Task],
    request: plan.Request,
    job: Job,
    deadline: float | None,
) -> list[bytes]:
    """The payloads of segments that know nothing of each other."""
    payloads: list[bytes] = []
    for i in range(len(bounds)):
        lengths = [b - a for a, b in bounds[i:]]
        size = plan.split_budget(budget - sum(map(len, payloads)), lengths)[0]
        job.label = f"segment {i + 1}/{len(bounds)}" if len(bounds) > 1 else ""
        low, high = FITTING_SHARE
        job.share = (low + (high - low) * i / len(bounds), low + (high - low) * (i + 1) / len(bounds))
        if i not in job.checkpoint.payloads:
            own = task(i, _share_of_time(deadline, len(lengths)))
            coded = encode_segment(own, plan.goal(request, size), job)
            job.checkpoint.finish_segment(i, coded.payload, coded.note)
        payloads.append(job.checkpoint.payloads[i])
    return payloads


def _share_of_time(deadline: float | None, n_left: int) -> float | None:
    if deadline is None:
        return None
    now = time.monotonic()
    return now + max(deadline - now, 0.0) / n_left


def _segment_budget(header: Header, tracks: list[AudioTrack], size: int, request: plan.Request, spared: int) -> int:
    """Bytes for all segments together: the file's size less header, index, checksums and sound. `spared`: what of
    these will not be in the file.
    """
    n = header.n_segments
    length = min(max(size // n, 1), LONGEST_GUESS)
    reserved = RESERVED_BYTES * n if n > 1 or size > LONGEST_GUESS else 0
    trial = write_container(header, [bytes(length)] * n, tracks)
    fixed = len(trial) - n * length + reserved - (0 if trial[FIXED_BYTES - 1] & INDEXED else spared)
    if request.target_size is None and request.target_bpp is None:
        return size  # the sound rides on top of what the picture's quality asks for
    if size - fixed < n * plan.SMALLEST_BYTES:
        sound = sum(len(track.payload) for track in tracks)
        hint = f", of which the sound takes {sound} (--audio inr or drop)" if sound else ""
        raise TargetMissed(
            f"a file of {size} bytes cannot hold this signal, which needs {fixed} besides the network{hint}; "
            f"ask for {fixed + n * plan.SMALLEST_BYTES} bytes or more"
        )
    return size - fixed


def segment_task(
    signal: Signal,
    start: int,
    stop: int,
    index: int,
    request: plan.Request,
    recipe: Recipe,
    codec: WeightCodec,
    settings: dict[str, int],
    deadline: float | None,
) -> Task:
    """What `inrzip.goals.encode_segment` needs to know of the rows `start` to `stop`."""
    spec = signal.spec
    samples = None
    examples: Examples
    if isinstance(signal, ShapeSignal):
        examples = _shape_examples(signal, recipe)
    else:
        samples = signal.read(start, stop)
        examples = make_examples(recipe, samples, spec.low, spec.high)
    grid = Grid((stop - start, *spec.shape[1:]), spec.channels)
    schedule = plan.schedule(request, recipe, examples)
    return Task(f"segment{index}", spec, grid, recipe, codec, settings, examples, samples, schedule, deadline)


def _shape_examples(signal: ShapeSignal, recipe: Recipe) -> ScatteredPoints:
    from .sdf import sample_sdf

    spec = signal.spec
    cube, distances = sample_sdf(signal.mesh, spec, SDF_SAMPLES, seed=0)
    positions = (cube + 1) / 2 * np.asarray(spec.shape, np.float32) - 0.5
    return ScatteredPoints(positions, spec.normalise(distances)[:, None], recipe.batch_size)


def _sound(
    source: Path, signal: Signal, mode: AudioMode, request: plan.Request, lossless: bool, job: Job
) -> list[AudioTrack]:
    """The sound of a video as a track: its own packets, or coded as a signal of its own."""
    if signal.spec.kind != Kind.VIDEO or mode == "drop":
        return []
    if mode == "copy":
        copied = media.copy_sound(source)
        return [] if copied is None else [AudioTrack("copy", copied)]
    sound = media.read_sound(source)
    if sound is None:
        return []
    mine = plan.Request(effort=request.effort, time_limit=request.time_limit)
    if request.target_size is not None:
        natural = plan.total_bytes(mine, sound.spec)
        mine = dataclasses.replace(mine, target_size=min(natural, int(SOUND_SHARE * request.target_size)))
    deadline = None if request.time_limit is None else time.monotonic() + SOUND_SHARE * request.time_limit
    inner = Job(Checkpoint(None, ""), None, lambda: job.stopping)
    job.tell("fitting", detail="sound")
    lossless = lossless and sound.spec.dtype.kind != "f"  # sound that was decoded from a lossy format may be floats
    recipe = choose_recipe(None, sound.spec, lossless)
    codec = choose_codec(None, recipe)
    data, _, _ = encode_signal(sound, mine, recipe, codec, {}, [], inner, deadline, lossless=lossless)
    return [AudioTrack("inr", data)]


def _fingerprint(source: Path, options: object) -> str:
    """Identifies a job: the input's content, everything that was asked for, and the versions that do it."""
    digest = hashlib.sha256(repr((__version__, VERSION, options)).encode())
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if path.is_file():
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _note(request: plan.Request, spec: Spec, notes: list[str], size: int, measured: dict[str, float]) -> str | None:
    """What the user should know: targets that were missed, and what was reached."""
    if request.target_size is not None or request.target_bpp is not None:
        asked = plan.total_bytes(request, spec)
        if size < plan.LEAST_SIZE_SHARE * asked:
            notes = [*notes, f"{size} bytes, under the {asked} asked for: more parameters brought nothing"]
    reached = measured.get("psnr_db")
    if request.target_psnr is not None and reached is not None:
        if reached > request.target_psnr + WINDOW_DB:
            notes = [f"{reached:.2f} dB, more than the {request.target_psnr:g} asked for: no coarser file came nearer"]
        elif reached >= request.target_psnr:
            notes = []  # rounding to samples can bring more than its fit counted on
        elif not notes:
            notes = [f"{request.target_psnr:g} dB was not reached, only {reached:.2f} dB"]
    return "; ".join(dict.fromkeys(notes)) or None
