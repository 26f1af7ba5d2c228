"""Reading and writing triangle meshes."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from ..errors import InrzipError, UnsupportedSignal
from ..signal import Kind, Mesh, MetaValue, ShapeSignal, Spec

MESH_EXTENSIONS = (".obj", ".ply", ".stl", ".glb", ".gltf", ".off")
WRITABLE_EXTENSIONS = (".obj", ".ply", ".stl", ".glb", ".off")
POINT_EXTENSIONS = (".pcd", ".xyz", ".pts", ".las", ".laz")
RESOLUTION = 128  # points along each axis of the grid on which the surface is extracted
TRUNCATION = 0.1  # largest distance told apart, in cube units; the cube's edge is 2
MARGIN = 0.05  # free part of the cube on each side of the shape's longest extent
MAX_FACES = 20_000_000  # bounds what a small file that repeats one mesh many times can grow to
LEAST_AREA = 1e-14  # in units of the cube's edge squared; a smaller triangle has no direction


def read_mesh(path: Path) -> ShapeSignal:
    """Reads a triangle mesh: .obj, .ply, .stl, .glb, .gltf or .off.

    Polygons are cut into triangles, the parts of a scene are placed in world coordinates and joined, equal vertices
    merged, and what has no area dropped. If neighbouring faces disagree about which side is out, they are turned to
    agree. Colours, textures and normals are not kept. Raises `UnsupportedSignal` for anything that gives no surface.
    """
    _check_input(path)
    vertices, faces = _load(path)
    if not len(faces):
        raise UnsupportedSignal(f"{path}: has no faces; point clouds are not supported, only triangle meshes")
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices)).any(1).sum())
        raise UnsupportedSignal(f"{path}: {bad} of {len(vertices)} vertices are NaN or infinite; repair the mesh first")
    box = _cube(vertices[np.unique(faces)], path)
    mesh = _orient(_clean(vertices, faces, box[3], path))
    meta: dict[str, MetaValue] = {"box": box, "format": path.suffix.lower()}
    spec = Spec(Kind.SHAPE, (RESOLUTION,) * 3, 1, "f4", -TRUNCATION, TRUNCATION, meta)
    return ShapeSignal(spec, mesh, path.stat().st_size)


def write_mesh(path: Path, mesh: Mesh) -> None:
    """Writes a mesh in the format of the extension: .obj, .ply (binary), .stl (binary), .glb or .off.

    Positions are float32, in .obj and .off 8 to 10 decimals. Raises `InrzipError` for another extension or a mesh
    without faces.
    """
    import trimesh

    extension = path.suffix.lower()
    if extension not in WRITABLE_EXTENSIONS:
        raise InrzipError(f"{path}: a shape cannot be written as '{extension}'; use {', '.join(WRITABLE_EXTENSIONS)}")
    if not len(mesh.faces):
        raise InrzipError(f"{path}: nothing to write, the mesh has no faces")
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False, validate=False)
    try:
        solid.export(path, file_type=extension[1:])
    except OSError as error:
        raise InrzipError(f"{path}: cannot be written: {error.strerror or error}") from error


def _check_input(path: Path) -> None:
    extension = path.suffix.lower()
    if extension in POINT_EXTENSIONS:
        raise UnsupportedSignal(f"{path}: point clouds are not supported; make a triangle mesh of it first")
    if extension not in MESH_EXTENSIONS:
        raise UnsupportedSignal(f"{path}: '{extension}' is no known mesh format; use {', '.join(MESH_EXTENSIONS)}")
    if not path.exists():
        raise UnsupportedSignal(f"{path}: no such file")
    if not path.is_file():
        raise UnsupportedSignal(f"{path}: is not a file; name a mesh file")
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise UnsupportedSignal(f"{path}: cannot be read: {error.strerror or error}") from error
    if empty:
        raise UnsupportedSignal(f"{path}: is empty")
    if extension in (".glb", ".gltf"):
        _check_gltf(path)


def _check_gltf(path: Path) -> None:
    """glTF may declare arrays that are in no buffer, of any length; the reader would allocate them before noticing."""
    try:
        data = path.read_bytes()
        if data[:4] == b"glTF":
            (length,) = struct.unpack_from("<I", data, 12)
            data = data[20 : 20 + length]
        document = json.loads(data)
        counts = [int(accessor["count"]) for accessor in document.get("accessors", [])]
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise UnsupportedSignal(f"{path}: is no valid glTF file ({type(error).__name__}: {_line(error)})") from error
    if any(count < 0 or count > 3 * MAX_FACES for count in counts):
        raise UnsupportedSignal(f"{path}: declares {max(counts)} elements in one array; the limit is {3 * MAX_FACES}")


def _load(path: Path) -> tuple[Float[ndarray, "v 3"], Int[ndarray, "f 3"]]:
    """Vertices and triangles of everything in the file, in world coordinates."""
    import trimesh

    try:
        scene = trimesh.load_scene(path, process=False, skip_materials=True)
        parts = [_placed(scene, node) for node in _mesh_nodes(scene, path)]
    except UnsupportedSignal:
        raise
    except MemoryError as error:
        raise UnsupportedSignal(f"{path}: needs more memory than there is, or its header is damaged") from error
    except Exception as error:  # trimesh's readers raise whatever a malformed file leads them to
        what = f"{type(error).__name__}: {_line(error)}"
        raise UnsupportedSignal(f"{path}: is no valid {path.suffix.lower()} mesh ({what})") from error
    if not parts:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
    faces = [faces + start for (_, faces), start in zip(parts, starts, strict=False)]
    return np.concatenate([vertices for vertices, _ in parts]), np.concatenate(faces)


def _mesh_nodes(scene: Any, path: Path) -> list[str]:
    """Names of the scene's nodes that hold a triangle mesh. Checks how much they come to before anything is copied."""
    import trimesh

    meshes = {name: len(part.faces) for name, part in scene.geometry.items() if isinstance(part, trimesh.Trimesh)}
    nodes = [node for node in scene.graph.nodes_geometry if scene.graph[node][1] in meshes]
    total = sum(meshes[scene.graph[node][1]] for node in nodes)
    if total > MAX_FACES:
        raise UnsupportedSignal(f"{path}: has {total} triangles; the limit is {MAX_FACES}")
    return nodes


def _placed(scene: Any, node: str) -> tuple[Float[ndarray, "v 3"], Int[ndarray, "f 3"]]:
    transform, name = scene.graph[node]
    part = scene.geometry[name]
    vertices = np.asarray(part.vertices, np.float64)
    faces = np.asarray(part.faces, np.int64)
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices):
        raise ValueError(f"a face names vertex {faces.max()} of {len(vertices)}")
    if np.linalg.det(transform[:3, :3]) < 0:  # a mirror turns the faces inside out
        faces = faces[:, ::-1]
    return vertices @ transform[:3, :3].T + transform[:3, 3], faces


def _cube(vertices: Float[ndarray, "v 3"], path: Path) -> tuple[float, float, float, float]:
    """(x, y, z, edge): low corner and edge of the cube around the vertices' bounding box, MARGIN free on each side."""
    low, high = vertices.min(0), vertices.max(0)
    with np.errstate(over="ignore"):
        edge = float((high - low).max() / (1 - 2 * MARGIN))
        x, y, z = ((low / 2 + high / 2) - edge / 2).tolist()
    if not (np.isfinite([x, y, z, edge]).all() and edge > 1e-150 and edge < 1e150):
        raise UnsupportedSignal(f"{path}: its size, {edge:g}, cannot be worked with; scale the mesh first")
    return x, y, z, edge


def _clean(vertices: Float[ndarray, "v 3"], faces: Int[ndarray, "f 3"], edge: float, path: Path) -> Mesh:
    """Merges equal vertices; drops degenerate faces, repeated faces and vertices no face uses."""
    vertices, same = np.unique(vertices, axis=0, return_inverse=True)
    faces = same.reshape(-1)[faces]
    a, b, c = (vertices[faces] / edge).transpose(1, 0, 2)
    faces = faces[np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2 > LEAST_AREA]
    if not len(faces):
        raise UnsupportedSignal(f"{path}: no face has an area; it holds no surface")
    # A face and its mirror twin (a two-sided sheet) would cancel; the first one counts.
    faces = faces[np.sort(np.unique(np.sort(faces, 1), axis=0, return_index=True)[1])]
    used, packed = np.unique(faces, return_inverse=True)
    return Mesh(vertices[used], packed.reshape(-1, 3))


def _orient(mesh: Mesh) -> Mesh:
    """Turns faces so that neighbours agree, where they do not. Which side is out does not matter (see `inrzip.sdf`)."""
    import trimesh

    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    if solid.is_winding_consistent:
        return mesh
    fix_winding: Any = trimesh.repair.fix_winding
    fix_winding(solid)
    return Mesh(mesh.vertices, np.asarray(solid.faces, np.int64))


def _line(error: BaseException) -> str:
    """The error's text on one line of bounded length."""
    return " ".join(str(error).split())[:120]
