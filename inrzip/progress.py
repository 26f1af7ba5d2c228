"""How far a long job is: what compressing and decompressing tell their caller while they work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Progress:
    """One report of a job under way.

    - `stage`: what is being done: "reading", "fitting", "training", "counting", "coding", "measuring" or "writing".
    - `fraction`: how much of the whole job is done, 0 to 1.
    - `seconds_left`: an estimate of the time to the job's end; None while there is none yet.
    - `detail`: more for a person to read, on one short line, such as "segment 2/5  31.2 dB"; may be empty.
    """

    stage: str
    fraction: float
    seconds_left: float | None = None
    detail: str = ""


# Takes the reports of a job. It is called from the thread that does the work, so it must return quickly.
ProgressCallback = Callable[[Progress], None]
