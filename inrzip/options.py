"""The command line's grammar and help: from arguments to checked values, with nothing but argparse."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from . import units
from .errors import InrzipError

T = TypeVar("T")
KINDS = ("image", "video", "audio", "shape", "volume", "protein")
LEARNED_KINDS = ("image", "audio", "protein", "video", "volume")
MOST_THREADS = 4096

_COMPRESS_EXAMPLES = """\
examples:
  inrzip compress photo.png                    write photo.inrz beside it
  inrzip compress *.png -o packed -e 3         one file each in the folder packed, fast
  inrzip compress a.png b.wav -o both.inrz     one file of both; see also inrzip append
  inrzip compress video.mp4 --target-psnr 35   as small as 35 dB allows
  inrzip compress song.wav --time 5m           the best that five minutes can do
  inrzip compress scan.npy --lossless          every bit back; -q is then for the prediction
  cat photo.png | inrzip compress - > photo.inrz

Ctrl-C ends early and keeps the best file so far; a second Ctrl-C gives up and leaves nothing behind.
"""

_APPEND_EXAMPLES = """\
examples:
  inrzip append both.inrz c.png                          a third signal
  inrzip append clips.inrz d.mp4 --recipe pfnr           a video that may use weights of those before it
  inrzip append clips.inrz d.mp4 --name evening

What the file holds already stays as it is, byte for byte. Targets are for each signal that is added.
"""

_DECOMPRESS_EXAMPLES = """\
examples:
  inrzip decompress photo.inrz                      the format it was made from
  inrzip decompress photo.inrz -o copy.png --scale 2
  inrzip decompress photo.inrz -o part.png --region 100:200,300:400
  inrzip decompress video.inrz -o part.mp4 --frames 10:20
  inrzip decompress photo.inrz -o - | display
  inrzip decompress both.inrz                       all signals of a file of several, in the folder both
  inrzip decompress both.inrz --member a -o a.png   one of them, by its name or number

Ranges count from 0 and leave out their end: 100:200 is 100 to 199, 100: goes to the end, 5 is one alone.
"""

_TRAIN_PRIOR_EXAMPLES = """\
examples:
  inrzip train-prior photos -o holiday                       learn a prior named holiday
  inrzip compress thumbs/*.png -o thumbs.inrz --recipe combiner --prior holiday
  inrzip train-prior photos -o holiday --start package       the same, from what is known of thumbnails
  inrzip train-prior photos -o large --large --patches 4096  learn one for large images
  inrzip train-prior speech --kind audio -o speech --patches 3000 --rounds 200

A file that was made with a prior can only be read where that prior is. Those that come with inrzip are everywhere.
Training takes minutes to hours. Ctrl-C ends it early and keeps what was learned; a run that was killed goes on where it
was when it is started again in the same way.
"""

_VERIFY_EXAMPLES = """\
examples:
  inrzip verify photo.inrz
  inrzip verify photo.inrz --against photo.png
"""

_VIEW_EXAMPLES = """\
examples:
  inrzip view photo.inrz                        a page in the browser: wheel or + and - zoom, dragging moves
  inrzip view photo.inrz --against photo.png    side by side, wiped, or as a map of errors: c
  inrzip view a.inrz b.inrz c.inrz              as tabs at the same place; g shows all
  inrzip view both.inrz --member song           one signal of a file of several
  inrzip view video.inrz --no-browser --port 8000   print the address alone

What is seen is decoded when it is seen, at the resolution at which it is seen. A file beside FILE with its name and the
format that it was made from is taken for the original. Only this machine can open the page, at the address with its
secret. Keys are those of players: space, arrows, comma and period, + and -, f, m; ? on the page lists all. Ctrl-C ends.
"""

_EXPORT_EXAMPLES = """\
examples:
  inrzip export-viewer photo.inrz                    photo.html, to open in any browser, without inrzip
  inrzip export-viewer photo.inrz -o page.html -f
  inrzip export-viewer both.inrz --member photo -o page.html

The page holds the file and a decoder in JavaScript. There is one for images of the recipes grid, siren, finer, gauss,
relu, wire, bacon, poly and finr.
"""


class UsageError(Exception):
    """A command line that means nothing. `prog` is the command whose help helps."""

    def __init__(self, prog: str, text: str):
        super().__init__(text)
        self.prog = prog


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which takes no abbreviated options."""

    def __init__(self, verb: str, usage: str, description: str, epilog: str = ""):
        super().__init__(
            prog=f"inrzip {verb}",
            usage=f"inrzip {verb} {usage}",
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(self.prog, message)


def _type(parse: Callable[..., T], *bounds: float) -> Callable[[str], T]:
    """`parse` as argparse wants it: with the error that argparse shows word for word."""

    def convert(text: str) -> T:
        try:
            return parse(text, *bounds)
        except InrzipError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _add_general(parser: _Parser) -> None:
    group = parser.add_argument_group("general")
    group.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    volume = group.add_mutually_exclusive_group()
    volume.add_argument("--quiet", action="store_true", help="print nothing but errors")
    volume.add_argument("-v", "--verbose", action="store_true", help="print more; where a fault arose, too")


def _add_machine(parser: _Parser) -> None:
    group = parser.add_argument_group("machine")
    group.add_argument("--device", choices=("cpu", "gpu"), help="where to compute (default: a GPU if JAX finds one)")
    group.add_argument(
        "--threads", metavar="N", type=_type(units.parse_count, 1, MOST_THREADS), help="CPU cores to use (default: all)"
    )


def _add_output(parser: _Parser, text: str) -> None:
    parser.add_argument("-o", "--output", metavar="OUT", help=text)
    parser.add_argument("-f", "--force", action="store_true", help="overwrite files that exist")


def _compress_parser() -> _Parser:
    parser = _Parser(
        "compress",
        "IN... [-o OUT] [-q 0-100 | --target-size SIZE | --target-bpp BITS | --target-psnr DB]\n"
        "                       [-e 1-9 | --time T] [--recipe NAME] [--codec NAME] [--set KEY=VALUE]... [OPTION]...",
        "Fit a small neural network to each input and store it as an .inrz file.",
        _COMPRESS_EXAMPLES,
    )
    parser.add_argument("inputs", nargs="*", metavar="IN", help="media file, or - for standard input")
    _add_output(
        parser,
        "output: a file (of several inputs: OUT.inrz), a folder, or - for standard output (default: IN with the "
        "extension .inrz, beside it)",
    )
    _add_how_to_compress(parser)
    return parser


def _append_parser() -> _Parser:
    parser = _Parser(
        "append",
        "FILE.inrz IN... [--name NAME] [-q 0-100 | --target-size SIZE | --target-bpp BITS | --target-psnr DB]\n"
        "                     [-e 1-9 | --time T] [--recipe NAME] [--codec NAME] [--set KEY=VALUE]... [OPTION]...",
        "Fit a small neural network to each input and add it to an .inrz file.",
        _APPEND_EXAMPLES,
    )
    parser.add_argument("inputs", nargs="*", metavar="FILE.inrz IN", help="the file to add to, and media files")
    parser.add_argument("--name", metavar="NAME", help="what the input is called in the file (default: its own name)")
    _add_how_to_compress(parser)
    return parser


def _add_how_to_compress(parser: _Parser) -> None:
    _add_rate(parser.add_argument_group("how good, or how small (one of these)").add_mutually_exclusive_group())
    _add_effort(parser.add_argument_group("how long").add_mutually_exclusive_group())
    parser.add_argument(
        "--lossless",
        action="store_true",
        help="keep every bit (checked before the file is there); costs bytes. Sizes cannot be asked for then",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--recipe", metavar="NAME", help="see `inrzip recipes` (default: chosen by kind)")
    how.add_argument("--codec", metavar="NAME", help="how weights are coded, see `inrzip recipes` (default: auto)")
    how.add_argument(
        "--prior",
        metavar="NAME",
        help="a prior made with `inrzip train-prior`, by name or file (combiner, vc-inr, coin++)",
    )
    how.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=_type(units.parse_setting),
        help="change a setting of the recipe; may be repeated",
    )
    how.add_argument(
        "--audio",
        choices=("copy", "inr", "drop"),
        default="copy",
        help="a video's sound: as it is, compressed or left out (default: copy)",
    )
    how.add_argument("--kind", choices=KINDS, help="what the input is (default: seen from its content and name)")
    _add_machine(parser)
    _add_general(parser)


def _add_member(parser: _Parser, text: str) -> None:
    parser.add_argument("--member", metavar="NAME", help=f"of a file of several signals: {text}, by name or number")


def _add_rate(group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument(
        "-q",
        "--quality",
        metavar="0-100",
        type=_type(units.parse_number, 0, 100),
        help="quality (default: by recipe)",
    )
    group.add_argument(
        "--target-size",
        metavar="SIZE",
        type=_type(units.parse_size),
        help="largest file: 800, 50kB, 1.5MB, 64KiB",
    )
    group.add_argument(
        "--target-bpp", metavar="BITS", type=_type(units.parse_number, 0), help="bits for each pixel or sample point"
    )
    group.add_argument("--target-psnr", metavar="DB", type=_type(units.parse_number, 0), help="quality to reach, in dB")


def _add_effort(group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument(
        "-e",
        "--effort",
        metavar="1-9",
        default=5,
        type=_type(units.parse_count, 1, 9),
        help="1 is fastest, 9 makes the smallest file (default: 5)",
    )
    group.add_argument(
        "--time", metavar="T", type=_type(units.parse_duration), help="stop after this time: 90, 60s, 5m, 1h30m"
    )


def _decompress_parser() -> _Parser:
    parser = _Parser(
        "decompress",
        "IN.inrz [-o OUT] [--region RANGES] [--frames RANGE] [--scale S] [OPTION]...",
        "Write what an .inrz file holds as a media file. The output's extension decides its format.",
        _DECOMPRESS_EXAMPLES,
    )
    parser.add_argument("inputs", nargs="*", metavar="IN.inrz", help="file to read, or - for standard input")
    _add_output(parser, "output, or - for standard output (default: the name of IN with the extension of the original)")
    _add_member(parser, "the one to write")
    part = parser.add_argument_group("which part, and how large")
    part.add_argument(
        "--region",
        metavar="RANGES",
        type=_type(units.parse_region),
        help="a range for each axis: rows,columns",
    )
    part.add_argument("--frames", metavar="RANGE", type=_type(units.parse_frames), help="frames a:b of a video, or one")
    part.add_argument(
        "--scale",
        metavar="S",
        default=1.0,
        type=_type(units.parse_number, 0),
        help="resolution (default: 1, the original's); of pictures above a megapixel, 1/8 and less is a preview",
    )
    part.add_argument(
        "--bits", metavar="16", type=_type(units.parse_count, 16, 16), help="write 8-bit samples with 16, rounded less"
    )
    part.add_argument(
        "--max-memory",
        metavar="SIZE",
        type=_type(units.parse_size),
        help="refuse to use more, such as 2GB",
    )
    part.add_argument(
        "--partial",
        action="store_true",
        help="of a file that was cut short, write what is there: less detail (recipes grid, motion, combiner), and of "
        "longer videos and sounds the beginning",
    )
    _add_machine(parser)
    _add_general(parser)
    return parser


def _train_prior_parser() -> _Parser:
    parser = _Parser(
        "train-prior",
        "FOLDER -o NAME [--kind KIND] [--recipe NAME] [--large] [--patches N] [--rounds N] [OPTION]...",
        "Learn from the media files in a folder what such signals are like, for --recipe combiner, vc-inr and coin++.",
        _TRAIN_PRIOR_EXAMPLES,
    )
    parser.add_argument("inputs", nargs="*", metavar="FOLDER", help="media files to learn from, in it and its folders")
    _add_output(parser, "name of the prior, which is put where inrzip looks for priors; or a file *.inrprior")
    what = parser.add_argument_group("what, and how long")
    what.add_argument("--kind", choices=LEARNED_KINDS, default="image", help="what to learn (default: image)")
    what.add_argument(
        "--recipe",
        metavar="NAME",
        default="combiner",
        help="what the prior is for: combiner (default), vc-inr or coin++; or a network of positions (siren, ...), "
        "whose weights --recipe combiner then codes",
    )
    what.add_argument(
        "--large",
        action="store_true",
        help="for large images: with combiner, patches that share what they have in common, learned from squares of "
        "8 x 8; with vc-inr and coin++, parts of images at their own scale",
    )
    what.add_argument(
        "--meta",
        action="store_true",
        help="vc-inr and coin++: meta-learn the network, by the gradient through three steps of descent",
    )
    what.add_argument(
        "--start",
        metavar="PRIOR",
        help='go on from a prior of combiner, by name or file; "package": the one that comes with inrzip',
    )
    what.add_argument(
        "--patches",
        metavar="N",
        default=1200,
        type=_type(units.parse_count, 1, 1_000_000),
        help="pieces of signals to learn from (default: 1200)",
    )
    what.add_argument(
        "--rounds",
        metavar="N",
        default=100,
        type=_type(units.parse_count, 1, 1_000_000),
        help="how often each is seen (default: 100)",
    )
    _add_machine(parser)
    _add_general(parser)
    return parser


def _info_parser() -> _Parser:
    parser = _Parser("info", "IN [OPTION]...", "Say what is in an .inrz file, without decoding it.")
    parser.add_argument("inputs", nargs="*", metavar="IN", help="file to read, or - for standard input")
    _add_member(parser, "the one to tell all about")
    _add_general(parser)
    return parser


def _verify_parser() -> _Parser:
    parser = _Parser(
        "verify", "IN [--against ORIGINAL] [OPTION]...", "Check that an .inrz file is whole.", _VERIFY_EXAMPLES
    )
    parser.add_argument("inputs", nargs="*", metavar="IN", help="file to check, or - for standard input")
    parser.add_argument("--against", metavar="ORIGINAL", help="also measure its quality against this file")
    _add_member(parser, "the one to check")
    _add_machine(parser)
    _add_general(parser)
    return parser


def _view_parser() -> _Parser:
    parser = _Parser(
        "view",
        "FILE... [--against ORIGINAL] [--member NAME] [--port N] [--no-browser] [OPTION]...",
        "Show .inrz files on a page in the browser, decoded where they are looked at.",
        _VIEW_EXAMPLES,
    )
    parser.add_argument("inputs", nargs="*", metavar="FILE", help="files to show")
    parser.add_argument("--against", metavar="ORIGINAL", help="compare with this file (default: one beside FILE)")
    _add_member(parser, "the one to show")
    parser.add_argument(
        "--port", metavar="N", default=0, type=_type(units.parse_count, 0, 65535), help="port (default: any)"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the page's address, and open no browser")
    _add_machine(parser)
    _add_general(parser)
    return parser


def _export_parser() -> _Parser:
    parser = _Parser(
        "export-viewer",
        "FILE [-o OUT.html] [--member NAME] [OPTION]...",
        "Write a page that shows an .inrz file by itself, with a decoder in it.",
        _EXPORT_EXAMPLES,
    )
    parser.add_argument("inputs", nargs="*", metavar="FILE", help="file to show")
    _add_output(parser, "output (default: the name of FILE with the extension .html)")
    _add_member(parser, "the one to show")
    _add_general(parser)
    return parser


def _recipes_parser() -> _Parser:
    parser = _Parser("recipes", "[OPTION]...", "List the recipes: the ways to compress, and what each is for.")
    parser.add_argument("inputs", nargs="*", help=argparse.SUPPRESS)
    _add_general(parser)
    return parser


_PARSERS: dict[str, Callable[[], _Parser]] = {
    "compress": _compress_parser,
    "append": _append_parser,
    "decompress": _decompress_parser,
    "train-prior": _train_prior_parser,
    "info": _info_parser,
    "verify": _verify_parser,
    "view": _view_parser,
    "export-viewer": _export_parser,
    "recipes": _recipes_parser,
}


def _join_negatives(arguments: Sequence[str]) -> list[str]:
    """`--region -5:10` as `--region=-5:10`: argparse would take -5:10 for an option and tell nothing of use."""
    joined: list[str] = []
    for argument in arguments:
        if joined and re.match(r"-[0-9.]", argument) and re.fullmatch(r"--[a-z-]+", joined[-1]):
            joined[-1] += "=" + argument
        else:
            joined.append(argument)
    return joined


def _check_inputs(verb: str, inputs: Sequence[str]) -> None:
    prog = f"inrzip {verb}"
    if verb == "recipes":
        if inputs:
            raise UsageError(prog, f"takes no file, but was given {inputs[0]!r}")
    elif not inputs:
        raise UsageError(prog, "no input file was given")
    elif verb == "train-prior" and len(inputs) > 1:
        raise UsageError(prog, f"takes one folder, but was given {len(inputs)}")
    elif verb == "append" and len(inputs) < 2:
        raise UsageError(prog, "takes a file to add to, and what to add to it")
    elif verb not in ("compress", "append", "view") and len(inputs) > 1:
        hint = "; name the output with -o" if verb in ("decompress", "export-viewer") else ""
        raise UsageError(prog, f"takes one file, but was given {len(inputs)}{hint}")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command, checked; `verb` is the command's name, `inputs` its files.

    `arguments` starts with the command. Raises `UsageError`, and `SystemExit(0)` after printing the help asked for.
    """
    verb = arguments[0]
    if verb not in _PARSERS:
        raise UsageError("inrzip", f"{verb!r} is no command; the commands are {', '.join(_PARSERS)}")
    # argparse's own handling of `--` together with options after files differs between versions of Python.
    rest = list(arguments[1:])
    end = rest.index("--") if "--" in rest else len(rest)
    options = _PARSERS[verb]().parse_intermixed_args(_join_negatives(rest[:end]))
    options.verb = verb
    options.inputs = [*options.inputs, *rest[end + 1 :]]
    _check_inputs(verb, options.inputs)
    return options
