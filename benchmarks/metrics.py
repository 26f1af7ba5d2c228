"""Distortion, measured on decoded samples: pure functions of two arrays, in float64.

Arrays are samples in their own type, original first. Images are (H, W, channels), videos (T, H, W, channels), sounds
(N, channels), volumes any shape. `peak` is the span of the sample type (255 for 8 bits; see `inrzip.signal.Spec.peak`).
No error at all is `LOSSLESS_DB` dB, so that every figure is a number. For meshes see `inrzip.shape_metrics.compare`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray
from scipy.ndimage import correlate1d

from inrzip.metrics import LOSSLESS_DB, psnr

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, finest first: Wang, Simoncelli and Bovik, 2003, "Multiscale structural similarity"."""
WINDOW_SIGMA, WINDOW_RADIUS = 1.5, 5
WINDOW = 2 * WINDOW_RADIUS + 1
"""The Gaussian window of SSIM, 11 samples wide: Wang et al., 2004."""
K1, K2 = 0.01, 0.03
LSD_WINDOW, LSD_HOP = 1024, 256
LSD_FLOOR_DB = -100.0
"""Power below a full-scale sine at which spectra are cut off, so that digital silence has a finite distance."""

Samples = Shaped[ndarray, "..."]


def mse(original: Samples, decoded: Samples) -> float:
    """Mean squared error over all samples, in squared sample units. Raises ValueError for unequal shapes."""
    if original.shape != decoded.shape:
        raise ValueError(f"shapes {original.shape} and {decoded.shape} differ")
    difference = original.astype(np.float64) - decoded.astype(np.float64)
    return float(np.mean(difference * difference))


def mean_psnr(errors: Sequence[float], peaks: Sequence[float]) -> float:
    """Mean of the items' PSNR in dB: what most papers on images print."""
    return float(np.mean([psnr(error, peak) for error, peak in zip(errors, peaks, strict=True)]))


def psnr_of_mean_mse(errors: Sequence[float], peaks: Sequence[float]) -> float:
    """PSNR in dB of the items' mean squared error, each relative to its peak. Never above `mean_psnr`."""
    relative = [error / peak**2 for error, peak in zip(errors, peaks, strict=True)]
    return psnr(float(np.mean(relative)), 1.0)


def max_error(original: Samples, decoded: Samples) -> float:
    """The largest error, in sample units."""
    return float(np.max(np.abs(original.astype(np.float64) - decoded.astype(np.float64)), initial=0.0))


# ---- images ----


def ssim(original: Shaped[ndarray, "h w c"], decoded: Shaped[ndarray, "h w c"], peak: float) -> float:
    """Structural similarity (Wang et al., 2004), mean over pixels and channels; 1 is equal. Gaussian window.

    Raises ValueError for an image smaller than the window.
    """
    if min(original.shape[:2]) < WINDOW:
        raise ValueError(f"SSIM needs sides of at least {WINDOW} pixels, not {original.shape[:2]}")
    means = [np.prod(_ssim_terms(a, b, peak), axis=0).mean() for a, b in _channel_pairs(original, decoded)]
    return float(np.mean(means))


def ms_ssim(original: Shaped[ndarray, "h w c"], decoded: Shaped[ndarray, "h w c"], peak: float) -> float:
    """Multi-scale SSIM (Wang et al., 2003), mean over channels; 1 is equal. Negative contrast terms count as 0.

    Raises ValueError if the coarsest of the five scales is smaller than the window: sides under 176 pixels.
    """
    least = WINDOW * 2 ** (len(MS_SSIM_WEIGHTS) - 1)
    if min(original.shape[:2]) < least:
        raise ValueError(f"MS-SSIM needs sides of at least {least} pixels, not {original.shape[:2]}")
    return float(np.mean([_ms_ssim_channel(a, b, peak) for a, b in _channel_pairs(original, decoded)]))


def _channel_pairs(
    original: Shaped[ndarray, "h w c"], decoded: Shaped[ndarray, "h w c"]
) -> Iterator[tuple[Float[ndarray, "h w"], Float[ndarray, "h w"]]]:
    for channel in range(original.shape[2]):
        yield original[..., channel].astype(np.float64), decoded[..., channel].astype(np.float64)


def _ms_ssim_channel(a: Float[ndarray, "h w"], b: Float[ndarray, "h w"], peak: float) -> float:
    product, last = 1.0, len(MS_SSIM_WEIGHTS) - 1
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        luminance, contrast = _ssim_terms(a, b, peak)
        term = luminance * contrast if scale == last else contrast
        product *= max(float(term.mean()), 0.0) ** weight
        a, b = _halved(a), _halved(b)
    return product


def _ssim_terms(
    a: Float[ndarray, "h w"], b: Float[ndarray, "h w"], peak: float
) -> tuple[Float[ndarray, "p q"], Float[ndarray, "p q"]]:
    """The luminance term, and that of contrast and structure, at each whole window."""
    mean_a, mean_b = _windowed(a), _windowed(b)
    var_a = _windowed(a * a) - mean_a**2
    var_b = _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * covariance + c2) / (var_a + var_b + c2)


def _windowed(values: Float[ndarray, "h w"]) -> Float[ndarray, "p q"]:
    """Gaussian means over whole windows only."""
    offsets = np.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1)
    kernel = np.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        values = correlate1d(values, kernel, axis)
    return values[WINDOW_RADIUS:-WINDOW_RADIUS, WINDOW_RADIUS:-WINDOW_RADIUS]


def _halved(values: Float[ndarray, "h w"]) -> Float[ndarray, "p q"]:
    """Means of 2x2 samples; an odd last row or column is left out."""
    h, w = values.shape[0] // 2 * 2, values.shape[1] // 2 * 2
    halved: Float[ndarray, "p q"] = values[:h, :w].reshape(h // 2, 2, w // 2, 2).mean((1, 3))
    return halved


# ---- sound ----


def audio_psnr(original: Shaped[ndarray, "n c"], decoded: Shaped[ndarray, "n c"], peak: float) -> float:
    """PSNR in dB as the papers define it (COIN++, RECOMBINER): the wave from -1 to 1 is mapped to 0..1, the peak is 1.

    So the peak is the whole span of the samples: 6.02 dB more than with the largest amplitude as peak.
    """
    return psnr(mse(original, decoded), peak)


def snr(original: Shaped[ndarray, "n c"], decoded: Shaped[ndarray, "n c"]) -> float:
    """Signal to noise ratio in dB: power of the original over power of the error."""
    power = float(np.mean(original.astype(np.float64) ** 2))
    return _ratio_db(power, mse(original, decoded))


def si_sdr(original: Shaped[ndarray, "n c"], decoded: Shaped[ndarray, "n c"]) -> float:
    """Scale-invariant signal to distortion ratio in dB (Le Roux et al., 2019), without means; mean over channels."""
    a, b = original.astype(np.float64), decoded.astype(np.float64)
    a, b = a - a.mean(0), b - b.mean(0)
    scale = (a * b).sum(0) / np.maximum((a * a).sum(0), 1e-300)
    target, noise = ((scale * a) ** 2).sum(0), ((b - scale * a) ** 2).sum(0)
    return float(np.mean([_ratio_db(float(t), float(n)) for t, n in zip(target, noise, strict=True)]))


def log_spectral_distance(original: Shaped[ndarray, "n c"], decoded: Shaped[ndarray, "n c"], peak: float) -> float:
    """Mean over frames and channels of the root mean square difference of log power spectra, in dB; 0 is equal.

    Hann windows of 1024 samples every 256, the sound padded with silence to whole windows; powers relative to a
    full-scale sine, and at least `LSD_FLOOR_DB`.
    """
    a, b = (_log_spectra(sound.astype(np.float64) / (peak / 2)) for sound in (original, decoded))
    return float(np.sqrt(((a - b) ** 2).mean(-1)).mean())


def _log_spectra(sound: Float[ndarray, "n c"]) -> Float[ndarray, "c frames bins"]:
    n_frames = max(1, -(-(len(sound) - LSD_WINDOW) // LSD_HOP) + 1)
    padded = np.zeros(((n_frames - 1) * LSD_HOP + LSD_WINDOW, sound.shape[1]))
    padded[: len(sound)] = sound - sound.mean(0)  # unsigned samples have a large constant part
    windows = np.lib.stride_tricks.sliding_window_view(padded, LSD_WINDOW, axis=0)[::LSD_HOP]
    window = np.hanning(LSD_WINDOW + 1)[:-1]  # periodic
    powers = np.abs(np.fft.rfft(windows * window, axis=-1) / (window.sum() / 2)) ** 2
    logs: Float[ndarray, "c frames bins"] = 10 * np.log10(np.maximum(powers, 10 ** (LSD_FLOOR_DB / 10)))
    return logs.swapaxes(0, 1)


def _ratio_db(signal: float, noise: float) -> float:
    if noise <= 0:
        return LOSSLESS_DB
    return float(np.clip(10 * np.log10(max(signal, 1e-300) / noise), -LOSSLESS_DB, LOSSLESS_DB))
