"""One point: an item compressed by a method at a quality; the file's bytes, and what its decoded content is like."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from inrzip.metrics import LOSSLESS_DB, psnr
from inrzip.shape_metrics import compare
from inrzip.signal import Kind

from . import metrics
from .items import Content, Item

MAIN_METRIC: Mapping[Kind, str] = {
    Kind.IMAGE: "psnr-rgb",
    Kind.VIDEO: "psnr-rgb",
    Kind.AUDIO: "psnr",
    Kind.SHAPE: "surface-psnr",
    Kind.VOLUME: "psnr",
}
"""What curves and Bjontegaard deltas are drawn and taken of, in dB."""

RATE_UNIT: Mapping[Kind, str] = {
    Kind.IMAGE: "bpp",
    Kind.VIDEO: "bpp",
    Kind.AUDIO: "kbps",
    Kind.SHAPE: "bpv",
    Kind.VOLUME: "bpv",
}
"""Bits a pixel, kilobits a second, bits a vertex of the original, bits a voxel."""

WORDS: Mapping[str, str] = {
    "psnr-rgb": "PSNR (dB), mean over images or frames",
    "psnr-rgb-of-mean-mse": "PSNR of the mean MSE (dB)",
    "ssim": "SSIM",
    "ms-ssim": "MS-SSIM",
    "psnr": "PSNR (dB)",
    "psnr-of-mean-mse": "PSNR of the mean MSE (dB)",
    "snr": "SNR (dB)",
    "si-sdr": "SI-SDR (dB)",
    "lsd": "log-spectral distance (dB, less is better)",
    "surface-psnr": "surface PSNR (dB)",
    "chamfer-percent": "chamfer distance (% of the diagonal, less is better)",
    "hausdorff-percent": "Hausdorff distance (% of the diagonal, less is better)",
    "normal-consistency": "normal consistency",
    "iou": "IoU",
    "max-error": "largest error (part of the range, less is better)",
}


@dataclasses.dataclass(frozen=True)
class Point:
    """What was measured. `bytes` is the whole file's; `rate` is in the kind's `RATE_UNIT`; `exact`: nothing was lost.

    `relative_mse` is the mean squared error in units of the squared peak, None for shapes.
    """

    item: str
    method: str
    quality: float
    bytes: int
    rate: float
    exact: bool
    relative_mse: float | None
    metrics: dict[str, float]
    encode_seconds: float
    decode_seconds: float


def rate_of(item: Item, n_bytes: int) -> float:
    """Bytes in the kind's `RATE_UNIT`."""
    if item.kind == Kind.AUDIO:
        return 8 * n_bytes / 1000 / (item.n_points / item.rate)
    return 8 * n_bytes / item.n_points


def distortion(item: Item, decoded: Content) -> tuple[bool, float | None, dict[str, float]]:
    """Whether `decoded` equals the item, its relative MSE, and the figures of the kind by name.

    Raises ValueError if it has another shape.
    """
    if item.kind == Kind.SHAPE:
        return False, None, _shape_figures(item, decoded)
    if not isinstance(decoded, np.ndarray):
        raise ValueError(f"{item.name}: decoded to a mesh")
    original, peak = item.samples, item.spec.peak
    error = metrics.mse(original, decoded)
    exact = bool(original.dtype == decoded.dtype and np.array_equal(original, decoded))
    if item.kind == Kind.IMAGE:
        figures = {"psnr-rgb": psnr(error, peak)} | _similarity([original], [decoded], peak)
    elif item.kind == Kind.VIDEO:
        errors = [metrics.mse(a, b) for a, b in zip(original, decoded, strict=True)]
        figures = {
            "psnr-rgb": metrics.mean_psnr(errors, [peak] * len(errors)),
            "psnr-rgb-of-mean-mse": psnr(error, peak),
        }
        figures |= _similarity(list(original), list(decoded), peak)
    elif item.kind == Kind.AUDIO:
        figures = {
            "psnr": metrics.audio_psnr(original, decoded, peak),
            "snr": metrics.snr(original, decoded),
            "si-sdr": metrics.si_sdr(original, decoded),
            "lsd": metrics.log_spectral_distance(original, decoded, peak),
        }
    else:
        figures = {"psnr": psnr(error, peak), "max-error": metrics.max_error(original, decoded) / peak}
    return exact, error / peak**2, figures


def _similarity(originals: list[np.ndarray], decodeds: list[np.ndarray], peak: float) -> dict[str, float]:
    """SSIM and MS-SSIM, mean over images; what is too small for one goes without it."""
    found: dict[str, float] = {}
    for name, measure in (("ssim", metrics.ssim), ("ms-ssim", metrics.ms_ssim)):
        try:
            found[name] = float(np.mean([measure(a, b, peak) for a, b in zip(originals, decodeds, strict=True)]))
        except ValueError:
            continue
    return found


def _shape_figures(item: Item, decoded: Content) -> dict[str, float]:
    if isinstance(decoded, np.ndarray):
        raise ValueError(f"{item.name}: decoded to samples, not to a mesh")
    quality = compare(item.mesh, decoded)
    return {
        "surface-psnr": min(quality.psnr, LOSSLESS_DB),
        "chamfer-percent": quality.chamfer_percent,
        "hausdorff-percent": quality.hausdorff_percent,
        "normal-consistency": quality.normal_consistency,
        "iou": quality.iou,
    }
