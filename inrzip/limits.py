"""What the file format has room for (docs/format.md, "Limits"): checked before writing and after reading a header."""

from __future__ import annotations

import math
import re

from .errors import UnsupportedSignal
from .signal import SAMPLE_TYPES, Kind, MetaValue, Spec

MAX_RANK = 8
MAX_DIMENSION = 2**40
MAX_SAMPLES = 2**62  # exclusive: grid points times channels
MAX_CHANNELS = 255
MAX_SEGMENTS = 2**20
MAX_TRACKS = 255
MAX_META_ENTRIES = 255
MAX_META_BYTES = 4 * 2**20
MAX_KEY_BYTES = 255
MAX_RATIO_TERM = 2**32  # of `rate` and `aspect`
MAX_SAMPLE_BITS = 64

# Metadata keys with a number of their own; 0 stands for a key that is spelled out.
META_KEYS = ("rate", "times", "bits", "subtype", "aspect", "box", "format", "origin", "residues")
# The `format` that costs nothing to state.
USUAL_FORMATS = {
    Kind.IMAGE: ".png", Kind.VIDEO: ".mp4", Kind.AUDIO: ".wav", Kind.SHAPE: ".obj", Kind.VOLUME: ".npy",
    Kind.PROTEIN: ".pdb",
}  # fmt: skip
RANKS = {
    Kind.IMAGE: (2, 2), Kind.VIDEO: (3, 3), Kind.AUDIO: (1, 1), Kind.SHAPE: (3, 3), Kind.VOLUME: (1, MAX_RANK),
    Kind.PROTEIN: (1, 1),
}  # fmt: skip
PROTEIN_TYPES, PROTEIN_CHANNELS, MAX_ORIGIN = ("i4",), 3, 2**31
FLOAT_TYPES = ("f2", "f4", "f8")
# (low, high) where the file does not say; largest magnitude that a range may have.
DEFAULT_RANGES = {"i3": (0.0, 2.0**23 - 1), "b1": (0.0, 1.0)} | dict.fromkeys(FLOAT_TYPES, (0.0, 1.0))
DEFAULT_RANGES |= {f"u{size}": (0.0, 2.0 ** (8 * size) - 1) for size in (1, 2, 4)}
DEFAULT_RANGES |= {f"i{size}": (0.0, 2.0 ** (8 * size - 1) - 1) for size in (1, 2, 4)}

_FORMAT_NAME = re.compile(r"[^/\\]{0,64}")  # it becomes the end of a file's name: no separators, no control characters
_SUBTYPE_NAME = re.compile(r"[ -~]{1,32}")


def check_spec(spec: Spec) -> None:
    """Raises `UnsupportedSignal` if the file format has no place for `spec`. Cheap: call it before fitting."""
    fault = _shape_fault(spec) or _range_fault(spec) or _meta_fault(spec)
    if fault:
        raise UnsupportedSignal(fault)


def _shape_fault(spec: Spec) -> str | None:
    fewest, most = RANKS[spec.kind]
    name = spec.kind.name.lower()
    if not fewest <= len(spec.shape) <= most:
        return f"{name} with {len(spec.shape)} axes; the file format holds {fewest} to {most}"
    if not all(1 <= size <= MAX_DIMENSION for size in spec.shape):
        return f"shape {spec.shape}; each axis has 1 to 2^40 points"
    if not 1 <= spec.channels <= MAX_CHANNELS:
        return f"{spec.channels} channels; the file format holds 1 to {MAX_CHANNELS}"
    if spec.kind == Kind.PROTEIN and spec.channels != PROTEIN_CHANNELS:
        return f"{spec.channels} channels; atoms of a protein have {PROTEIN_CHANNELS} coordinates"
    if math.prod(spec.shape) * spec.channels >= MAX_SAMPLES:
        return f"shape {spec.shape} with {spec.channels} channels; a signal has fewer than 2^62 samples"
    if spec.sample_type not in sample_types(spec.kind):
        return f"{name} of sample type {spec.sample_type}; possible are {', '.join(sample_types(spec.kind))}"
    return None


def sample_types(kind: Kind) -> tuple[str, ...]:
    """The sample types a signal of this kind may have."""
    if kind == Kind.SHAPE:
        return FLOAT_TYPES
    if kind == Kind.PROTEIN:
        return PROTEIN_TYPES
    barred = "b1" if kind == Kind.AUDIO else "i3"
    return tuple(name for name in SAMPLE_TYPES if name != barred)


def _range_fault(spec: Spec) -> str | None:
    largest = _largest_magnitude(spec.sample_type)
    if not (-largest <= spec.low <= spec.high <= largest):  # false for NaN also
        return f"sample range {spec.low!r} to {spec.high!r}; low <= high, within the sample type {spec.sample_type}"
    if not math.isfinite(spec.high - spec.low):
        return f"sample range {spec.low!r} to {spec.high!r}; its span is no finite number"
    return None


def _largest_magnitude(sample_type: str) -> float:
    """For integers 2^bits, so that a range symmetric about zero fits, whatever the sample that it was taken from."""
    match sample_type:
        case "b1":
            return 1.0
        case "f2":
            return 65504.0
        case "f4":
            return float.fromhex("0x1.fffffep127")
        case "f8":
            return float.fromhex("0x1.fffffffffffffp1023")
    return 2.0 ** (8 * int(sample_type[1]))


def _meta_fault(spec: Spec) -> str | None:
    if len(spec.meta) > MAX_META_ENTRIES:
        return f"{len(spec.meta)} metadata entries; the file format holds {MAX_META_ENTRIES}"
    for key, value in spec.meta.items():
        if key in META_KEYS and not _meta_valid(spec, key, value):
            shown = repr(value)
            return f"metadata `{key}` is {shown if len(shown) <= 80 else shown[:77] + '...'}, which it cannot be"
    return None


def _meta_valid(spec: Spec, key: str, value: MetaValue) -> bool:
    """What code that uses a known key may rely on."""
    match key, value:
        case (("rate" | "aspect"), (int(above), int(below))):
            return 1 <= above <= MAX_RATIO_TERM and 1 <= below <= MAX_RATIO_TERM
        case "times", tuple(times):
            ordered = all(isinstance(time, int) for time in times) and list(times) == sorted(times)
            return ordered and len(times) == spec.shape[0]
        case "bits", int(bits):
            return 1 <= bits <= MAX_SAMPLE_BITS
        case "subtype", str(name):
            return _SUBTYPE_NAME.fullmatch(name) is not None
        case "format", str(name):
            return _FORMAT_NAME.fullmatch(name) is not None and name.isprintable()
        case "box", (x, y, z, edge):
            numbers = (x, y, z, edge)
            return all(isinstance(n, int | float) and math.isfinite(n) for n in numbers) and float(edge) > 0
        case "origin", (x, y, z):
            return all(isinstance(n, int) and abs(n) < MAX_ORIGIN for n in (x, y, z))
        case "residues", bytes():
            return True
    return False
