"""`compress_together`: small signals into one file, fitted side by side with one learned prior."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from inrzip.architectures.combiner import CombinerConfig
from inrzip.architectures.modulated import ModulatedConfig

from . import media, modulation_goals, plan
from .checkpoint import Checkpoint
from .collection import check_name, write_collection
from .compilation import prepare
from .container import write_container
from .errors import InrzipError
from .files import atomic_output, check_writable
from .header import Header
from .job import Job
from .limits import check_spec
from .measure import measure
from .members import Collection
from .posterior_goals import payloads_together, plan_together
from .progress import ProgressCallback
from .recipes import RECIPES, choose_recipe
from .signal import Kind, Signal

FITTING_SHARE = 0.95
KINDS = (Kind.IMAGE, Kind.AUDIO, Kind.PROTEIN)
"""Of signals that are small: others have segments, or sound beside them."""
RECIPE = next(recipe.name for recipe in RECIPES.values() if recipe.architecture is CombinerConfig)


@dataclasses.dataclass(frozen=True)
class TogetherReport:
    """What `compress_together` did. `bytes` is the size of the file on disk; `members` are its signals in order:
    `name`, `bytes` (without what is shared and the index) and `quality` of each, as decoded from the file.
    """

    path: Path
    bytes: int
    bits_per_point: float
    members: tuple[dict[str, object], ...]
    seconds: float
    stopped_early: bool

    def to_json(self) -> dict[str, object]:
        """All fields as plain values."""
        return dataclasses.asdict(self) | {"path": str(self.path)}


def compress_together(
    sources: Sequence[tuple[str, Path]],
    destination: Path | str,
    *,
    recipe: str = RECIPE,
    quality: float | None = None,
    effort: int = 5,
    prior: str | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    stop: Callable[[], bool] | None = None,
) -> TogetherReport:
    """Compresses images, proteins, or clips of sound of one segment, into one file, whose members are named as the
    pairs of `sources` say. Each member can be decoded without the others. `recipe`: one with a learned prior. `prior`:
    see `compress`. Raises InrzipError.
    """
    begun, output = time.monotonic(), Path(destination)
    check_writable(output, overwrite)
    prepare()
    job = Job(Checkpoint(None, ""), progress, stop)
    job.tell("reading")
    signals = [_read(name, path, recipe) for name, path in sources]
    if any(signal.spec.kind not in KINDS for signal in signals):
        raise InrzipError("videos and volumes are not fitted side by side; compress them one by one")
    if not signals or len({signal.spec.kind for signal in signals}) > 1:
        raise InrzipError("signals that are coded together are of one kind; compress the others by themselves")
    asked = plan.Request(quality, effort=effort)
    chosen = plan.goal(asked, 0).quality
    assert chosen is not None
    job.share = (0.0, FITTING_SHARE)
    everything = [(s.spec, s.read(0, s.spec.shape[0])) for s in signals]
    architecture = RECIPES[recipe].architecture
    if architecture is CombinerConfig:
        payloads = payloads_together(plan_together(signals[0].spec, prior, chosen, effort), everything, job)
    elif issubclass(architecture, ModulatedConfig):
        largest = max((signal.spec for signal in signals), key=lambda spec: math.prod(spec.shape))
        one = modulation_goals.plan_for(RECIPES[recipe], largest, prior, chosen, effort)
        payloads = modulation_goals.payloads_together(one, everything, job)
    else:
        raise InrzipError(f"recipe {recipe} fits no signals together; use combiner, vc-inr or coin++")
    files = []
    for (name, _), signal, payload in zip(sources, signals, payloads, strict=True):
        header = Header(signal.spec, architecture.number, signal.spec.shape[0])
        files.append((name, write_container(header, [payload])))
    with atomic_output(output, overwrite) as temporary:
        write_collection(temporary, files, shared=True)
    job.share = (FITTING_SHARE, 1.0)
    members = []
    with Collection(output, None) as written:
        for signal, entry, reader in zip(signals, written.file.entries, written, strict=True):
            measured = measure(signal, reader, job)
            members.append({"name": entry.name, "bytes": entry.length, "quality": measured})
        size = written.file.size
    points = sum(math.prod(signal.spec.shape) for signal in signals)
    return TogetherReport(output, size, 8 * size / points, tuple(members), time.monotonic() - begun, job.stopping)


def are_small(paths: Iterable[Path]) -> bool:
    """Whether all are of `KINDS`. Those that cannot be read count as such: what reads them next says why."""
    try:
        return all(media.read_signal(path).spec.kind in KINDS for path in paths)
    except InrzipError:
        return True


def _read(name: str, path: Path, recipe: str) -> Signal:
    check_name(name)
    signal = media.read_signal(path)
    check_spec(signal.spec)
    choose_recipe(recipe, signal.spec)
    return signal
