"""The quality of a file: what was decoded from it, against the original."""

from __future__ import annotations

import numpy as np

from .errors import InrzipError
from .job import Job
from .metrics import ErrorSum
from .reader import Reader
from .signal import Kind, ShapeSignal, Signal


def measure(original: Signal, reader: Reader, job: Job | None = None, exactly: bool = False) -> dict[str, float]:
    """Decodes everything in `reader` and compares. Keys: see `inrzip.metrics` and, for shapes, `inrzip.shape_metrics`.

    Raises InrzipError if the two are not of the same kind and size, or, with `exactly`, if any sample differs.
    """
    spec, mine = original.spec, reader.spec
    if isinstance(original, ShapeSignal) and mine.kind == Kind.SHAPE:
        return _measure_shape(original, reader)
    if (spec.kind, spec.shape, spec.channels) != (mine.kind, mine.shape, mine.channels):
        raise InrzipError(
            f"the file holds {mine.kind.name.lower()} {mine.shape} x {mine.channels}, "
            f"not {spec.kind.name.lower()} {spec.shape} x {spec.channels}"
        )
    errors, row = ErrorSum(mine), 0
    for part in reader.parts():
        wanted = original.read(row, row + len(part))
        if exactly and not np.array_equal(part, wanted):
            raise InrzipError(
                f"{reader.container.name}: does not decode to the original; this is a bug, please report it"
            )
        errors.add(wanted, part)
        row += len(part)
        if job is not None:
            job.tell("checking" if exactly else "measuring", row / spec.shape[0])
    return errors.quality()


def _measure_shape(original: ShapeSignal, reader: Reader) -> dict[str, float]:
    from .shape_metrics import compare

    quality = compare(original.mesh, reader.mesh())
    return {
        "chamfer_percent": quality.chamfer_percent,
        "hausdorff_percent": quality.hausdorff_percent,
        "normal_consistency": quality.normal_consistency,
        "iou": quality.iou,
        "surface_psnr_db": quality.psnr,
    }
