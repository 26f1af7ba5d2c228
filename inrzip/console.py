"""What happens on the terminal while a job runs: the progress bar, Ctrl-C, and lines on stderr."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from .progress import Progress, ProgressCallback
from .units import format_duration

_CLEAR_LINE = "\r\x1b[2K"  # ANSI: to the line's start, and erase it
_STDERR = 2
STOPPING = "stopping early with the best file so far; press Ctrl-C again to abort"


class Terminated(KeyboardInterrupt):
    """The system asked the process to end (SIGTERM)."""


def one_line(text: str) -> str:
    """`text` on one line: line ends and the blanks around them become one space, control characters are spelled out."""
    joined = re.sub(r"\s*[\r\n]\s*", " ", text.strip())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in joined)


def print_error(text: str) -> None:
    """Writes the line `inrzip: TEXT` to stderr. A stderr that is closed is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        print(f"inrzip: {one_line(text)}", file=sys.stderr, flush=True)


def _is_live_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def progress_display(label: str, shown: bool) -> Iterator[ProgressCallback | None]:
    """A progress bar on stderr, erased at the end; yields what to call with each report.

    Yields None, and shows nothing, if not `shown` or if stderr is no terminal. `label` starts the line; may be empty.
    """
    if not shown or not _is_live_terminal():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[stage]}", style="bold", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", style="cyan", markup=False),
    )
    # Standard output carries results, perhaps a file's bytes: rich must not redirect it.
    with Bar(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(one_line(label), total=1.0, stage="starting", detail="", left="")

        def show(progress: Progress) -> None:
            left = "" if progress.seconds_left is None else f"{format_duration(progress.seconds_left)} left"
            bar.update(
                task, completed=progress.fraction, stage=progress.stage, detail=one_line(progress.detail), left=left
            )

        yield show


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def raise_on_termination() -> Iterator[None]:
    """Within it, SIGTERM raises `Terminated`, so that what is half written is removed on the way out."""
    if not _on_main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Within it, the first Ctrl-C makes the function it yields return True, the second raises KeyboardInterrupt.

    A process started with Ctrl-C ignored, as a shell starts its background jobs, goes on ignoring it.
    """
    if not _on_main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield lambda: False
        return
    pressed = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            # An impatient third one must not interrupt the clearing up.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise KeyboardInterrupt
        pressed = True
        # A handler may interrupt a write to sys.stderr half-way, where a second one is an error; os.write always works.
        start = _CLEAR_LINE if _is_live_terminal() else ""
        with contextlib.suppress(OSError):
            os.write(_STDERR, f"{start}inrzip: {STOPPING}\n".encode())

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
