"""Meshes in and out, signed distances, and shape metrics, against shapes whose distances are known exactly."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Bool, Float
from numpy import ndarray

from inrzip import sdf, shape_metrics
from inrzip.errors import InrzipError, UnsupportedSignal
from inrzip.media import meshes
from inrzip.signal import Kind, Mesh, Spec

trimesh = pytest.importorskip("trimesh")

UNIT_SPEC = Spec(Kind.SHAPE, (128,) * 3, 1, "f4", -0.1, 0.1, {"box": (-1.0, -1.0, -1.0, 2.0)})
WRITABLE = [".obj", ".ply", ".stl", ".glb", ".off"]

Solid = Any  # a trimesh.Trimesh
Distance = Callable[[Float[ndarray, "n 3"]], Float[ndarray, " n"]]


def mesh_of(solid: Solid) -> Mesh:
    return Mesh(np.array(solid.vertices), np.array(solid.faces))


def box_distance(*half: float) -> Distance:
    def distance(points: Float[ndarray, "n 3"]) -> Float[ndarray, " n"]:
        beyond = np.abs(points) - np.array(half)
        away: Float[ndarray, " n"] = np.linalg.norm(np.maximum(beyond, 0), axis=1)
        away += np.minimum(beyond.max(1), 0)
        return away

    return distance


def sphere_distance(radius: float, centre: tuple[float, float, float] = (0, 0, 0)) -> Distance:
    return lambda points: np.linalg.norm(points - np.array(centre), axis=1) - radius


def torus_distance(points: Float[ndarray, "n 3"]) -> Float[ndarray, " n"]:
    distance: Float[ndarray, " n"] = np.hypot(np.hypot(points[:, 0], points[:, 1]) - 0.6, points[:, 2]) - 0.2
    return distance


def is_inside(distances: Float[ndarray, " n"]) -> Bool[ndarray, " n"]:
    return distances < 0


def mesh_volume(mesh: Mesh) -> float:
    """Positive if the normals point outwards."""
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def box(*half: float) -> Solid:
    return trimesh.creation.box(2 * np.array(half))


SHAPES = {  # mesh, exact distance, how far the facets lie from the exact surface
    "box": (box(0.9, 0.7, 0.5), box_distance(0.9, 0.7, 0.5), 0),
    "thin plate": (box(0.9, 0.8, 0.003), box_distance(0.9, 0.8, 0.003), 0),
    "thin rod": (box(0.9, 0.005, 0.005), box_distance(0.9, 0.005, 0.005), 0),
    "sphere": (trimesh.creation.icosphere(5, 0.8), sphere_distance(0.8), 5e-4),
    "torus": (trimesh.creation.torus(0.6, 0.2, 128, 64), torus_distance, 6e-4),
}


@pytest.mark.parametrize(("name", "inside_out"), [*((name, False) for name in SHAPES), ("box", True), ("torus", True)])
def test_samples_have_the_exact_distance_and_sign(name: str, inside_out: bool) -> None:
    solid, exact, sagitta = SHAPES[name]
    solid = solid.copy()
    if inside_out:
        solid.invert()
    positions, distances = sdf.sample_sdf(mesh_of(solid), UNIT_SPEC, 2000, seed=1)
    assert positions.shape == (2000, 3) and np.abs(positions).max() <= 1
    expected = np.clip(exact(positions.astype(np.float64)), -0.1, 0.1)
    np.testing.assert_allclose(distances, expected, atol=sagitta + 2e-6)
    assert np.abs(distances).max() <= np.float32(UNIT_SPEC.high)
    assert (np.abs(distances) < 0.1).mean() > 0.5  # most samples lie near the surface
    assert (distances < 0).any() and (distances > 0).any()


def test_samples_repeat_for_a_seed_and_differ_between_seeds() -> None:
    mesh = mesh_of(box(0.5, 0.5, 0.5))
    first, again, other = (sdf.sample_sdf(mesh, UNIT_SPEC, 100, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).all(1).all()


@pytest.mark.parametrize("n", [0, 1])
def test_few_samples(n: int) -> None:
    positions, distances = sdf.sample_sdf(mesh_of(box(0.5, 0.5, 0.5)), UNIT_SPEC, n, 0)
    assert positions.shape == (n, 3) and distances.shape == (n,)


def test_hole_is_closed_smoothly() -> None:
    solid = trimesh.creation.icosphere(4, 0.8)
    solid.update_faces(solid.triangles_center[:, 2] > -0.6)
    surface = sdf.prepare(solid.vertices, solid.faces)
    points = np.random.default_rng(0).uniform(-1, 1, (5000, 3))
    expected = is_inside(sphere_distance(0.8)(points))
    found = sdf.is_inside(surface, points)
    away = np.abs(sphere_distance(0.8)(points)) > 0.01  # the facets' own error
    away &= ~((points[:, 2] < -0.5) & expected)  # the cap may lie anywhere in the hole
    np.testing.assert_array_equal(found[away], expected[away])


def test_overlapping_parts_are_one_solid() -> None:
    left, right = (trimesh.creation.icosphere(4, 0.5).apply_translation([x, 0, 0]) for x in (-0.3, 0.3))
    both = left + right
    surface = sdf.prepare(both.vertices, both.faces)
    # A point of the right sphere's wall, deep in the left one: no surface there.
    distance = sdf.signed_distance(surface, np.array([[-0.2, 0, 0], [-0.19, 0.01, 0]]), 0.1)
    np.testing.assert_allclose(distance, -0.1, atol=1e-6)
    points, _ = sdf.surface_points(surface, 1000, np.random.default_rng(0))
    exact = np.minimum(sphere_distance(0.5, (0.3, 0, 0))(points), sphere_distance(0.5, (-0.3, 0, 0))(points))
    assert np.abs(exact).max() < 0.02


def test_cavity_is_outside() -> None:
    inner = trimesh.creation.icosphere(3, 0.4)
    inner.invert()
    hollow = trimesh.creation.icosphere(4, 0.8) + inner
    surface = sdf.prepare(hollow.vertices, hollow.faces)
    assert sdf.is_inside(surface, np.array([[0, 0, 0.0], [0.6, 0, 0], [0.95, 0, 0]])).tolist() == [False, True, False]


def test_small_triangles_do_not_hide_a_large_one() -> None:
    plate = box(0.9, 0.9, 0.1)
    grain = trimesh.creation.icosphere(4, 0.004).apply_translation([0, 0, 0.104])
    both = plate + grain
    surface = sdf.prepare(both.vertices, both.faces)
    points = np.array([[0.006, 0, 0.1001], [0.006, 0, 0.0999], [0.01, 0.003, 0.101]])
    expected = [0.0001, -0.0001, 0.001]
    np.testing.assert_allclose(sdf.signed_distance(surface, points, 0.1), expected, atol=1e-6)


def test_soup_of_large_triangles_stays_within_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdf, "MAX_PIECES", 20_000)
    soup = np.random.default_rng(0).uniform(-0.9, 0.9, (9000, 3))
    surface = sdf.prepare(soup, np.arange(9000).reshape(-1, 3))
    assert surface.areas.shape[1] < 3000 + 20_000 + 2


def test_sheet_is_refused() -> None:
    sheet = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]]) - 0.5, np.array([[0, 1, 2]]))
    with pytest.raises(UnsupportedSignal, match="encloses no volume"):
        sdf.sample_sdf(sheet, UNIT_SPEC, 10, 0)
    with pytest.raises(UnsupportedSignal, match="no faces"):
        sdf.sample_sdf(Mesh(np.zeros((0, 3)), np.zeros((0, 3), int)), UNIT_SPEC, 10, 0)


def grid_positions(shape: tuple[int, ...], origin: ndarray, spacing: ndarray) -> Float[ndarray, "n 3"]:
    positions: Float[ndarray, "n 3"] = np.array(list(np.ndindex(*shape))) * spacing + origin
    return positions


def test_extracted_sphere_is_in_place_and_faces_outwards() -> None:
    spec = dataclasses.replace(UNIT_SPEC, meta={"box": (10.0, 20.0, 30.0, 4.0)})  # cube centre (12, 22, 32), scale 2
    n = 40
    points = grid_positions((n, n, n), np.full(3, 1 / n - 1), np.full(3, 2 / n))
    mesh = sdf.extract_mesh(sphere_distance(0.6, (0.1, 0, -0.2))(points).reshape(n, n, n), spec)
    offsets = mesh.vertices - [12.2, 22, 31.6]
    np.testing.assert_allclose(np.linalg.norm(offsets, axis=1), 1.2, atol=2e-3)
    assert mesh_volume(Mesh(offsets, mesh.faces)) == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.01)


def test_extracted_region_lies_where_the_whole_has_it() -> None:
    origin, spacing = np.array([0.0, -0.7, -0.7]), np.array([0.05, 0.04, 0.03])
    shape = (15, 36, 48)
    values = sphere_distance(0.6)(grid_positions(shape, origin, spacing)).reshape(shape)
    mesh = sdf.extract_mesh(values, UNIT_SPEC, tuple(origin), tuple(spacing))
    assert mesh.vertices[:, 0].min() >= 0
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.6, atol=1e-3)


@pytest.mark.parametrize("values", [np.ones((4, 4, 4)), -np.ones((4, 4, 4)), np.zeros((1, 5, 5)), np.zeros((0, 3, 3))])
def test_grid_without_surface_gives_an_empty_mesh(values: ndarray) -> None:
    mesh = sdf.extract_mesh(values, UNIT_SPEC)
    assert mesh.vertices.shape == (0, 3) and mesh.faces.shape == (0, 3)


def test_cube_coordinates_round_trip() -> None:
    spec = dataclasses.replace(UNIT_SPEC, meta={"box": (5.0, -3.0, 1.0, 0.5)})
    np.testing.assert_allclose(sdf.to_cube(np.array([[5, -3, 1], [5.5, -2.5, 1.5]]), spec), [[-1] * 3, [1] * 3])
    points = np.random.default_rng(0).uniform(-1, 1, (5, 3))
    np.testing.assert_allclose(sdf.to_cube(sdf.from_cube(points, spec), spec), points, atol=1e-12)


@pytest.mark.parametrize("extension", WRITABLE)
def test_mesh_files_round_trip(tmp_path: Path, extension: str) -> None:
    solid = mesh_of(trimesh.creation.icosphere(2, 3.0).apply_translation([5, 6, 7]))
    path = tmp_path / f"ball{extension}"
    meshes.write_mesh(path, solid)
    signal = meshes.read_mesh(path)
    spec = signal.spec
    assert (spec.kind, spec.shape, spec.channels, spec.sample_type) == (Kind.SHAPE, (128,) * 3, 1, "f4")
    assert spec.low == -spec.high < 0 and spec.meta["format"] == extension
    assert signal.source_bytes == path.stat().st_size
    assert len(signal.mesh.vertices) == len(solid.vertices) and len(signal.mesh.faces) == len(solid.faces)
    assert mesh_volume(signal.mesh) == pytest.approx(mesh_volume(solid), rel=1e-5)
    cube = sdf.to_cube(signal.mesh.vertices, spec)
    np.testing.assert_allclose([cube.min(0), cube.max(0)], [[-0.9] * 3, [0.9] * 3], atol=1e-5)


def test_dirty_mesh_is_cleaned(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 99 99 99\nv 0 0 0\n"  # the last but one unused, the last a twin
        "f 4 3 2 1\nf 7 2 5\nf 2 3 5\nf 3 4 5\nf 4 1 5\n"  # a pyramid: one quad, four triangles
        "f 1 1 2\nf 1 7 2\nf 5 2 1\n"  # two without area, one a mirrored repetition
    )
    signal = meshes.read_mesh(tmp_path / "a.obj")
    assert signal.mesh.vertices.shape == (5, 3) and signal.mesh.faces.shape == (6, 3)
    assert mesh_volume(signal.mesh) == pytest.approx(1 / 3)
    assert signal.spec.meta["box"] == pytest.approx((-1 / 18, -1 / 18, -1 / 18, 10 / 9))


def test_mixed_orientation_is_mended(tmp_path: Path) -> None:
    solid = trimesh.creation.icosphere(2)
    faces = np.array(solid.faces)
    faces[::3] = faces[::3, ::-1]
    meshes.write_mesh(tmp_path / "a.ply", Mesh(np.array(solid.vertices), faces))
    assert abs(mesh_volume(meshes.read_mesh(tmp_path / "a.ply").mesh)) == pytest.approx(solid.volume, rel=1e-5)


def test_scene_is_placed_in_world_coordinates(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    ball = trimesh.creation.icosphere(2)
    mirrored = np.diag([-1.0, 1, 1, 1])
    mirrored[:3, 3] = [10, 0, 0]
    scene.add_geometry(ball, node_name="a", geom_name="ball")
    scene.add_geometry(ball, node_name="b", geom_name="ball2", transform=mirrored)
    scene.export(tmp_path / "two.glb")
    mesh = meshes.read_mesh(tmp_path / "two.glb").mesh
    np.testing.assert_allclose([mesh.vertices[:, 0].min(), mesh.vertices[:, 0].max()], [-1, 11], atol=1e-5)
    assert mesh_volume(mesh) == pytest.approx(2 * ball.volume, rel=1e-5)


def glb(document: Mapping[str, object]) -> bytes:
    body = json.dumps(document).encode()
    body += b" " * (-len(body) % 4)
    return b"glTF" + struct.pack("<III", 2, 20 + len(body), len(body)) + b"JSON" + body


PLY = "ply\nformat {0} 1.0\nelement vertex {1}\nproperty float x\nproperty float y\nproperty float z\n"
HUGE_GLTF = {
    "asset": {"version": "2.0"},
    "accessors": [{"count": 10**12, "type": "VEC3", "componentType": 5126}, {"count": 3, "type": "SCALAR"}],
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
    "nodes": [{"mesh": 0}],
    "scenes": [{"nodes": [0]}],
}
BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "no extension": ("a", b"x", "no known mesh format"),
    "empty": ("a.obj", b"", "is empty"),
    "text": ("a.ply", b"hello there", "a.ply"),
    "text as glb": ("a.glb", b"hello there", "no valid glTF"),
    "text as stl": ("a.stl", b"hello there", "a.stl"),
    "points": ("a.ply", (PLY.format("ascii", 1) + "end_header\n1 2 3\n").encode(), "point clouds"),
    "points in obj": ("a.obj", b"v 1 2 3\nv 2 3 4\n", "a.obj"),
    "point format": ("a.pcd", b"x", "point clouds"),
    "nan": ("a.obj", b"v 0 0 0\nv 1 0 nan\nv 0 1 0\nf 1 2 3\n", "1 of 3 vertices"),
    "index": ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "a.obj"),
    "no area": ("a.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "no face has an area"),
    "one point": ("a.obj", b"v 3 3 3\nv 3 3 3\nv 3 3 3\nf 1 2 3\n", "its size"),
    "huge": ("a.obj", b"v 0 0 0\nv 1e300 0 0\nv 0 1e300 0\nf 1 2 3\n", "its size"),
    "huge gltf": ("a.glb", glb(HUGE_GLTF), "declares 1000000000000"),
    "bad gltf": ("a.gltf", b'{"accessors": [5]}', "no valid glTF"),
    "huge ply": ("a.ply", (PLY.format("binary_little_endian", 10**13) + "end_header\nabc").encode(), "a.ply"),
    "huge stl": ("a.stl", b"\0" * 80 + b"\xff\xff\xff\xff" + b"\0" * 50, "a.stl"),
    "off": ("a.off", b"OFF\n1000000000000 1 0\n0 0 0\n", "a.off"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_give_one_clear_line(tmp_path: Path, case: str) -> None:
    name, content, text = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsupportedSignal, match=text) as caught:
        meshes.read_mesh(tmp_path / name)
    assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("extension", WRITABLE)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_files_do_not_crash(tmp_path: Path, extension: str, kept: float) -> None:
    path = tmp_path / f"a{extension}"
    meshes.write_mesh(path, mesh_of(trimesh.creation.icosphere(1)))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    try:
        assert len(meshes.read_mesh(path).mesh.faces) <= 80  # a text format may still hold whole faces
    except UnsupportedSignal as error:
        assert str(path) in str(error)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedSignal, match="no such file"):
        meshes.read_mesh(tmp_path / "none.obj")
    (tmp_path / "folder.obj").mkdir()
    with pytest.raises(UnsupportedSignal, match="not a file"):
        meshes.read_mesh(tmp_path / "folder.obj")


def test_unwritable_meshes(tmp_path: Path) -> None:
    solid = mesh_of(box(1, 1, 1))
    with pytest.raises(InrzipError, match="cannot be written as"):
        meshes.write_mesh(tmp_path / "a.dae", solid)
    with pytest.raises(InrzipError, match="nothing to write"):
        meshes.write_mesh(tmp_path / "a.obj", Mesh(np.zeros((0, 3)), np.zeros((0, 3), int)))
    with pytest.raises(InrzipError, match="cannot be written"):
        meshes.write_mesh(tmp_path / "none" / "a.obj", solid)


@pytest.fixture
def coarse_volumes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_metrics, "IOU_GRID", 40)


@pytest.mark.usefixtures("coarse_volumes")
def test_concentric_spheres_are_as_far_as_their_radii() -> None:
    first, second = (mesh_of(trimesh.creation.icosphere(4, radius)) for radius in (1.0, 1.1))
    quality = shape_metrics.compare(first, second, n=3000)
    diagonal = 2 * math.sqrt(3)
    assert quality.chamfer_percent == pytest.approx(100 * 0.1 / diagonal, rel=0.02)
    assert quality.rms_percent == pytest.approx(quality.chamfer_percent, rel=0.01)
    assert quality.hausdorff_percent == pytest.approx(100 * 0.1 / diagonal, rel=0.05)
    assert quality.psnr == pytest.approx(20 * math.log10(diagonal / 0.1), abs=0.2)
    assert quality.iou == pytest.approx(1 / 1.1**3, abs=0.02)
    assert quality.normal_consistency > 0.99


@pytest.mark.usefixtures("coarse_volumes")
def test_shifted_boxes() -> None:
    first, second = box(0.5, 0.5, 0.5), box(0.5, 0.5, 0.5).apply_translation([0.5, 0, 0])
    quality = shape_metrics.compare(mesh_of(first), mesh_of(second), n=3000)
    assert quality.iou == pytest.approx(1 / 3, abs=0.02)
    assert quality.hausdorff_percent == pytest.approx(100 * 0.5 / math.sqrt(3), rel=0.02)


@pytest.mark.usefixtures("coarse_volumes")
def test_a_mesh_equals_itself_even_inside_out() -> None:
    solid = trimesh.creation.torus(0.6, 0.2, 32, 16).apply_scale(1000)
    turned = solid.copy()
    turned.invert()
    quality = shape_metrics.compare(mesh_of(solid), mesh_of(turned), n=2000)
    assert quality.psnr > 120 and quality.iou == 1 and quality.normal_consistency > 0.999


def test_empty_meshes_in_comparison() -> None:
    solid, empty = mesh_of(box(1, 1, 1)), Mesh(np.zeros((0, 3)), np.zeros((0, 3), int))
    quality = shape_metrics.compare(solid, empty)
    assert quality.chamfer_percent == math.inf and quality.psnr == 0 and quality.iou == 0
    with pytest.raises(UnsupportedSignal, match="no faces"):
        shape_metrics.compare(empty, solid)
