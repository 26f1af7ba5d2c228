"""`fit`: arrays in, a representation and its exact byte count out, for experiments."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from . import plan
from .checkpoint import Checkpoint
from .compilation import prepare
from .compression import encode_signal, plan_lossless
from .job import Job
from .limits import check_spec
from .measure import measure
from .media.samples import array_signal
from .progress import ProgressCallback
from .reader import Reader
from .recipes import check_settings, choose_recipe
from .signal import Kind
from .weight_codecs import choose_codec


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What `fit` found. `data` is a whole `.inrz` file, and its length the rate; `quality` is of what it decodes to."""

    data: bytes
    reader: Reader
    quality: dict[str, float]
    n_parameters: int
    seconds: float

    @property
    def n_bytes(self) -> int:
        """The rate: bytes of the whole file."""
        return len(self.data)


def fit(
    samples: Shaped[np.ndarray, "..."],
    recipe: str | None = None,
    *,
    kind: Kind | str = Kind.IMAGE,
    codec: str | None = None,
    quality: float | None = None,
    target_size: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    effort: int = 5,
    time_limit: float | None = None,
    settings: Mapping[str, int] | None = None,
    lossless: bool = False,
    progress: ProgressCallback | None = None,
    stop: Callable[[], bool] | None = None,
) -> Fitted:
    """Fits an array and codes it, without touching the disk.

    `samples`: an image (H, W) or (H, W, channels), a video (T, H, W[, channels]), a sound (N,) or (N, channels), or a
    volume of 1 to 4 axes, as `kind` says; integers or floats. The other arguments are those of `inrzip.compress`;
    `settings` are numbers. Raises InrzipError.
    """
    begun = time.monotonic()
    prepare()
    request = plan.Request(quality, target_size, target_bpp, target_psnr, effort, time_limit)
    signal = array_signal(
        np.asarray(samples), Kind[kind.upper()] if isinstance(kind, str) else kind, Path("array.npy"), None
    )
    request.check(signal.spec)
    check_spec(signal.spec)
    chosen = choose_recipe(recipe, signal.spec, lossless)
    lossless = lossless or chosen.architecture.exact
    request = plan_lossless(request, signal.spec) if lossless else request
    numbers = dict(settings or {})
    check_settings(numbers, chosen)
    job = Job(Checkpoint(None, ""), progress, stop)
    deadline = None if time_limit is None else begun + time_limit
    weight_codec = choose_codec(codec, chosen)
    data, n_parameters, _ = encode_signal(
        signal, request, chosen, weight_codec, numbers, [], job, deadline, lossless=lossless
    )
    reader = Reader(data, max_memory=None)
    return Fitted(data, reader, measure(signal, reader, job), n_parameters, time.monotonic() - begun)
