"""Every peer by name. To add one, add a `Method` to the tuple of its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inrzip.errors import InrzipError
from inrzip.signal import Kind

from . import peers_audio, peers_images, peers_shapes, peers_video
from .methods import Method

ALL = (*peers_images.METHODS, *peers_video.METHODS, *peers_audio.METHODS, *peers_shapes.METHODS)
PEERS: Mapping[str, Method] = {method.name: method for method in ALL}
if len(PEERS) != len(ALL):
    raise ValueError("two peers have the same name")


def choose_peers(names: Sequence[str], kinds: Sequence[Kind]) -> list[Method]:
    """Peers by name; "all": every one for signals of those kinds. Raises InrzipError for a name that does not exist."""
    if list(names) == ["all"]:
        return [peer for peer in ALL if peer.kind in kinds]
    for name in names:
        if name not in PEERS:
            raise InrzipError(f"peer {name!r} does not exist; there are {', '.join(PEERS)}")
    return [PEERS[name] for name in names]
