"""Pictures of what was decoded, for a person to look at: crops, frames, slices, spectrograms, shaded meshes."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray

from inrzip.signal import Kind, Mesh, Spec

from .items import Content

LARGEST_SIDE = 384
PICTURE_QUALITY = 92  # of WebP: pictures in a report are for looking at, numbers are of the samples
SPECTROGRAM_WINDOW, SPECTROGRAM_RANGE_DB = 1024, 80.0
RENDER_SIDE, RENDER_POINTS = 320, 1_500_000
VIEW = np.array([[0.87, 0.0, 0.5], [0.17, 0.94, -0.3], [-0.47, 0.34, 0.81]])
"""Rows: right, up and towards the viewer."""
LIGHT = np.array([0.3, 0.5, 0.81])
Picture = UInt8[ndarray, "h w 3"]


def picture(spec: Spec, content: Content) -> Picture:
    """A picture of samples or a mesh, at most 384 pixels on a side."""
    if isinstance(content, Mesh):
        return _shaded(content, spec)
    if spec.kind == Kind.AUDIO:
        return _spectrogram(content, spec)
    samples: Shaped[ndarray, "..."] = content
    while samples.ndim > 3:  # the middle frame or slice
        samples = samples[len(samples) // 2]
    return _cropped(_eight_bits(samples if samples.ndim == 3 else samples[None], spec))


def data_url(image: Picture) -> str:
    """The picture as a URL that holds it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=PICTURE_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _eight_bits(samples: Shaped[ndarray, "h w c"], spec: Spec) -> Picture:
    low, span = (0.0, spec.peak) if spec.kind in (Kind.IMAGE, Kind.VIDEO) else (spec.low, spec.high - spec.low or 1.0)
    grey = np.rint(np.clip((samples.astype(np.float64) - low) / span, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., :1], 3, -1) if grey.shape[-1] < 3 else grey[..., :3]


def _cropped(image: Picture) -> Picture:
    """The centre, pixel for pixel; small pictures are enlarged by whole factors."""
    height, width = (min(side, LARGEST_SIDE) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    crop = image[top : top + height, left : left + width]
    factor = max(1, LARGEST_SIDE // 2 // max(height, width))
    return np.repeat(np.repeat(crop, factor, 0), factor, 1)


def _spectrogram(sound: Shaped[ndarray, "n c"], spec: Spec) -> Picture:
    import matplotlib

    wave = sound.astype(np.float64).mean(1) / ((spec.high - spec.low) / 2 or 1.0)
    wave = np.pad(wave - wave.mean(), (0, max(0, SPECTROGRAM_WINDOW - len(wave))))
    starts = np.linspace(0, len(wave) - SPECTROGRAM_WINDOW, LARGEST_SIDE).astype(int)
    windows = np.stack([wave[s : s + SPECTROGRAM_WINDOW] for s in starts]) * np.hanning(SPECTROGRAM_WINDOW)
    levels = 20 * np.log10(np.abs(np.fft.rfft(windows)) / (SPECTROGRAM_WINDOW / 4) + 1e-9).T[::-1]
    levels = levels[: SPECTROGRAM_WINDOW // 2].reshape(SPECTROGRAM_WINDOW // 4, 2, -1).mean(1)
    shades = np.clip(1 + levels / SPECTROGRAM_RANGE_DB, 0, 1)
    return np.asarray(matplotlib.colormaps["magma"](shades)[..., :3] * 255, np.uint8)


def _shaded(mesh: Mesh, spec: Spec) -> Picture:
    """The mesh as dense points on its surface, the nearest to the viewer in each pixel, shaded by its face's normal."""
    image = np.full((RENDER_SIDE, RENDER_SIDE, 3), 255, np.uint8)
    if not len(mesh.faces):
        return image
    corners = mesh.vertices[mesh.faces]
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(crosses, axis=1)
    rng = np.random.default_rng(0)
    faces = rng.choice(len(areas), RENDER_POINTS, p=areas / areas.sum())
    u, v = rng.random((2, RENDER_POINTS, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    points = corners[faces, 0] * (1 - u - v) + corners[faces, 1] * u + corners[faces, 2] * v
    x, y, depth = _projected(points, spec)
    normals = (crosses / np.maximum(areas, 1e-30)[:, None])[faces] @ VIEW.T
    shade = 0.25 + 0.75 * np.abs(normals @ LIGHT)
    order = np.argsort(depth)  # the nearest is written last
    colour = np.array([196, 205, 222])
    image[y[order], x[order]] = np.clip(shade[order, None] * colour, 0, 255).astype(np.uint8)
    return image


def _projected(
    points: Float[ndarray, "n 3"], spec: Spec
) -> tuple[Shaped[ndarray, " n"], Shaped[ndarray, " n"], Float[ndarray, " n"]]:
    """Column, row and nearness of points, the shape's cube filling the picture."""
    box = spec.meta["box"]
    assert isinstance(box, tuple)
    centre, edge = np.array(box[:3]) + box[3] / 2, box[3]
    seen = (points - centre) @ VIEW.T / edge
    pixels = np.clip(((seen[:, :2] * [0.8, -0.8] + 0.5) * RENDER_SIDE).astype(int), 0, RENDER_SIDE - 1)
    return pixels[:, 0], pixels[:, 1], seen[:, 2]
