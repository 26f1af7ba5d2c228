"""Signed distance of a triangle mesh: samples of it to fit a network to, and the surface of a grid of it.

Positions are in cube coordinates, [-1, 1] along each axis. `Spec.meta["box"]` says which cube of the mesh's space
that is.

The mesh need not be watertight. Triangles are cut into *pieces* of bounded size, found by their centres with k-d
trees.

- Distance: exact point-to-triangle distance to the pieces whose centres are nearest.
- Sign: the generalised winding number w (Jacobson et al., "Robust Inside-Outside Segmentation using Generalized
  Winding Numbers", SIGGRAPH 2013), the sum of the solid angles of all triangles over 4 pi: 1 inside and 0 outside of
  a closed mesh, smooth across a hole, 2 where two parts overlap. A point is inside where |w| > 1/2, which also takes
  meshes that are inside out. The sum is split as in Ewald's method: all pieces as dipoles blurred by a Gaussian, on a
  grid, as the Poisson equation laplace(w) = -div(areas) solved by FFT (as in Kazhdan et al., "Poisson Surface
  Reconstruction", SGP 2006); and for the pieces near a point the difference between their exact solid angle and their
  blurred one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray

from .errors import UnsupportedSignal
from .signal import Mesh, Spec

GRID = 192  # points along an axis of the winding grid
GRID_HALF = 1.25  # it spans [-GRID_HALF, GRID_HALF): room around the cube, as the FFT repeats it periodically
CELL = 2 * GRID_HALF / GRID
BLUR = 0.8 * CELL  # Gaussian applied to the winding grid
# Linear splatting and linear reading blur as well, by a variance of CELL^2 / 6 each.
TOTAL_BLUR = float(np.sqrt(BLUR**2 + CELL**2 / 3))
PIECE = 1.5 * CELL  # longest edge of a piece
MAX_PIECES = 4_000_000  # made by cutting, at most: bounds the memory that a soup of large triangles can cost
SIZE_RATIO, SIZE_CLASSES = 4.0, 4  # pieces are searched by size, so that small ones hide no large one beside them
FEWEST_NEAR, MOST_NEAR = 12, 32  # candidates from each size class
CHUNK = 2048  # points evaluated at once: keeps the temporaries in the cache
SUSPECT_ABOVE = 0.4  # blurred |w| in front of a triangle that may lie inside the shape
HIDDEN_ABOVE = 0.75  # |w| on both sides of a triangle that lies inside the shape, as where parts overlap
SOLID_ABOVE = 0.6  # |w| beside a surface that encloses something; a lone flat sheet has 1/2 on both sides
LEAST_SOLID, SOLID_SAMPLES = 0.01, 2000  # share of the surface that must be so, and how many places are looked at
NEAR_SHARE = 0.6  # share of samples near the surface, half of them at each of the two widths
NEAR_WIDTHS = (0.01, 0.04)  # standard deviations, in cube units


@dataclasses.dataclass(frozen=True)
class _Group:
    """Pieces of similar size. `ids` maps the tree's indices to pieces, and its 'nothing found' to the dummy piece."""

    tree: Any
    ids: Int[ndarray, " m1"]
    near: int
    hidden: bool


@dataclasses.dataclass(frozen=True)
class Surface:
    """A mesh prepared for distance and sign queries. The last piece is a far dummy that stands for 'no neighbour'."""

    corners: Float32[ndarray, "corner=3 xyz=3 m"]
    centres: Float32[ndarray, "xyz=3 m"]
    areas: Float32[ndarray, "xyz=3 m"]  # area times normal
    groups: tuple[_Group, ...]
    winding: Float32[ndarray, "g g g"]
    is_solid: bool  # whether it encloses any volume


def to_cube(points: Float[ndarray, "n 3"], spec: Spec) -> Float[ndarray, "n 3"]:
    """Positions in the mesh's units as cube coordinates."""
    corner, edge = _box(spec)
    inside: Float[ndarray, "n 3"] = (np.asarray(points, np.float64) - corner) * (2 / edge) - 1
    return inside


def from_cube(points: Float[ndarray, "n 3"], spec: Spec) -> Float[ndarray, "n 3"]:
    """The inverse of `to_cube`."""
    corner, edge = _box(spec)
    outside: Float[ndarray, "n 3"] = (np.asarray(points, np.float64) + 1) * (edge / 2) + corner
    return outside


def _box(spec: Spec) -> tuple[Float[ndarray, " 3"], float]:
    box = np.array(spec.meta["box"], np.float64)
    return box[:3], float(box[3])


def sample_sdf(mesh: Mesh, spec: Spec, n: int, seed: int) -> tuple[Float32[ndarray, "n 3"], Float32[ndarray, " n"]]:
    """Positions in cube coordinates and the signed distances there, negative inside, cut to [spec.low, spec.high].

    NEAR_SHARE of the positions are surface points moved by Gaussians of NEAR_WIDTHS, the others uniform in the cube;
    the order is random. The same arguments give the same samples. Raises `UnsupportedSignal` if the mesh has no faces
    or encloses no volume.
    """
    if not len(mesh.faces):
        raise UnsupportedSignal("the mesh has no faces, so it has no surface to compress")
    surface = prepare(to_cube(mesh.vertices, spec), mesh.faces)
    if not surface.is_solid:
        raise UnsupportedSignal("the mesh encloses no volume (an open sheet?); close it first")
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-1, 1, (n, 3))
    n_near = int(NEAR_SHARE * n)
    widths = np.resize(NEAR_WIDTHS, (n_near, 1))
    positions[:n_near] = surface_points(surface, n_near, rng)[0] + widths * rng.standard_normal((n_near, 3))
    beyond = np.abs(positions) > 1
    positions[beyond] = (np.sign(positions) * 2 - positions)[beyond]  # mirrored at the cube's sides
    positions = rng.permutation(np.clip(positions, -1, 1).astype(np.float32))
    return positions, signed_distance(surface, positions, spec.high)


def signed_distance(surface: Surface, points: Float[ndarray, "n 3"], limit: float) -> Float32[ndarray, " n"]:
    """Signed distance at positions in cube coordinates, negative inside, cut to [-limit, limit]; in cube units."""
    distance, _, winding = evaluate(surface, points, limit)
    return np.where(np.abs(winding) > 0.5, -distance, distance)


def is_inside(surface: Surface, points: Float[ndarray, "n 3"]) -> Bool[ndarray, " n"]:
    """Whether positions in cube coordinates lie inside the shape."""
    inside: Bool[ndarray, " n"] = np.abs(evaluate(surface, points, 3 * TOTAL_BLUR)[2]) > 0.5
    return inside


def surface_points(
    surface: Surface, n: int, rng: np.random.Generator
) -> tuple[Float32[ndarray, "n 3"], Int[ndarray, " n"]]:
    """Uniform random points of the surface in cube coordinates, and the piece of each; hidden pieces have none."""
    size = np.linalg.norm(surface.areas, axis=0).astype(np.float64)
    for group in surface.groups:
        if group.hidden:
            size[group.ids] = 0
    piece = rng.choice(len(size), n, p=size / size.sum())
    u, v = rng.random((2, n), np.float32)
    root = np.sqrt(u)  # makes barycentric coordinates uniform over the triangle
    a, b, c = surface.corners[:, :, piece]
    return ((1 - root) * a + root * (1 - v) * b + root * v * c).T, piece


def extract_mesh(
    values: Float[ndarray, "r1 r2 r3"],
    spec: Spec,
    origin: tuple[float, float, float] | None = None,
    spacing: tuple[float, float, float] | None = None,
) -> Mesh:
    """The zero level of a grid of signed distances: a mesh in the original's units, normals outwards (marching cubes).

    `origin` is the cube coordinate of `values[0, 0, 0]` and `spacing` the step along each axis. Without them the grid
    covers the whole cube: sample i of n lies at (2 i + 1) / n - 1. A grid that the surface does not cross gives no
    faces. The mesh is open where the surface leaves the grid. Values must be finite.
    """
    from skimage import measure

    marching_cubes: Any = measure.marching_cubes
    values = np.asarray(values, np.float32)
    if min(values.shape) < 2 or not values.min() < 0 < values.max():
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    shape = np.array(values.shape)
    step = np.array(spacing) if spacing is not None else 2 / shape
    start = np.array(origin) if origin is not None else step / 2 - 1
    vertices, faces, _, _ = marching_cubes(values, 0.0, gradient_direction="descent", allow_degenerate=False)
    return Mesh(from_cube(vertices * step + start, spec), faces.astype(np.int64))


def count_crossings(values: Float[ndarray, "r1 r2 r3"]) -> int:
    """Edges of the grid that the surface crosses: the vertices that `extract_mesh` makes, before it makes them."""
    inside = values < 0
    return sum(int(np.count_nonzero(np.diff(inside, axis=axis))) for axis in range(3))


def prepare(vertices: Float[ndarray, "v 3"], faces: Int[ndarray, "f 3"]) -> Surface:
    """Cuts a mesh in cube coordinates (within [-1, 1]) into pieces, and indexes them. Some face must have an area."""
    pieces = _cut(np.asarray(vertices, np.float64)[faces])
    sizes = _longest_edge(pieces)[0]
    dummy = np.full((1, 3, 3), 1e3) + 1e-3 * np.eye(3)
    corners = np.ascontiguousarray(np.concatenate([pieces, dummy]).transpose(1, 2, 0), np.float32)
    centres = corners.mean(0)
    areas = _cross(corners[1] - corners[0], corners[2] - corners[0]) / 2
    areas[:, -1] = 0
    if not areas.any():
        raise UnsupportedSignal("no face of the mesh has an area; it holds no surface")
    size_class = np.log(PIECE / np.maximum(sizes, 1e-12)) / np.log(SIZE_RATIO)
    label = np.clip(size_class.astype(int), 0, SIZE_CLASSES - 1)
    winding = _winding_grid(centres[:, :-1], areas[:, :-1])
    surface = Surface(corners, centres, areas, _group(label, centres, areas), winding, True)
    return _without_hidden(surface, label)


def _cut(triangles: Float[ndarray, "m 3 3"]) -> Float[ndarray, "m2 3 3"]:
    """Cuts triangles until no edge is longer than PIECE. A needle of length L gives about 3 L / PIECE pieces."""
    done, budget = [], MAX_PIECES
    while len(triangles):
        length, longest = _longest_edge(triangles)
        growth = np.where(length > PIECE, 4 * length / PIECE + 4, 0)
        long = (growth > 0) & (np.cumsum(growth) < budget)
        done.append(triangles[~long])
        order = (longest[long, None] + np.arange(3)) % 3  # the longest edge first
        a, b, c = np.take_along_axis(triangles[long], order[..., None], 1).transpose(1, 0, 2)
        along = b - a
        foot = a + along * (((c - a) * along).sum(1) / (along * along).sum(1))[:, None]
        triangles = np.concatenate([_slices(a, foot, c), _slices(b, c, foot)])
        budget -= len(triangles)
    return np.concatenate(done)


def _slices(
    tip: Float[ndarray, "m 3"], left: Float[ndarray, "m 3"], right: Float[ndarray, "m 3"]
) -> Float[ndarray, "m2 3 3"]:
    """Triangles cut parallel to the side opposite the tip, in slices of at most PIECE / sqrt(2), two triangles each."""
    length = np.maximum(np.linalg.norm(left - tip, axis=1), np.linalg.norm(right - tip, axis=1))
    number = np.ceil(length * (np.sqrt(2) / PIECE)).astype(int).clip(1)
    which = np.repeat(np.arange(len(tip)), number)
    inner = np.arange(len(which)) - np.repeat(np.cumsum(number) - number, number)
    near, far = (((inner + step) / number[which])[:, None] for step in (0, 1))
    tips, to_left, to_right = tip[which], (left - tip)[which], (right - tip)[which]
    outer = np.stack([tips + near * to_left, tips + far * to_left, tips + far * to_right], 1)
    rest = np.stack([tips + near * to_left, tips + far * to_right, tips + near * to_right], 1)
    return np.concatenate([outer, rest[inner > 0]])


def _longest_edge(triangles: Float[ndarray, "m 3 3"]) -> tuple[Float[ndarray, " m"], Int[ndarray, " m"]]:
    """Length of the longest edge, and which it is: edge i goes from corner i to the next."""
    lengths = np.linalg.norm(np.roll(triangles, -1, 1) - triangles, axis=-1)
    return lengths.max(1), lengths.argmax(1)


def _group(
    label: Int[ndarray, " m"], centres: Float32[ndarray, "3 m1"], areas: Float32[ndarray, "3 m1"]
) -> tuple[_Group, ...]:
    """One k-d tree for each label; labels from SIZE_CLASSES on are hidden pieces."""
    from scipy.spatial import cKDTree

    groups = []
    for value in np.unique(label):
        ids = np.flatnonzero(label == value)
        mean_area = float(np.linalg.norm(areas[:, ids], axis=0).mean())
        wanted = np.pi * (2 * TOTAL_BLUR) ** 2 / max(mean_area, 1e-12)  # as many as cover what the blur smears
        near = int(np.clip(wanted, FEWEST_NEAR, MOST_NEAR))
        tree = cKDTree(centres[:, ids].T, balanced_tree=False, compact_nodes=False)
        groups.append(_Group(tree, np.append(ids, len(label)), near, bool(value >= SIZE_CLASSES)))
    return tuple(groups)


def _without_hidden(surface: Surface, label: Int[ndarray, " m"]) -> Surface:
    """Marks the pieces that lie inside the shape (overlapping parts): no distance is taken to them."""
    centres, areas = surface.centres[:, :-1], surface.areas[:, :-1]
    size = np.linalg.norm(areas, axis=0)
    normals = areas / np.maximum(size, 1e-30)
    # The blurred winding number a little off the surface tells which pieces may be hidden: look closely at those only.
    step = np.float32(2 * TOTAL_BLUR) * normals
    front, back = (_read_grid(surface.winding, where.T) for where in (centres + step, centres - step))
    doubtful = np.flatnonzero((front > SUSPECT_ABOVE) | (back < -SUSPECT_ABOVE))
    hidden = np.zeros(size.shape, bool)
    outside = _beside(surface, doubtful, normals)
    hidden[doubtful] = (outside > HIDDEN_ABOVE) | (outside + 1 < -HIDDEN_ABOVE)
    if hidden.any() and not hidden.all():
        groups = _group(label + SIZE_CLASSES * hidden, surface.centres, surface.areas)
        surface = dataclasses.replace(surface, groups=groups)
    some = np.random.default_rng(0).choice(len(size), SOLID_SAMPLES, p=size / size.sum(dtype=np.float64))
    outside = _beside(surface, some, normals)
    solid = np.maximum(np.abs(outside), np.abs(outside + 1)) > SOLID_ABOVE
    return dataclasses.replace(surface, is_solid=bool(solid.mean() > LEAST_SOLID))


def _beside(surface: Surface, ids: Int[ndarray, " m"], normals: Float32[ndarray, "3 m2"]) -> Float32[ndarray, " m"]:
    """The winding number just in front of some pieces. Behind them it is larger by 1."""
    front = surface.centres[:, ids] + np.float32(1e-4) * normals[:, ids]
    return evaluate(surface, front.T, 4 * TOTAL_BLUR)[2]


def _winding_grid(centres: Float32[ndarray, "3 m"], areas: Float32[ndarray, "3 m"]) -> Float32[ndarray, "g g g"]:
    """The winding number, blurred by BLUR, at positions i * CELL - GRID_HALF."""
    from scipy import fft

    where, shares = _splat_weights(centres)
    along = 2 * np.pi * np.fft.fftfreq(GRID, CELL).astype(np.float32)
    half = 2 * np.pi * np.fft.rfftfreq(GRID, CELL).astype(np.float32)
    frequencies = (along[:, None, None], along[None, :, None], half[None, None, :])
    flux = np.zeros((GRID, GRID, GRID // 2 + 1), np.complex64)
    for axis, frequency in enumerate(frequencies):
        splat = np.bincount(where.ravel(), (shares * areas[axis]).ravel(), GRID**3)
        flux += frequency * fft.rfftn(splat.astype(np.float32).reshape((GRID,) * 3), workers=-1)
    squared = along[:, None, None] ** 2 + along[:, None] ** 2 + half**2
    squared[0, 0, 0] = 1
    flux *= (1j / CELL**3) * np.exp(squared * np.float32(-(BLUR**2) / 2)) / squared
    grid: Float32[ndarray, "g g g"] = fft.irfftn(flux, s=(GRID,) * 3, workers=-1)
    # The periodic solution is known up to a constant; far outside w is 0 on average.
    grid -= (grid[0].mean() + grid[:, 0].mean() + grid[:, :, 0].mean()) / 3
    return grid


def _splat_weights(centres: Float32[ndarray, "3 m"]) -> tuple[Int[ndarray, "8 m"], Float32[ndarray, "8 m"]]:
    """Flat indices and weights of the eight grid points around each position, for trilinear interpolation."""
    at = np.clip((centres + GRID_HALF) / CELL, 0, GRID - 1.001)
    base = at.astype(np.int64)
    part = at - base
    where, shares = [], []
    for corner in np.ndindex(2, 2, 2):
        step = np.array(corner)[:, None]
        where.append(np.ravel_multi_index(tuple(base + step), (GRID,) * 3))
        shares.append(np.where(step == 1, part, 1 - part).prod(0))
    return np.stack(where), np.stack(shares)


def evaluate(
    surface: Surface, points: Float[ndarray, "n 3"], limit: float = np.inf
) -> tuple[Float32[ndarray, " n"], Int[ndarray, " n"], Float32[ndarray, " n"]]:
    """Distance to the surface, the nearest piece, and the winding number, at `points` in cube coordinates.

    Distances above `limit` (cube units) are cut to it, which saves much time; the piece is then of no meaning.
    """
    points = np.asarray(points, np.float32)
    distance = np.full(len(points), min(limit, np.finfo(np.float32).max), np.float32)
    piece = np.zeros(len(points), np.int64)
    winding = _read_grid(surface.winding, points)
    for part, near, visible in _candidates(surface, points, limit):
        apex = points[part].T[:, :, None]
        corners = surface.corners[:, :, near] - apex
        squared = np.where(visible, _squared_distance(corners), np.inf)
        best = squared.argmin(1)
        found = np.sqrt(np.take_along_axis(squared, best[:, None], 1)[:, 0])
        distance[part] = np.minimum(found, distance[part])
        piece[part] = np.take_along_axis(near, best[:, None], 1)[:, 0]
        exact = _solid_angle(corners)
        blurred = _blurred_angle(surface.centres[:, near] - apex, surface.areas[:, near])
        winding[part] += ((exact - blurred) / (4 * np.pi)).sum(1)
    return distance, piece, winding


def _candidates(
    surface: Surface, points: Float32[ndarray, "n 3"], limit: float
) -> Iterator[tuple[Int[ndarray, " c"], Int[ndarray, "c k"], Bool[ndarray, " k"]]]:
    """Yields indices of some points, the pieces near each, and which columns of those count for the distance."""
    reach = limit + PIECE
    visible = np.concatenate([np.full(g.near, not g.hidden) for g in surface.groups])
    block = 32 * CHUNK
    for start in range(0, len(points), block):
        part = points[start : start + block]
        found = [g.ids[g.tree.query(part, g.near, distance_upper_bound=reach, workers=-1)[1]] for g in surface.groups]
        near = np.concatenate(found, 1)
        some = np.flatnonzero((near != surface.areas.shape[1] - 1).any(1))
        for first in range(0, len(some), CHUNK):
            rows = some[first : first + CHUNK]
            yield start + rows, near[rows], visible


def _read_grid(grid: Float32[ndarray, "g g g"], points: Float32[ndarray, "n 3"]) -> Float32[ndarray, " n"]:
    from scipy.ndimage import map_coordinates

    at = (points.T + np.float32(GRID_HALF)) / np.float32(CELL)
    values: Float32[ndarray, " n"] = map_coordinates(grid, at, order=1, mode="constant", output=np.float32)
    return values


def _cross(a: Float32[ndarray, " 3 *m"], b: Float32[ndarray, " 3 *m"]) -> Float32[ndarray, " 3 *m"]:
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _dot(a: Float32[ndarray, " 3 *m"], b: Float32[ndarray, " 3 *m"]) -> Float32[ndarray, " *m"]:
    product: Float32[ndarray, " *m"] = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


def _squared_distance(corners: Float32[ndarray, "3 3 *m"]) -> Float32[ndarray, " *m"]:
    """Squared distance from the origin to triangles."""
    normal = _cross(corners[1] - corners[0], corners[2] - corners[0])
    square = _dot(normal, normal)
    best = np.full(square.shape, np.inf, np.float32)
    within = square > 0
    for start, end in ((0, 1), (1, 2), (2, 0)):
        a = corners[start]
        edge = corners[end] - a
        t = np.clip(-_dot(a, edge) / np.maximum(_dot(edge, edge), 1e-30), 0, 1)
        offset = a + t * edge
        best = np.minimum(best, _dot(offset, offset))
        within &= _dot(_cross(a, edge), normal) >= 0
    plane = _dot(normal, corners[0]) ** 2 / np.maximum(square, 1e-30)
    return np.where(within, plane, best)


def _solid_angle(corners: Float32[ndarray, "3 3 *m"]) -> Float32[ndarray, " *m"]:
    """Signed solid angle of triangles from the origin (Van Oosterom and Strackee, IEEE Trans. Biomed. Eng. 1983)."""
    a, b, c = corners
    la, lb, lc = (np.sqrt(_dot(v, v)) for v in corners)
    under = la * lb * lc + _dot(a, b) * lc + _dot(b, c) * la + _dot(c, a) * lb
    angle: Float32[ndarray, " *m"] = 2 * np.arctan2(_dot(a, _cross(b, c)), under)
    return angle


def _blurred_angle(centre: Float32[ndarray, " 3 *m"], area: Float32[ndarray, " 3 *m"]) -> Float32[ndarray, " *m"]:
    """Solid angle from the origin of small areas, blurred by TOTAL_BLUR: the field of Gaussian charges."""
    from scipy.special import erf

    distance = np.maximum(np.sqrt(_dot(centre, centre)), np.float32(1e-2 * TOTAL_BLUR))
    scaled = distance / np.float32(np.sqrt(2) * TOTAL_BLUR)
    charge = erf(scaled) - np.float32(2 / np.sqrt(np.pi)) * scaled * np.exp(-(scaled**2))
    angle: Float32[ndarray, " *m"] = _dot(centre, area) * (charge / distance**3)
    return angle
