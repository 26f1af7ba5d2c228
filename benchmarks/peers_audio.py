"""Sound codecs: Opus, MP3 and AAC through PyAV; FLAC through libsndfile.

Lossy codecs delay the sound and some know other sample rates only: what comes out is resampled back, and moved by the
whole number of samples that correlates best with the original.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from inrzip.signal import Kind

from .items import Item
from .methods import CannotCode, Method, NotInstalled
from .versions import pyav_version

KILOBITS = (8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0)
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
OPUS_OUTPUT_RATE = 48000
MP3_RATES = (16000, 22050, 24000, 32000, 44100, 48000)
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
LARGEST_SHIFT_S = 0.15
FLAC_LEVEL = 1.0  # libsndfile's scale: FLAC's -8


@dataclasses.dataclass(frozen=True)
class Encoder:
    """What PyAV needs, the sample rates that the codec knows, and its kilobits a second for one channel's file."""

    library: str
    container: str
    sample_format: str
    rates: tuple[int, ...]
    options: tuple[tuple[str, str], ...]


OPUS = Encoder("libopus", "opus", "flt", OPUS_RATES, (("vbr", "on"), ("compression_level", "10")))
MP3 = Encoder("libmp3lame", "mp3", "fltp", MP3_RATES, (("compression_level", "0"),))
AAC = Encoder("aac", "adts", "fltp", AAC_RATES, (("aac_coder", "fast"), ("aac_pns", "0")))


def _floats(item: Item) -> Float[ndarray, "n c"]:
    """Samples from -1 to 1."""
    samples = item.samples.astype(np.float64)
    if item.samples.dtype.kind == "u":
        samples = samples - (item.spec.peak + 1) / 2
    return samples / (item.spec.peak / 2)


def _as_samples(sound: Float[ndarray, "n c"], item: Item) -> Shaped[ndarray, "n c"]:
    """The inverse of `_floats`, rounded to the item's sample type."""
    wide = sound * (item.spec.peak / 2)
    if item.samples.dtype.kind == "f":
        return wide.astype(item.samples.dtype)
    if item.samples.dtype.kind == "u":
        wide = wide + (item.spec.peak + 1) / 2
    half = (item.spec.peak + 1) / 2
    low = 0.0 if item.samples.dtype.kind == "u" else -half
    return np.clip(np.rint(wide), low, low + item.spec.peak).astype(item.samples.dtype)


def _resampled(sound: Float[ndarray, "n c"], rate: int, new_rate: int) -> Float[ndarray, "m c"]:
    from scipy.signal import resample_poly

    if rate == new_rate:
        return sound
    common = math.gcd(rate, new_rate)
    resampled: Float[ndarray, "m c"] = resample_poly(sound, new_rate // common, rate // common, axis=0)
    return resampled


def _encode(encoder: Encoder, item: Item, kilobits: float) -> bytes:
    import av

    av.logging.set_level(None)  # with any other level, threads that FFmpeg ends may wait for Python for ever
    channels, rate = item.spec.channels, round(item.rate)
    if channels not in (1, 2):
        raise CannotCode(f"{channels} channels: takes mono and stereo")
    codec_rate = min((r for r in encoder.rates if r >= rate), default=encoder.rates[-1])
    sound = _resampled(_floats(item), rate, codec_rate).astype(np.float32)
    layout = "mono" if channels == 1 else "stereo"
    planar = encoder.sample_format.endswith("p")
    array = np.ascontiguousarray(sound.T) if planar else sound.reshape(1, -1)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=encoder.container) as out:
        stream: Any = out.add_stream(encoder.library, rate=codec_rate, layout=layout, options=dict(encoder.options))
        stream.bit_rate, stream.format = int(1000 * kilobits), encoder.sample_format
        frame = av.AudioFrame.from_ndarray(array, encoder.sample_format, layout)
        frame.rate = codec_rate
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def _decode(encoder: Encoder, data: bytes, item: Item) -> Shaped[ndarray, "n c"]:
    import av

    channels = item.spec.channels
    with av.open(io.BytesIO(data), "r", format="ogg" if encoder is OPUS else None) as source:
        resampler = av.AudioResampler("fltp", "mono" if channels == 1 else "stereo")
        frames = [piece for frame in source.decode(audio=0) for piece in resampler.resample(frame)]
    sound = np.concatenate([frame.to_ndarray().T for frame in frames]).astype(np.float64)
    sound = _resampled(sound, frames[0].sample_rate, round(item.rate))
    return _as_samples(aligned(_floats(item), sound, round(item.rate * LARGEST_SHIFT_S)), item)


def aligned(
    original: Float[ndarray, "n c"], decoded: Float[ndarray, "m c"], largest_shift: int
) -> Float[ndarray, "n c"]:
    """`decoded` moved by up to `largest_shift` samples either way to correlate best, and cut or padded with silence."""
    from scipy.signal import correlate

    scores = correlate(decoded.mean(1), original.mean(1), mode="full", method="fft")
    lags = np.arange(len(scores)) - (len(original) - 1)
    near = np.abs(lags) <= largest_shift
    lag = int(lags[near][np.argmax(scores[near])])
    moved = decoded[lag:] if lag >= 0 else np.pad(decoded, ((-lag, 0), (0, 0)))
    return np.pad(moved[: len(original)], ((0, max(0, len(original) - len(moved))), (0, 0)))


def _flac_version() -> str:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise NotInstalled("soundfile") from error
    return f"soundfile {soundfile.__version__} ({soundfile.__libsndfile_version__})"


def _flac_encode(item: Item, _: float) -> bytes:
    import soundfile

    samples, sample_type = item.samples, item.spec.sample_type
    if sample_type not in ("i2", "i3"):
        raise CannotCode(f"{sample_type}: takes 16 and 24 bits")
    buffer = io.BytesIO()
    subtype = "PCM_16" if sample_type == "i2" else "PCM_24"
    data = samples if sample_type == "i2" else samples << 8  # soundfile takes 24 bits as the upper ones of 32
    soundfile.write(buffer, data, round(item.rate), format="FLAC", subtype=subtype, compression_level=FLAC_LEVEL)
    return buffer.getvalue()


def _flac_decode(data: bytes, item: Item) -> Shaped[ndarray, "n c"]:
    import soundfile

    wide = item.spec.sample_type == "i3"
    samples, _ = soundfile.read(io.BytesIO(data), dtype="int32" if wide else "int16", always_2d=True)
    return np.asarray(samples >> 8 if wide else samples)


def _method(name: str, settings: str, encoder: Encoder) -> Method:
    encode, decode = functools.partial(_encode, encoder), functools.partial(_decode, encoder)
    version = functools.partial(pyav_version, encoder.library)
    return Method(name, Kind.AUDIO, settings, KILOBITS, encode, decode, version)


METHODS = (
    _method("opus", "libopus, complexity 10, VBR, Ogg; quality points are kbit/s", OPUS),
    _method("mp3", "LAME, best search (compression level 0), .mp3; quality points are kbit/s", MP3),
    _method(
        "aac",
        "FFmpeg's AAC-LC, fast search and no noise substitution (its best PSNR), ADTS; quality points are kbit/s",
        AAC,
    ),
    Method(
        "flac",
        Kind.AUDIO,
        "libFLAC -8 through libsndfile",
        (100.0,),
        _flac_encode,
        _flac_decode,
        _flac_version,
        lossless=True,
    ),
)
