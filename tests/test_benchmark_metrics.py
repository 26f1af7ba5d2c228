"""The metrics of the benchmarks, each against an implementation written differently."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import convolve2d
from scipy.spatial import cKDTree
from skimage.metrics import structural_similarity

from benchmarks import metrics
from inrzip import shape_metrics
from inrzip.metrics import LOSSLESS_DB
from inrzip.signal import Mesh

N_POINTS = 10_000


def noisy_image(seed: int, size: tuple[int, int], noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    clean = np.stack([127 + 90 * np.sin(x / (5 + c)) * np.cos(y / (9 - c)) for c in range(3)], -1)
    original = np.clip(clean + rng.normal(0, 5, clean.shape), 0, 255).astype(np.uint8)
    return original, np.clip(original + rng.normal(0, noise, clean.shape), 0, 255).astype(np.uint8)


def naive_terms(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luminance, and contrast with structure, by two-dimensional convolution with central moments."""
    axis = np.linspace(-5, 5, 11)
    window = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / 4.5)
    window /= window.sum()

    def local(values: np.ndarray) -> np.ndarray:
        return convolve2d(values, window, mode="valid")

    mu_a, mu_b = local(a), local(b)
    var_a, var_b, cov = local(a**2) - mu_a**2, local(b**2) - mu_b**2, local(a * b) - mu_a * mu_b
    c1, c2 = 6.5025, 58.5225  # (0.01 * 255)^2, (0.03 * 255)^2
    return (2 * mu_a * mu_b + c1) / (mu_a**2 + mu_b**2 + c1), (2 * cov + c2) / (var_a + var_b + c2)


def test_ssim() -> None:
    original, decoded = noisy_image(0, (40, 57), 12)
    pairs = [(original[..., c].astype(float), decoded[..., c].astype(float)) for c in range(3)]
    expected = np.mean([np.prod(naive_terms(a, b), axis=0).mean() for a, b in pairs])
    assert metrics.ssim(original, decoded, 255) == pytest.approx(expected, abs=1e-9)
    assert metrics.ssim(original, original, 255) == pytest.approx(1)
    library = structural_similarity(
        original, decoded, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert metrics.ssim(original, decoded, 255) == pytest.approx(library, abs=1e-9)
    with pytest.raises(ValueError, match="11"):
        metrics.ssim(original[:10], decoded[:10], 255)


def test_ms_ssim() -> None:
    original, decoded = noisy_image(1, (177, 200), 25)
    expected = []
    for c in range(3):
        a, b = original[..., c].astype(float), decoded[..., c].astype(float)
        total = 0.0
        for scale, weight in enumerate([0.0448, 0.2856, 0.3001, 0.2363, 0.1333]):
            luminance, contrast = naive_terms(a, b)
            total += weight * np.log((luminance * contrast if scale == 4 else contrast).mean())
            a, b = (convolve2d(v, np.full((2, 2), 0.25), mode="valid")[::2, ::2] for v in (a, b))
        expected.append(np.exp(total))
    assert metrics.ms_ssim(original, decoded, 255) == pytest.approx(np.mean(expected), abs=1e-9)
    assert metrics.ms_ssim(original, original, 255) == pytest.approx(1)
    with pytest.raises(ValueError, match="176"):
        metrics.ms_ssim(original[:175], decoded[:175], 255)


def test_psnr_both_ways() -> None:
    """Two images of unlike error: the two averages differ, and each is what its name says."""
    errors, peaks = [4.0, 100.0], [255.0, 255.0]
    each = [20 * np.log10(255) - 10 * np.log10(e) for e in errors]
    assert metrics.mean_psnr(errors, peaks) == pytest.approx(sum(each) / 2)
    assert metrics.psnr_of_mean_mse(errors, peaks) == pytest.approx(20 * np.log10(255 / np.sqrt(52)))
    assert metrics.mean_psnr([0.0], [255.0]) == LOSSLESS_DB
    a, b = noisy_image(2, (9, 7), 3)
    assert metrics.mse(a, b) == pytest.approx(np.var(a.astype(float) - b) + (a.astype(float) - b).mean() ** 2)
    assert metrics.max_error(a, b) == max(abs(int(p) - int(q)) for p, q in zip(a.flat, b.flat, strict=True))
    with pytest.raises(ValueError, match="shapes"):
        metrics.mse(a, b[:1])


def sounds(dtype: str = "i2") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    t = np.arange(3000)[:, None] / 8000
    clean = 0.4 * np.sin(2 * np.pi * np.array([[440.0, 300.0]]) * t) + rng.normal(0, 0.02, (3000, 2))
    other = 0.9 * clean + rng.normal(0, 0.01, clean.shape)
    return (32767 * clean).astype(dtype), (32767 * other).astype(dtype)


def test_audio_psnr_is_that_of_the_papers() -> None:
    """Waves from -1 to 1 mapped to 0 to 1, peak 1: 10 log10(1 / MSE)."""
    a, b = sounds()
    mapped = [(wave / 32767.5 + 1) / 2 for wave in (a.astype(float), b.astype(float))]
    expected = -10 * np.log10(np.mean((mapped[0] - mapped[1]) ** 2))
    assert metrics.audio_psnr(a, b, 65535.0) == pytest.approx(expected, abs=1e-9)


def test_snr_and_si_sdr() -> None:
    a, b = sounds()
    noise = a.astype(float) - b
    assert metrics.snr(a, b) == pytest.approx(20 * np.log10(np.linalg.norm(a.astype(float)) / np.linalg.norm(noise)))
    expected = []
    for c in range(2):
        x, y = a[:, c] - a[:, c].mean(), b[:, c] - b[:, c].mean()
        fitted = x * np.linalg.lstsq(x[:, None], y, rcond=None)[0]
        expected.append(20 * np.log10(np.linalg.norm(fitted) / np.linalg.norm(y - fitted)))
    assert metrics.si_sdr(a, b) == pytest.approx(np.mean(expected))
    assert metrics.si_sdr(a, a // 2 * 2) == pytest.approx(metrics.si_sdr(a, a // 2 * 2 * 1), abs=1e-9)
    assert metrics.snr(a, a) == metrics.si_sdr(a, a) == LOSSLESS_DB
    assert np.isfinite(metrics.snr(a * 0, a)) and np.isfinite(metrics.si_sdr(a * 0, a))


def test_log_spectral_distance() -> None:
    """Against a loop over frames with a matrix of the transform."""
    a, b = (wave[:, :1] for wave in sounds())
    frequencies = np.exp(-2j * np.pi * np.outer(np.arange(513), np.arange(1024)) / 1024)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)

    def spectra(wave: np.ndarray) -> list[np.ndarray]:
        x = wave[:, 0] / 32767.5
        x = np.concatenate([x - x.mean(), np.zeros(1024)])
        starts = range(0, len(wave) - 1024 + 256, 256)
        powers = [np.abs(frequencies @ (x[s : s + 1024] * window) / 256) ** 2 for s in starts]
        return [10 * np.log10(np.maximum(p, 1e-10)) for p in powers]

    expected = np.mean([np.sqrt(np.mean((p - q) ** 2)) for p, q in zip(spectra(a), spectra(b), strict=True)])
    assert metrics.log_spectral_distance(a, b, 65535.0) == pytest.approx(expected, rel=1e-9)
    assert metrics.log_spectral_distance(a, a, 65535.0) == 0
    assert np.isfinite(metrics.log_spectral_distance(a[:5], a[:5] * 0, 65535.0))


def test_shape_metrics_against_point_clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ball and a box: exact distances to surfaces against those to the nearest of very many points."""
    import trimesh

    monkeypatch.setattr(shape_metrics, "IOU_GRID", 32)
    ball, box = trimesh.creation.icosphere(3, 1.0), trimesh.creation.box((1.7, 1.5, 1.6))
    meshes = [Mesh(np.asarray(m.vertices), np.asarray(m.faces)) for m in (ball, box)]
    found = shape_metrics.compare(meshes[0], meshes[1], n=N_POINTS)
    rng = np.random.default_rng(0)
    clouds = [trimesh.sample.sample_surface(m, 200_000, seed=rng) for m in (ball, box)]
    one = cKDTree(clouds[1][0]).query(clouds[0][0][:N_POINTS])
    two = cKDTree(clouds[0][0]).query(clouds[1][0][:N_POINTS])
    diagonal = np.linalg.norm(ball.extents)
    assert found.chamfer_percent == pytest.approx(100 * (one[0].mean() + two[0].mean()) / 2 / diagonal, rel=0.02)
    assert found.hausdorff_percent == pytest.approx(100 * max(one[0].max(), two[0].max()) / diagonal, rel=0.02)
    cosines = []
    for (distance, nearest), here, there, (own, other) in (
        (one, *clouds, (ball, box)),
        (two, *clouds[::-1], (box, ball)),
    ):
        assert len(distance) == N_POINTS
        normals = own.face_normals[here[1][:N_POINTS]], other.face_normals[there[1][nearest]]
        cosines.append(np.abs((normals[0] * normals[1]).sum(1)).mean())
    assert found.normal_consistency == pytest.approx(np.mean(cosines), abs=0.01)
    points = rng.uniform(-1, 1, (200_000, 3))
    inside = np.linalg.norm(points, axis=1) < 1, (np.abs(points) < np.array([1.7, 1.5, 1.6]) / 2).all(1)
    assert found.iou == pytest.approx((inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum(), abs=0.01)
