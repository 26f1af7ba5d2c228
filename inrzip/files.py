"""Writing files so that nothing a user had is ever lost."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from .errors import InrzipError


def check_writable(path: Path, overwrite: bool) -> None:
    """Refuses early, before any work, what `atomic_output` would refuse at the end."""
    if path.is_dir():
        raise InrzipError(f"{path}: is a folder; choose another name")
    if path.exists() and not path.is_file():
        raise InrzipError(f"{path}: is no regular file; choose another name")
    if path.exists() and not overwrite:
        raise InrzipError(f"{path}: already exists; give -f to overwrite it")
    if not path.parent.is_dir():
        raise InrzipError(f"{path}: the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise InrzipError(f"{path}: no permission to write in {path.parent}; choose another folder")


@contextlib.contextmanager
def atomic_output(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary sibling of `path` (same extension) to write; it takes `path`'s name only if the block
    succeeds.

    The block may make it a file or a folder. Symbolic links are followed. An error in the block that names the
    temporary file is made to name `path`.
    """
    target = Path(os.path.realpath(path))
    check_writable(path, overwrite)
    temporary = target.with_name(f".inrz-tmp-{secrets.token_hex(6)}{target.suffix}")
    try:
        yield temporary
        if temporary.is_file():
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        if not overwrite:
            check_writable(path, overwrite)
        os.replace(temporary, target)
    except OSError as error:
        hint = "; free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise InrzipError(f"{path}: cannot be written: {error.strerror or error}{hint}") from error
    except InrzipError as error:
        if str(temporary) not in str(error):
            raise
        raise type(error)(str(error).replace(str(temporary), str(path))) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()
