"""inrzip: compress images, audio, video, 3-D shapes and volumes as small neural networks."""

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

# In a checkout, architectures/, priors/ and codecs/ lie beside this folder; in a wheel they lie inside it.
_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "architectures").is_dir():
    __path__.append(str(_root))

__version__ = "0.1.0"

if _TYPE_CHECKING:
    from .collection import is_collection as is_collection
    from .compression import CompressReport as CompressReport
    from .compression import compress as compress
    from .decompression import DecompressReport as DecompressReport
    from .decompression import decompress as decompress
    from .decompression import decompress_all as decompress_all
    from .errors import CorruptFile as CorruptFile
    from .errors import InrzipError as InrzipError
    from .field_training import train_field_prior as train_field_prior
    from .inspection import codec_list as codec_list
    from .inspection import info as info
    from .inspection import recipe_list as recipe_list
    from .inspection import verify as verify
    from .media import read_signal as read_signal
    from .media import write_signal as write_signal
    from .members import Collection as Collection
    from .members import Collection as open_all  # noqa: F401
    from .prior_training import TrainReport as TrainReport
    from .prior_training import train_prior as train_prior
    from .reader import Reader as Reader
    from .reader import Reader as open  # noqa: F401
    from .research import Fitted as Fitted
    from .research import fit as fit
    from .signal import Kind as Kind
    from .signal import Spec as Spec
    from .together import TogetherReport as TogetherReport
    from .together import compress_together as compress_together
    from .virtual import pyramid as pyramid
    from .virtual import tensorstore as tensorstore

# Loaded when first used, so that `inrzip --help` need not wait for JAX.
_HOMES = {
    "collection": ("is_collection",),
    "compression": ("CompressReport", "compress"),
    "decompression": ("DecompressReport", "decompress", "decompress_all"),
    "errors": ("CorruptFile", "InrzipError"),
    "field_training": ("train_field_prior",),
    "inspection": ("codec_list", "info", "recipe_list", "verify"),
    "members": ("Collection", "open_all"),
    "media": ("read_signal", "write_signal"),
    "prior_training": ("TrainReport", "train_prior"),
    "reader": ("Reader", "open"),
    "research": ("Fitted", "fit"),
    "signal": ("Kind", "Spec"),
    "virtual": ("pyramid", "tensorstore"),
    "together": ("TogetherReport", "compress_together"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_RENAMED = {"open": "Reader", "open_all": "Collection"}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> _Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'inrzip' has no attribute {name!r}")
    return getattr(_import_module(f".{_HOME_OF[name]}", __name__), _RENAMED.get(name, name))
