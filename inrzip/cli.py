"""The command `inrzip`: from the process's arguments to its exit status.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import console, options, streams, verbs
from .verbs import DONE, FAILED, INTERRUPTED

WRONG_USAGE = 2
READER_GONE, TERMINATED = 141, 143  # as shells report a process ended by SIGPIPE and by SIGTERM

HELP = """\
usage: inrzip COMMAND [OPTION]... [FILE]...

Compress images, audio, video, 3-D shapes and volumes as small neural networks.

commands:
  compress     turn media files into .inrz files, each into one or all into one
  append       add media files to an .inrz file
  decompress   turn an .inrz file back into a media file, whole or in part
  info         say what is in an .inrz file
  verify       check that an .inrz file is whole, and how close to the original it is
  view         look at .inrz files in the browser, beside their originals
  export-viewer  write a page that shows an .inrz file by itself
  recipes      list the ways to compress
  train-prior  learn what signals are like, for --recipe combiner

examples:
  inrzip compress photo.png                        write photo.inrz
  inrzip compress photo.png -o small.inrz -q 40    smaller, and worse
  inrzip compress video.mp4 --target-size 2MB -e 8
  inrzip compress a.mp4 b.png -o both.inrz         two signals in one file
  inrzip decompress photo.inrz -o copy.png

options:
  -h, --help   show this text; `inrzip COMMAND --help` tells all about a command
  --version    show the version

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `inrzip` with `arguments` (default: the process's own) and returns its exit status.

    0 done, 1 failed, 2 wrong usage, 130 interrupted by Ctrl-C, 143 ended by SIGTERM, 141 when the reader of its output
    went away.
    """
    _prepare_streams()
    try:
        with console.raise_on_termination():
            status = _run(sys.argv[1:] if arguments is None else arguments)
            sys.stdout.flush()
            return status
    except KeyboardInterrupt as error:
        terminated = isinstance(error, console.Terminated)
        console.print_error("terminated" if terminated else "interrupted")
        return TERMINATED if terminated else INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return READER_GONE
    except OSError as error:
        if error.filename is None:  # standard output, on a full disk for example
            _abandon_stdout()
        console.print_error(f"{error.filename or streams.STDOUT}: {error.strerror or error}")
        return FAILED


def _prepare_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller, as with `>&-`
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (open as long as the process lives)
    # A file name or a label that the terminal's encoding lacks must not end a job that succeeded.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _abandon_stdout() -> None:
    """Lets what is still to be written go nowhere, or Python would complain about it while it shuts down."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _run(arguments: Sequence[str]) -> int:
    if not arguments:
        print(HELP, end="", file=sys.stderr)
        return WRONG_USAGE
    if arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return DONE
    if arguments[0] == "--version":
        print(f"inrzip {_version()}")
        return DONE
    try:
        opts = options.parse_arguments(arguments)
        _quieten_libraries(opts)
        return verbs.run(opts)
    except options.UsageError as error:
        verb = error.prog.removeprefix("inrzip").strip()
        console.print_error(f"{verb}: {error}; see {error.prog} --help" if verb else f"{error}; see inrzip --help")
        return WRONG_USAGE
    except SystemExit:  # argparse, after printing a command's help; its errors are `UsageError`
        return DONE


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("inrzip")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        import tomllib

        project = Path(__file__).parent.parent / "pyproject.toml"
        return str(tomllib.loads(project.read_text())["project"]["version"]) if project.is_file() else "unknown"


def _quieten_libraries(opts: argparse.Namespace) -> None:
    """Python's warnings are for developers: a user sees them with -v alone, or if Python was told to show them."""
    if not opts.verbose and not sys.warnoptions:
        import warnings

        warnings.simplefilter("ignore")
