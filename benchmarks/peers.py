"""Every peer by name. To add one, add a `Method` to the tuple of its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inrzip.errors import InrzipError
from inrzip.signal import Kind

from . import peers_audio, peers_images, peers_shapes, peers_video
from .methods import Method, NotInstalled

ALL = (*peers_images.METHODS, *peers_video.METHODS, *peers_audio.METHODS, *peers_shapes.METHODS)
PEERS: Mapping[str, Method] = {method.name: method for method in ALL}
INSTALL = 'pip install -e ".[benchmarks]"'
if len(PEERS) != len(ALL):
    raise ValueError("two peers have the same name")


def choose_peers(names: Sequence[str], kinds: Sequence[Kind]) -> list[Method]:
    """Those peers by name that are for signals of those kinds; "all" is every one.

    Raises InrzipError for a name that does not exist, and for a peer that was named and is not installed.
    """
    if list(names) == ["all"]:
        return [peer for peer in ALL if peer.kind in kinds]
    for name in names:
        if name not in PEERS:
            raise InrzipError(f"peer {name!r} does not exist; there are {', '.join(PEERS)}")
    chosen = [PEERS[name] for name in names if PEERS[name].kind in kinds]
    for peer in chosen:
        try:
            peer.version()
        except NotInstalled as error:
            raise InrzipError(f"peer {peer.name}: {error} is not installed; {INSTALL}") from error
    return chosen
