"""Configurations of networks as bytes and back (docs/format.md, "Segment payloads")."""

from __future__ import annotations

from typing import Any

from inrzip.architectures.base import Config, Grid

from . import wire
from .errors import CorruptFile

MAX_TUPLE = 16
"""Entries of a tuple in a configuration."""


def encode_config(config: Config) -> bytes:
    """The fields in order: a number as a varint, a tuple as its length and its entries."""
    out = b""
    for name, is_tuple in config.field_is_tuple().items():
        value = getattr(config, name)
        out += (wire.varint(len(value)) + b"".join(map(wire.varint, value))) if is_tuple else wire.varint(value)
    return out


def decode_config(architecture: type[Config], cursor: wire.Cursor, grid: Grid) -> Config:
    """The inverse of `encode_config`. Raises CorruptFile for values that no encoder writes."""
    values: dict[str, Any] = {}
    for name, is_tuple in architecture.field_is_tuple().items():
        if not is_tuple:
            values[name] = cursor.varint()
            continue
        length = cursor.varint()
        if length > MAX_TUPLE:
            raise CorruptFile(f"a network's {name} has {length} entries")
        values[name] = tuple(cursor.varint() for _ in range(length))
    config = architecture(**values)
    try:
        config.check(grid)
    except ValueError as error:
        raise CorruptFile(f"impossible network: {error}") from None
    return config
