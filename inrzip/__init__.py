"""inrzip: compress images, audio, video, 3-D shapes and volumes as small neural networks."""

from pathlib import Path as _Path

# In a checkout, architectures/, priors/ and codecs/ lie beside this folder; in a wheel they lie inside it.
_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "architectures").is_dir():
    __path__.append(str(_root))
