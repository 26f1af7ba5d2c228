"""Where a command's input comes from and its output goes: names, folders, standard input and standard output."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import InrzipError
from .options import UsageError

EXTENSION = ".inrz"
STREAM = "-"  # as a file name: standard input or output
STDIN, STDOUT = "(standard input)", "(standard output)"


def shown_name(name: str) -> str:
    """An input's name as messages show it."""
    return STDIN if name == STREAM else name


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is gone afterwards, whatever happens."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="inrzip-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _copy_input(name: str, path: Path) -> None:
    import shutil

    with open(path, "wb") as copy, contextlib.ExitStack() as stack:
        source = sys.stdin.buffer if name == STREAM else stack.enter_context(open(name, "rb"))
        shutil.copyfileobj(source, copy)
        if name == STREAM and not copy.tell():
            raise InrzipError(f"{STDIN}: is empty; pipe a file into it")


@contextlib.contextmanager
def input_file(name: str, as_copy: bool = False, suffix: str = "") -> Iterator[Path]:
    """The path of an input. Standard input is copied to a temporary file that ends in `suffix`; with `as_copy` any is.

    Raises `InrzipError` if standard input is empty or a terminal.
    """
    if name != STREAM and not as_copy:
        yield Path(name)
        return
    if name == STREAM and sys.stdin.isatty():
        raise InrzipError(f"{STDIN}: is a terminal; pipe a file into it")
    with temporary_folder() as folder:
        path = folder / f"{'stdin' if name == STREAM else Path(name).stem}{suffix}"
        _copy_input(name, path)
        try:
            yield path
        except InrzipError as error:
            # The user knows nothing of the copy.
            raise type(error)(str(error).replace(str(path), shown_name(name))) from error


def refuse_terminal() -> None:
    """Raises `InrzipError` if standard output is a terminal, where a file's bytes would do harm."""
    if sys.stdout.isatty():
        raise InrzipError(f"{STDOUT}: is a terminal; redirect it to a file or a pipe, or name a file with -o")


def send(path: Path) -> None:
    """Copies a finished file to standard output."""
    import shutil

    if path.is_dir():
        raise InrzipError(f"{STDOUT}: this signal becomes a folder of files; name it with -o")
    try:
        with open(path, "rb") as finished:
            shutil.copyfileobj(finished, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InrzipError(f"{STDOUT}: cannot be written: {error.strerror or error}") from error


def _default_name(source: str) -> Path:
    """The input's own name with the extension `.inrz`, beside it."""
    if source == STREAM:
        return Path("stdin" + EXTENSION)
    return Path(source).parent / ((Path(source).stem or "signal") + EXTENSION)


def collects(inputs: Sequence[str], output: str | None) -> bool:
    """Whether all inputs go into one file."""
    one_file = output is not None and output.endswith(EXTENSION) and not Path(output).is_dir()
    return one_file and len(inputs) > 1


def member_names(inputs: Sequence[str], prog: str) -> list[str]:
    """What inputs are called in a file of several. Raises `UsageError` where two would have one name."""
    from .collection import usable_name

    taken: dict[str, str] = {}
    for source in inputs:
        name = usable_name(_default_name(source).stem)
        if name in taken:
            raise UsageError(prog, f"{taken[name]} and {source} would both be called {name}; add one with --name")
        taken[name] = source
    return list(taken)


def destinations(inputs: Sequence[str], output: str | None) -> list[Path | None]:
    """Where the `.inrz` file of each input goes, `output` being what -o says; None is standard output.

    Raises `UsageError` where two would go to one place.
    """
    usage = functools.partial(UsageError, "inrzip compress")
    if output == STREAM or (output is None and STREAM in inputs):
        if len(inputs) > 1:
            raise usage("several files cannot go to standard output; name a folder with -o")
        return [None]
    if len(inputs) > 1 and inputs[-1].endswith(EXTENSION) and not Path(inputs[-1]).exists():
        raise usage(f"{inputs[-1]} does not exist; if it is the output, name it with -o")
    if collects(inputs, output):
        member_names(inputs, "inrzip compress")
        return [Path(str(output))] * len(inputs)
    if output is None:
        paths = [_default_name(source) for source in inputs]
    elif Path(output).is_dir():
        paths = [Path(output) / _default_name(source).name for source in inputs]
    elif len(inputs) > 1 or output.endswith("/"):
        raise usage(f"{output} is no folder; make it first")
    else:
        paths = [Path(output)]
    taken: dict[Path, str] = {}
    for source, path in zip(inputs, paths, strict=True):
        if path in taken:
            raise usage(f"{taken[path]} and {source} would both become {path}; compress them one by one with -o")
        taken[path] = source
    return list(paths)
