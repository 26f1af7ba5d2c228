"""A page that shows a file by itself: the file in it, and a decoder in JavaScript."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import re
import string
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from ..errors import InrzipError
from ..files import atomic_output, check_writable
from ..inspection import info
from ..members import Collection
from ..reader import Reader
from ..recipes import ARCHITECTURES
from ..signal import Kind

DECODED_IN_PAGES = {
    1: "siren",
    4: "grid",
    5: "relu",
    6: "finer",
    7: "gauss",
    8: "wire",
    9: "bacon",
    10: "poly",
    14: "finr",
}
"""Architectures that the page's decoder knows, by number."""
GRID = 4
DECODER = (
    "stream.js",
    "levels.js",
    "tables.js",
    "prediction.js",
    "networks.js",
    "latents.js",
    "container.js",
    "worker.js",
)
"""Modules in an order in which each comes after what it imports."""
MOST_PIXELS = 1 << 25
"""Of a picture that a page can decode in a reasonable time."""

_IMPORT = re.compile(r"^import\s[^;]*;\n", re.M)
_EXPORT = re.compile(r"^export ", re.M)


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """A page that was written, how large it is, and the file in it."""

    page: Path
    bytes: int
    file_bytes: int


def export_page(
    source: Path, destination: Path | None = None, member: str | None = None, overwrite: bool = False
) -> ExportReport:
    """Writes the page of an image, beside `source` unless told where.

    `member`: which of several signals. Raises InrzipError for what the page's decoder does not know.
    """
    with Collection(source) as members:
        if member is None and members.file.several:
            raise InrzipError(f"{source}: holds several signals; name one with --member")
        number = 0 if member is None else members.file.find(member)
        with members[number] as reader:
            _check(reader, str(source))
            data = _bytes(members, number)
            name = members.names[number] if members.file.several else source.name
            facts = info(source, member)
            architecture = reader.container.header.architecture
    output = destination or source.with_name((name if member else source.stem) + ".html")
    check_writable(output, overwrite)
    page = page_text(name, data, facts, architecture).encode()
    with atomic_output(output, overwrite) as temporary:
        temporary.write_bytes(page)
    return ExportReport(output, len(page), len(data))


def _check(reader: Reader, name: str) -> None:
    header, spec = reader.container.header, reader.spec
    known = ", ".join(sorted(set(DECODED_IN_PAGES.values())))
    if spec.kind != Kind.IMAGE:
        raise InrzipError(
            f"{name}: holds signals of kind {spec.kind.name.lower()}; a page decodes images alone; use inrzip view"
        )
    if header.architecture not in DECODED_IN_PAGES:
        found = ARCHITECTURES.get(header.architecture)
        recipe = found.__name__.removesuffix("Config").lower() if found else f"number {header.architecture}"
        raise InrzipError(f"{name}: is of the recipe {recipe}; a page decodes {known}; use inrzip view")
    if getattr(header, "lossless", False):
        raise InrzipError(f"{name}: is lossless, which a page does not decode; use inrzip view")
    if spec.shape[0] * spec.shape[1] > MOST_PIXELS:
        raise InrzipError(f"{name}: has {spec.shape[0]} x {spec.shape[1]} pixels, too many for a page; use inrzip view")
    reader.container.verify()


def _bytes(members: Collection, number: int) -> bytes:
    copy = io.BytesIO()
    members.file.copy(number, copy)
    return copy.getvalue()


def page_text(name: str, data: bytes, facts: dict[str, object], architecture: int) -> str:
    """The page. All that comes from the file is escaped or coded."""
    decoder, static = (resources.files(__package__).joinpath(folder) for folder in ("decoder", "static"))
    shape = facts["shape"]
    assert isinstance(shape, list)
    rate = 8 * len(data) / (shape[0] * shape[1])
    told = f"{name}: {shape[1]} x {shape[0]} pixels, {len(data):,} bytes, {rate:.3g} bits a pixel, "
    return string.Template(_read(decoder, "page.html")).substitute(
        title=html.escape(name),
        facts=html.escape(told + DECODED_IN_PAGES[architecture]),
        style=_read(static, "style.css"),
        file=base64.b64encode(data).decode(),
        prior=json.dumps(_prior() if architecture == GRID else None, separators=(",", ":")),
        decoder=bundle([_read(decoder, module) for module in DECODER]),
        page=bundle([_read(static, "plane.js"), _read(decoder, "page.js")]),
    )


def bundle(modules: list[str]) -> str:
    """Modules as one text, whose names are all different."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", module)) for module in modules)


def _read(folder: Traversable, name: str) -> str:
    return folder.joinpath(name).read_text("utf-8")


def _prior() -> dict[str, list[int]]:
    """What files of latent grids are coded against."""
    with resources.files("inrzip.priors").joinpath("grid_photographs.npz").open("rb") as file, np.load(file) as stored:
        return {key: stored[key].ravel().tolist() for key in ("mean", "spread", "steps")}
