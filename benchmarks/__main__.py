"""`python -m benchmarks VERB`: how inrzip compares with today's codecs and with the papers. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from inrzip.errors import InrzipError
from inrzip.units import parse_duration, parse_number

EFFORTS = range(1, 10)
LIBRARIES = {"rd": ("matplotlib", "PIL", "psutil"), "speed": ("psutil",), "papers": ("psutil", "skimage")}
"""What a verb cannot do without; peers' libraries may be missing."""


def _names(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(",")) if name]


def _efforts(text: str) -> list[int]:
    if not all(name.isdecimal() and int(name) in EFFORTS for name in _names(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: efforts are whole numbers from 1 to 9, separated by commas")
    return [int(name) for name in _names(text)]


def _qualities(text: str) -> list[float]:
    return [_quality(name) for name in _names(text)]


def _quality(text: str) -> float:
    try:
        return parse_number(text, 0, 100)
    except InrzipError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it like 320x180")
    return int(match[1]), int(match[2])


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except InrzipError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _times(text: str) -> list[float]:
    return [_duration(name) for name in _names(text)]


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split(":", 1)[1].strip())
    verbs = parser.add_subparsers(dest="verb", required=True)
    rd = verbs.add_parser("rd", help="rate-distortion of recipes and peers on files")
    rd.add_argument("--data", nargs="+", type=Path, required=True, metavar="PATH", help="files, and folders of files")
    rd.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the report goes")
    rd.add_argument("--recipes", type=_names, default=[], help="recipe or recipe:codec, separated by commas")
    rd.add_argument(
        "--peers", type=_names, default=["all"], help='names separated by commas; "all" (the default); "" for none'
    )
    rd.add_argument("--efforts", type=_efforts, default=[2], help="1 to 9, separated by commas; a curve for each (2)")
    rd.add_argument("--times", type=_times, default=[], help="60s,5m: fits of so long in place of an effort")
    rd.add_argument("--qualities", type=_qualities, default=None, help="0 to 100: points of our curves (26,38,50,62)")
    rd.add_argument("--max-frames", type=_count, help="of a video, from its beginning")
    rd.add_argument("--size", type=_size, metavar="WxH", help="videos are averaged down to it")
    rd.add_argument("--limit-time", type=_duration, help="stop then, and report what there is: 90, 30m, 2h")
    rd.add_argument("--published", help="also show papers' curves for a data set: kodak")
    rd.add_argument("--anchor", help="method that BD-rates are taken against (avif, x265, opus, draco, sz3)")
    rd.add_argument("--previews", type=_count, default=3, help="items of each kind shown as pictures (3)")
    rd.add_argument("--cache", type=Path, metavar="FOLDER", help="finished points (default: OUT/cache)")
    rd.add_argument("--quiet", action="store_true", help="no progress on stderr")
    speed = verbs.add_parser("speed", help="seconds, memory and multiply-accumulates, as ratios to a peer")
    speed.add_argument(
        "--data", nargs="+", type=Path, required=True, metavar="PATH", help="files, and folders of files"
    )
    speed.add_argument("--recipes", type=_names, default=["siren", "nerv", "hnerv"], help="names separated by commas")
    speed.add_argument("--efforts", type=_efforts, default=[1], help="1 to 9, separated by commas (1)")
    speed.add_argument("--quality", type=_quality, default=50.0, help="of our recipes, 0 to 100 (50)")
    speed.add_argument("--max-frames", type=_count, help="of a video, from its beginning")
    speed.add_argument("--size", type=_size, metavar="WxH", help="videos are averaged down to it")
    speed.add_argument("--out", type=Path, metavar="FOLDER", help="where speed.json goes")
    papers = verbs.add_parser("papers", help="what papers claim, and what comes of it here: writes docs/papers.md")
    papers.add_argument("--out", type=Path, metavar="FILE", help="default: docs/papers.md")
    papers.add_argument("--only", metavar="PAPERS", help="separated by commas; the other lines stay as they are")
    papers.add_argument("--cache", type=Path, metavar="FOLDER", help="finished points (default: demo/papers-cache)")
    papers.add_argument("--limit-time", type=_duration, help="stop then; rows without a number say so")
    papers.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = make_parser().parse_args(words)
    options.command = words
    try:
        for library in LIBRARIES[options.verb]:  # before hours of work, not after
            importlib.import_module(library)
        verb = importlib.import_module(f".{options.verb}", __package__)
        status: int = verb.main(options)
        return status
    except InrzipError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f'benchmarks: {error.name} is not installed; pip install -e ".[benchmarks]"', file=sys.stderr)
    except OSError as error:
        print(f"benchmarks: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("benchmarks: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
