"""Sizes, durations, ranges and settings as people write them, and sizes and durations as people read them.

Every `parse_` function raises `InrzipError` with one line that quotes the text, says what is wrong and what is wanted.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from .errors import InrzipError

# From `start` (0 or more) up to but without `stop`; None is the open end.
Range = tuple[int, int | None]

_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
_SIZE = re.compile(_NUMBER + r" ?([kmgt]?)(i?)(b?)", re.IGNORECASE)
_DURATION = re.compile(
    rf"(?:{_NUMBER} ?h(?:ours?)?)? ?(?:{_NUMBER} ?m(?:in)?)? ?(?:{_NUMBER} ?(?:s(?:ec)?)?)?", re.IGNORECASE
)
_INDEX = re.compile(r"[0-9]{1,18}")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_PREFIXES = "kMGTPE"
_SECONDS_PER_MINUTE = 60
_SECONDS_PER_HOUR = 3600
_LARGEST_SIZE = 2**63 - 1  # what a file's length can be
_LONGEST_DURATION = 3.2e9  # a century, in seconds


def parse_size(text: str) -> int:
    """Bytes in a size: "800", "50kB" (50,000), "1.5MB", "64KiB" (65,536). Case does not matter; "50k" is "50kB".

    A fraction of a byte is dropped; less than one byte, or more than a file can have, is an error.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise InrzipError(f"{text!r} is no size; write it like 800, 50kB, 1.5MB or 64KiB")
    unit = (1024 if match[3] else 1000) ** _POWERS[match[2].lower()]
    size = int(Decimal(match[1]) * unit)
    if not 1 <= size <= _LARGEST_SIZE:
        raise InrzipError(f"{text!r} is out of range; a size is at least 1 byte and below 9.2e18")
    return size


def parse_duration(text: str) -> float:
    """Seconds in a duration: "90", "60s", "5m", "1.5h", "1h30m", "2m 5s". More than 0, at most a century."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise InrzipError(f"{text!r} is no duration; write it like 90, 60s, 5m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = hours * _SECONDS_PER_HOUR + minutes * _SECONDS_PER_MINUTE + seconds
    if not 0 < total <= _LONGEST_DURATION:
        raise InrzipError(f"{text!r} is out of range; a duration is more than 0 and at most 100 years")
    return total


def parse_number(text: str, low: float, high: float = math.inf) -> float:
    """A finite number with `low <= number <= high`; a `low` of 0 with no `high` means more than 0."""
    try:
        number = float(text)
    except ValueError:
        raise InrzipError(f"{text!r} is no number") from None
    if high == math.inf:
        if not low < number < high:
            raise InrzipError(f"{text!r} is out of range; give a number above {low:g}")
    elif not low <= number <= high:
        raise InrzipError(f"{text!r} is out of range; give a number from {low:g} to {high:g}")
    return number


def parse_count(text: str, low: int, high: int) -> int:
    """A whole number with `low <= number <= high`."""
    if _INDEX.fullmatch(text) is None or not low <= int(text) <= high:
        raise InrzipError(f"{text!r} does not fit; give a whole number from {low} to {high}")
    return int(text)


def _parse_index(text: str, whole: str) -> int:
    if text.startswith("-"):
        raise InrzipError(f"{whole!r}: {text} is negative; positions count from 0 at the start")
    if _INDEX.fullmatch(text) is None:
        raise InrzipError(f"{whole!r}: {text!r} is no whole number; write a range like 10:20, 10: or :20")
    return int(text)


def _parse_range(text: str, whole: str) -> Range:
    first, colon, last = (part.strip() for part in text.partition(":"))
    if not colon:
        start = _parse_index(first, whole)
        return start, start + 1
    start = _parse_index(first, whole) if first else 0
    stop = _parse_index(last, whole) if last else None
    if stop is not None and stop <= start:
        raise InrzipError(f"{whole!r}: the range {text.strip()} is empty; its end must be above its start")
    return start, stop


def parse_region(text: str) -> tuple[Range, ...]:
    """One range for each axis: "100:200,300:400" is rows 100 to 199 and columns 300 to 399.

    Either end may be left out ("100:,:" is all from row 100 on); a single number is one position ("5" is 5:6).
    """
    return tuple(_parse_range(part, text) for part in text.split(","))


def parse_frames(text: str) -> Range:
    """A range of frames: "10:20" is frames 10 to 19, "5" is frame 5 alone, "10:" is all from frame 10 on."""
    return _parse_range(text, text)


def parse_setting(text: str) -> tuple[str, str]:
    """The key and the value of "key=value". The value may be empty and may hold "="; blanks around both are dropped."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or _KEY.fullmatch(key) is None:
        raise InrzipError(f"{text!r} is no setting; write it as key=value")
    return key, value


def format_size(n_bytes: int) -> str:
    """A size in decimal units and three digits: "800 B", "48.9 kB", "1.50 MB"."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    size, power = n_bytes / 1000, 0
    while size >= 999.5 and power < len(_PREFIXES) - 1:
        size, power = size / 1000, power + 1
    decimals = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{size:.{decimals}f} {_PREFIXES[power]}B"


def format_duration(seconds: float) -> str:
    """A duration: "0.42 s", "12.3 s", "2 m 05 s", "1 h 03 m"."""
    if seconds < 9.995:
        return f"{max(seconds, 0.0):.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _SECONDS_PER_HOUR:
        return f"{whole // _SECONDS_PER_MINUTE} m {whole % _SECONDS_PER_MINUTE:02d} s"
    minutes = round(seconds / _SECONDS_PER_MINUTE)
    return f"{minutes // 60} h {minutes % 60:02d} m"
