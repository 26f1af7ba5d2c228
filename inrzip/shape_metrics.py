"""How far a decoded shape is from its original."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray

from . import sdf
from .errors import UnsupportedSignal
from .signal import Mesh

IOU_GRID = 64  # points along each axis on which volumes are compared
CUBE_FILL = 0.95  # half-extent of the two meshes in the cube in which they are compared


@dataclasses.dataclass(frozen=True)
class ShapeQuality:
    """Distances between points sampled on each surface and the other surface, both directions counting equally.

    - `chamfer_percent`, `rms_percent`, `hausdorff_percent`: mean, root mean square and largest distance, in % of the
      diagonal of the original's bounding box. The largest is that of the samples, so a little below the true one.
    - `normal_consistency`: mean |cosine| between the normals at a sample and at its nearest point; 1 is best.
    - `iou`: volume inside both over volume inside either, on a grid of IOU_GRID^3 points; 0 if neither encloses any.
    - `psnr`: 10 log10(diagonal^2 / mean squared distance) in dB; over 120 dB means equal but for float32 rounding. It
      is like MPEG's D1 PSNR of point clouds, but with the diagonal as peak, exact surfaces in place of points, and
      the mean of both directions where MPEG takes the larger.

    A decoded mesh without faces has infinite distances, and 0 as consistency, IoU and PSNR.
    """

    chamfer_percent: float
    rms_percent: float
    hausdorff_percent: float
    normal_consistency: float
    iou: float
    psnr: float


EMPTY = ShapeQuality(math.inf, math.inf, math.inf, 0.0, 0.0, 0.0)


def compare(original: Mesh, decoded: Mesh, n: int = 100_000, seed: int = 0) -> ShapeQuality:
    """Compares two meshes in the same units, by `n` random points on each surface. Parts inside the shape do not count.

    Raises `UnsupportedSignal` if the original has no faces.
    """
    if not len(original.faces):
        raise UnsupportedSignal("the original mesh has no faces; there is nothing to compare with")
    if not len(decoded.faces):
        return EMPTY
    corners = np.concatenate([original.vertices[original.faces], decoded.vertices[decoded.faces]]).reshape(-1, 3)
    centre, half = (corners.min(0) + corners.max(0)) / 2, float(np.ptp(corners, axis=0).max()) / 2 or 1.0
    scale = CUBE_FILL / half
    surfaces = [sdf.prepare((mesh.vertices - centre) * scale, mesh.faces) for mesh in (original, decoded)]
    rng = np.random.default_rng(seed)
    there, there_cosine = _one_way(surfaces[0], surfaces[1], n, rng)
    back, back_cosine = _one_way(surfaces[1], surfaces[0], n, rng)
    extent = np.ptp(original.vertices[original.faces].reshape(-1, 3), axis=0)
    diagonal = float(np.linalg.norm(extent) * scale)
    square = float(np.mean(there.astype(np.float64) ** 2) + np.mean(back.astype(np.float64) ** 2)) / 2
    return ShapeQuality(
        chamfer_percent=100 * float(there.mean() + back.mean()) / 2 / diagonal,
        rms_percent=100 * math.sqrt(square) / diagonal,
        hausdorff_percent=100 * float(max(there.max(), back.max())) / diagonal,
        normal_consistency=(there_cosine + back_cosine) / 2,
        iou=_iou(surfaces),
        psnr=10 * math.log10(diagonal**2 / square) if square > 0 else math.inf,
    )


def _one_way(
    source: sdf.Surface, target: sdf.Surface, n: int, rng: np.random.Generator
) -> tuple[Float32[ndarray, " n"], float]:
    """Distances from points of one surface to the other, and the mean |cosine| between the normals there."""
    points, from_piece = sdf.surface_points(source, n, rng)
    distance, to_piece, _ = sdf.evaluate(target, points)
    cosines = (_normals(source, from_piece) * _normals(target, to_piece)).sum(0)
    return distance, float(np.abs(cosines).mean())


def _normals(surface: sdf.Surface, pieces: Int[ndarray, " n"]) -> Float32[ndarray, "3 n"]:
    areas = surface.areas[:, pieces]
    normals: Float32[ndarray, "3 n"] = areas / np.maximum(np.linalg.norm(areas, axis=0), 1e-30)
    return normals


def _iou(surfaces: list[sdf.Surface]) -> float:
    axis: Float[ndarray, " g"] = (2 * np.arange(IOU_GRID) + 1) / IOU_GRID - 1
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    first, second = (sdf.is_inside(surface, points) for surface in surfaces)
    either = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / either) if either else 0.0
