"""Versions of libraries that more than one file of peers needs."""

from __future__ import annotations

from .methods import NotInstalled


def pyav_version(encoder: str) -> str:
    """PyAV's version and that of its FFmpeg. Raises NotInstalled if either lacks the encoder."""
    try:
        import av
    except ImportError as error:
        raise NotInstalled("PyAV") from error
    if encoder not in av.codec.codecs_available:
        raise NotInstalled(f"PyAV with {encoder}")
    return f"PyAV {av.__version__} (libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))})"


def imagecodecs_version(codec: str) -> str:
    """imagecodecs' version and that of the codec's library. Raises NotInstalled if either is missing."""
    try:
        import imagecodecs
    except ImportError as error:
        raise NotInstalled("imagecodecs") from error
    if not getattr(imagecodecs, codec.upper()).available:
        raise NotInstalled(f"imagecodecs with {codec.upper()}")
    return f"imagecodecs {imagecodecs.__version__} ({getattr(imagecodecs, codec + '_version')()})"
