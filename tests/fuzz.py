"""Hostile files: makes mutants of valid `.inrz` files and sees that each decodes or ends in an `InrzipError`.

    python -m tests.fuzz --count 100000 --seed 1            full decoding
    python -m tests.fuzz --count 5000 --seed 1 --write      the same through `decompress`, to media files
    python -m tests.fuzz --count 100000 --parser-only       the container alone

Mutants are made of the files named as arguments, or else of small built-in ones. A mutant depends only on the files,
the seed and its number, so that `--first N --count 1` makes a failing one again.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import faulthandler
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from inrzip import wire
from inrzip.checks import CHECK_BYTES, CRC_BYTES, check_of, checksum
from inrzip.container import Container, write_container
from inrzip.errors import CorruptFile, InrzipError
from inrzip.header import FIXED_BYTES, INDEXED, MAGIC, Header, decode_header
from inrzip.short_files import PRIORS, SHORT_MAGIC, lengthened
from inrzip.signal import AudioTrack, Kind, MetaValue, Spec

Decode = Callable[[bytes], None]
Edit = Callable[[random.Random, bytes, bytes], bytes]
Mutations = Sequence[tuple[float, Edit]]  # how often each is used, and the mutation

HEAD_ZONE = 64  # half of the edits fall here, where the header is
MAX_RUN = 64  # longest range that one edit inserts, deletes or repeats
TELLING_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF)
MAX_FAILURES = 10
PATIENCE = 20  # a mutant may take this many times longer by the clock than it may compute
MEBIBYTE = 2**20


class TooSlow(BaseException):
    """A mutant took longer than allowed. No `Exception`, so that no decoder can swallow it."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one mutant may take: seconds of computing, growth of the process's peak memory in MiB."""

    seconds: float = 5.0
    memory_mib: int = 256


@dataclasses.dataclass
class Outcome:
    """`counts`: mutants by what became of them ("decoded", or the name of an error class). `failures`: those that broke
    the promise, as (mutant's number, what happened, its bytes)."""

    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: list[tuple[int, str, bytes]] = dataclasses.field(default_factory=list)
    slowest_s: float = 0.0
    peak_growth_mib: float = 0.0


# ---- edits: (random numbers, data, another file's data) -> new data ----


def _place(rng: random.Random, data: bytes) -> int:
    zone = min(HEAD_ZONE, len(data)) if rng.random() < 0.5 else len(data)
    return rng.randrange(zone + 1)


def flip_bits(rng: random.Random, data: bytes, other: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = _place(rng, data)
        out[place : place + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in out[place : place + 1])
    return bytes(out)


def set_byte(rng: random.Random, data: bytes, other: bytes) -> bytes:
    place = _place(rng, data)
    value = rng.choice(TELLING_BYTES) if rng.random() < 0.5 else rng.randrange(256)
    return data[:place] + bytes([value]) + data[place + 1 :]


def insert_range(rng: random.Random, data: bytes, other: bytes) -> bytes:
    place = _place(rng, data)
    return data[:place] + rng.randbytes(rng.randint(1, rng.choice((1, 4, MAX_RUN)))) + data[place:]


def delete_range(rng: random.Random, data: bytes, other: bytes) -> bytes:
    place = _place(rng, data)
    return data[:place] + data[place + rng.randint(1, rng.choice((1, 4, MAX_RUN))) :]


def repeat_range(rng: random.Random, data: bytes, other: bytes) -> bytes:
    place, length = _place(rng, data), rng.randint(1, MAX_RUN)
    return data[: place + length] + data[place : place + length] * rng.choice((1, 1, 20)) + data[place + length :]


def truncate(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: _place(rng, data)]


def splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: _place(rng, data)] + other[_place(rng, other) :]


def inflate_number(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Puts a large varint, or a needlessly long one, where a byte was."""
    place = _place(rng, data)
    number = wire.varint(min(2**64 - 1, max(0, 2 ** rng.randrange(65) + rng.choice((-1, 0, 1)))))
    if rng.random() < 0.2:
        number = b"\x80" * rng.randrange(1, 12) + b"\x00"
    return data[:place] + number + data[place + 1 :]


EDITS: tuple[Edit, ...] = (
    flip_bits,
    set_byte,
    insert_range,
    delete_range,
    repeat_range,
    truncate,
    splice,
    inflate_number,
)


def edit(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """One to four random edits."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(EDITS)(rng, data, other)
    return data


# ---- mutants: edits that get past the checksums ----


def repair_checksums(data: bytes) -> bytes:
    """`data` with every checksum made right that can be found by following its structure; the rest as it is."""
    if data.startswith(SHORT_MAGIC):
        with contextlib.suppress(CorruptFile):
            return data[:-CHECK_BYTES] + check_of(lengthened(data[:-CHECK_BYTES], partial=True)[0])
    if len(data) <= FIXED_BYTES + CRC_BYTES or not data.startswith(MAGIC):
        return data
    if not data[FIXED_BYTES - 1] & INDEXED:
        return data[:-CRC_BYTES] + checksum(data[:-CRC_BYTES])
    with contextlib.suppress(CorruptFile):
        cursor = wire.Cursor(data, FIXED_BYTES)
        length = cursor.varint()
        end = cursor.position + length
        if end + CRC_BYTES > len(data):
            return data
        data = data[:end] + checksum(data[:end]) + data[end + CRC_BYTES :]
        _, index, _ = decode_header(data[:end])
        if index is not None:
            return _repair_parts(data, end + CRC_BYTES, [*index.segments, *(length for _, length in index.tracks)])
    return data


def _repair_parts(data: bytes, position: int, lengths: Sequence[int]) -> bytes:
    out = bytearray(data)
    for length in lengths:
        end = position + length
        if end + CRC_BYTES > len(data):
            break
        out[end : end + CRC_BYTES] = checksum(data[position:end])
        position = end + CRC_BYTES
    return bytes(out)


def mutate_anywhere(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Edits as damage in storage makes them: nearly all stop at a checksum."""
    return edit(rng, data, other)


def mutate_repaired(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Edits, and then right checksums."""
    return repair_checksums(edit(rng, data, other))


def mutate_head(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Edits in an indexed file's head, whose length and checksums are then made right."""
    if data.startswith(SHORT_MAGIC) or not data[FIXED_BYTES - 1] & INDEXED:
        return mutate_repaired(rng, data, other)
    cursor = wire.Cursor(data, FIXED_BYTES)
    length = cursor.varint()
    body = edit(rng, cursor.take(length), other)
    return repair_checksums(data[:FIXED_BYTES] + wire.varint(len(body)) + body + data[cursor.position :])


def mutate_payloads(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Edits in the segments and tracks of an otherwise valid file: what reaches the decoders of networks and sound."""
    with Container.open(data) as container:
        segments = [container.segment(i) for i in range(container.header.n_segments)]
        tracks = container.tracks
    place = rng.randrange(len(segments) + len(tracks))
    if place < len(segments):
        segments[place] = edit(rng, segments[place], rng.choice((other, rng.choice(segments))))
    else:
        track = tracks[place - len(segments)]
        payload = mutate(rng, [track.payload]) if track.mode == "inr" else edit(rng, track.payload, other)
        tracks[place - len(segments)] = dataclasses.replace(track, payload=payload)
    return write_container(container.header, segments, tracks)


MUTATIONS: Mutations = (
    (0.5, mutate_anywhere),
    (0.2, mutate_repaired),
    (0.15, mutate_head),
    (0.15, mutate_payloads),
)


def mutate(rng: random.Random, files: Sequence[bytes], mutations: Mutations = MUTATIONS) -> bytes:
    """A mutant of one of the valid `files`."""
    chosen = rng.choices([mutation for _, mutation in mutations], [weight for weight, _ in mutations])[0]
    return chosen(rng, rng.choice(files), rng.choice(files))


def mutant(files: Sequence[bytes], seed: int, number: int, mutations: Mutations = MUTATIONS) -> bytes:
    """The mutant of this number: always the same for the same files and seed."""
    return mutate(random.Random(f"{seed}:{number}"), files, mutations)


# ---- decoders under test ----


def decode_container(data: bytes) -> None:
    """Reads everything the container has, and nothing of what is in the segments."""
    with Container.open(data) as container:
        header = container.header
        _ = header.spec.n_samples, header.spec.dtype, header.spec.peak, container.overhead
        container.verify()
        for index in range(header.n_segments):
            container.segment(index)
        for track in container.tracks:
            if track.mode == "inr":
                decode_container(track.payload)


# ---- running ----


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[list[int]]:
    """Raises `TooSlow` in the block once the process has computed for `seconds` in it; yields a list that then has an
    entry, in case the block swallows the exception. A busy machine does not matter. A block that hangs without
    computing, or in compiled code, ends the process in the end, with a trace.
    """
    rung: list[int] = []

    def ring(number: int, frame: FrameType | None) -> None:
        rung.append(number)
        raise TooSlow

    before = signal.signal(signal.SIGPROF, ring)
    faulthandler.dump_traceback_later(PATIENCE * seconds + 1, exit=True, file=sys.__stderr__ or sys.stderr)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield rung
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGPROF, before)


def peak_memory_mib() -> float:
    """The most memory this process ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux: KiB


def limit_address_space(extra_mib: int) -> None:
    """Makes every allocation fail that takes the process `extra_mib` beyond what it has, touched or not."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now = int(status["VmSize"].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (now + extra_mib * MEBIBYTE, resource.RLIM_INFINITY))


def try_one(data: bytes, decode: Decode, limits: Limits) -> tuple[str, str | None]:
    """(outcome, None), or (outcome, what was wrong with it)."""
    before = peak_memory_mib()
    rung: list[int] = []
    try:
        with deadline(limits.seconds) as rung:
            decode(data)
        outcome = "decoded"
    except InrzipError as error:
        outcome = type(error).__name__
        if "\n" in str(error):
            return outcome, f"an error's text has several lines: {error!r}"
    except TooSlow:
        return "TooSlow", f"took more than {limits.seconds} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        if rung:
            return "TooSlow", f"took more than {limits.seconds} s"
        return type(error).__name__, traceback.format_exc()
    grown = peak_memory_mib() - before
    return outcome, f"took {grown:.0f} MiB" if grown > limits.memory_mib else None


def run(
    files: Sequence[bytes],
    decode: Decode,
    *,
    count: int,
    seconds: float = float("inf"),
    seed: int = 0,
    first: int = 0,
    limits: Limits | None = None,
    mutations: Mutations = MUTATIONS,
) -> Outcome:
    """Tries `count` mutants of `files`, or as many as `seconds` allow; stops early after several failures."""
    limits = limits or Limits()
    outcome = Outcome()
    end = time.monotonic() + seconds
    for number in range(first, first + count):
        data = mutant(files, seed, number, mutations)
        started, before = time.process_time(), peak_memory_mib()
        what, fault = try_one(data, decode, limits)
        outcome.counts[what] += 1
        outcome.slowest_s = max(outcome.slowest_s, time.process_time() - started)
        outcome.peak_growth_mib = max(outcome.peak_growth_mib, peak_memory_mib() - before)
        if fault:
            outcome.failures.append((number, fault, data))
        if time.monotonic() > end or len(outcome.failures) >= MAX_FAILURES:
            break
    return outcome


def sample_files() -> list[bytes]:
    """Small valid containers that use every part of the format; their segments are no real networks."""
    rng = random.Random(1)
    sound = Spec(Kind.AUDIO, (4410,), 2, "i2", -20000.0, 20000.0, {"rate": (44100, 1), "subtype": "PCM_16"})
    sound_file = write_container(Header(sound, 3, 4410), [rng.randbytes(90)])
    times = tuple(i * 3000 + i % 3 for i in range(37))
    film_meta: dict[str, MetaValue] = {
        "rate": (30000, 1001),
        "times": times,
        "aspect": (4, 3),
        "format": ".mkv",
        "title": "é",
        "v": b"\0\1",
    }
    film = Spec(Kind.VIDEO, (37, 31, 17), 3, "u2", 5.0, 40000.0, {**film_meta, "bits": 10})
    tracks = [AudioTrack("copy", rng.randbytes(50)), AudioTrack("inr", sound_file)]
    shape_meta: dict[str, MetaValue] = {
        "box": (0.1, -2.0, 3.5, 7.25),
        "format": ".stl",
        "points": (-1, 5, 1 << 40),
        "scale": 1e300,
    }
    shape = Spec(Kind.SHAPE, (128, 128, 128), 1, "f4", -0.1, 0.1, shape_meta)
    volume = Spec(Kind.VOLUME, (7, 1, 300, 2), 1, "f8", -1e-300, 1e300, {"f": (0.5, 0.1)})
    return [
        write_container(
            Header(Spec(Kind.IMAGE, (32, 32), 3, "u1", 0, 255, {"format": ".png"}), 1, 32), [rng.randbytes(60)]
        ),
        write_container(Header(film, 2, 5), [rng.randbytes(n) for n in (40, 0, 300, 1, 77, 128, 60, 9)], tracks),
        sound_file,
        write_container(Header(shape, 9, 64), [rng.randbytes(200), rng.randbytes(3)]),
        write_container(Header(volume, 255, 7), [rng.randbytes(20)]),
        write_container(
            Header(Spec(Kind.IMAGE, (32, 200), 3, "u1", 0, 255, {"format": ".jpg"}), PRIORS[0][0], 32),
            [wire.varint(PRIORS[0][1]) + rng.randbytes(30)],
        ),
    ]


def report(outcome: Outcome, keep: Path | None) -> int:
    """Prints what happened, saves failing mutants in `keep`, and returns the exit status."""
    print(", ".join(f"{what} {n}" for what, n in outcome.counts.most_common()), f"of {outcome.counts.total()} mutants")
    print(f"slowest {outcome.slowest_s:.3f} s; largest growth of memory {outcome.peak_growth_mib:.1f} MiB")
    for number, fault, data in outcome.failures:
        print(f"FAILED: mutant {number} ({len(data)} bytes): {fault}", file=sys.stderr)
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"mutant-{number}.inrz").write_bytes(data)
    return 1 if outcome.failures else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="valid .inrz files to make mutants of")
    parser.add_argument("--count", type=int, default=1000, help="mutants to try (default 1000)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other mutants")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds that one mutant may compute (default 20)")
    parser.add_argument("--memory", type=int, default=512, help="MiB that one mutant may take (default 512)")
    parser.add_argument("--max-memory", type=int, default=16, help="MiB that the decoder is allowed (default 16)")
    parser.add_argument("--write", action="store_true", help="write media files, too")
    parser.add_argument("--keep", type=Path, help="folder in which failing mutants are saved")
    parser.add_argument("--parser-only", action="store_true", help="only the container, nothing of what is in it")
    options = parser.parse_args(arguments)
    files = [path.read_bytes() for path in options.files]
    decode, mutations = decode_container, MUTATIONS
    if options.parser_only:
        files = files or sample_files()
    else:
        from tests import fuzz_networks  # which loads JAX

        files = files or fuzz_networks.network_files()
        decode = fuzz_networks.full_decoder(options.max_memory * MEBIBYTE, options.write)
        mutations = fuzz_networks.MUTATIONS
    for data in files:
        decode(data)  # compiles what it needs, and must not raise
    if options.parser_only:
        limit_address_space(options.memory)  # too strict for full decoding: compilers reserve address space
    limits = Limits(options.timeout, options.memory)
    chosen = {"count": options.count, "seconds": options.seconds, "seed": options.seed, "first": options.first}
    return report(run(files, decode, limits=limits, mutations=mutations, **chosen), options.keep)


if __name__ == "__main__":
    sys.exit(main())
