"""Sizes, durations, ranges and settings: what is accepted, what is refused, how they are printed."""

from __future__ import annotations

import pytest

from inrzip import units
from inrzip.errors import InrzipError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *[("800", 800), ("50kB", 50_000), ("1.5MB", 1_500_000), ("64KiB", 65_536), ("2GB", 2 * 10**9), ("50k", 50_000)],
        *[("1 MiB", 2**20), (" 7B ", 7), (".5kb", 500), ("0.0015kB", 1), ("1TiB", 2**40)],
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "kB", "-5", "5iB", "5 x", "0", "0.4", "1e9", "nan", "9" * 40, "9999999999TB", "٣"]
)
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(InrzipError, match=r"size") as caught:
        units.parse_size(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("90", 90), ("60s", 60), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("2m 5s", 125), ("1h5", 3605)],
        *[("0.5", 0.5), ("1H 2Min 3sec", 3723)],
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5x", "-5", "0", "0s", "m5", "5m5m", "inf", "9" * 18 + "h"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(InrzipError, match="duration"):
        units.parse_duration(text)


def test_regions_and_frames() -> None:
    assert units.parse_region("100:200,300:400") == ((100, 200), (300, 400))
    assert units.parse_region("100:, :,:7 ,5") == ((100, None), (0, None), (0, 7), (5, 6))
    assert units.parse_frames("10:20") == (10, 20)
    assert units.parse_frames("5") == (5, 6)
    assert units.parse_frames("3:") == (3, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *[("-5:10", "negative"), ("0:-1", "negative"), ("5:5", "empty"), ("9:3,:", "empty"), ("", "whole number")],
        *[("a:b", "whole number"), ("1:2:3", "whole number"), ("1.5:2", "whole number"), ("1:2,", "whole number")],
    ],
)
def test_wrong_regions(text: str, why: str) -> None:
    with pytest.raises(InrzipError, match=why):
        units.parse_region(text)


def test_settings_numbers_counts() -> None:
    assert units.parse_setting("width=48") == ("width", "48")
    assert units.parse_setting("fit.rate = a=b") == ("fit.rate", "a=b")
    assert units.parse_setting("key=") == ("key", "")
    for text in ("width", "=5", "", "a b=c"):
        with pytest.raises(InrzipError, match="key=value"):
            units.parse_setting(text)
    assert units.parse_number("0", 0, 100) == 0
    for text in ("nan", "inf", "-1", "101", "x"):
        with pytest.raises(InrzipError, match=text):
            units.parse_number(text, 0, 100)
    with pytest.raises(InrzipError, match="above 0"):
        units.parse_number("0", 0)
    assert units.parse_count("9", 1, 9) == 9
    for text in ("0", "10", "5.0", "-1", "9" * 5000):
        with pytest.raises(InrzipError, match="from 1 to 9"):
            units.parse_count(text, 1, 9)


def test_formats() -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1.00 kB", 48_900: "48.9 kB", 999_499: "999 kB", 999_500: "1.00 MB"}
    assert {size: units.format_size(size) for size in sizes} == sizes
    assert units.format_size(10**19) == "10.0 EB"
    durations = {
        0.417: "0.42 s",
        12.34: "12.3 s",
        59.96: "1 m 00 s",
        125.0: "2 m 05 s",
        3599.7: "1 h 00 m",
        3780: "1 h 03 m",
    }
    assert {seconds: units.format_duration(seconds) for seconds in durations} == durations
