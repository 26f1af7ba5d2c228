"""Audio: every sample type both ways, symmetric ranges, and errors in one line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from inrzip.errors import InrzipError, UnsupportedSignal
from inrzip.media import check_output, output_extension, read_signal, write_signal
from inrzip.signal import Kind, Signal, Spec

LIMITS = {
    "u1": (0, 255),
    "i1": (-128, 127),
    "i2": (-(2**15), 2**15 - 1),
    "i3": (-(2**23), 2**23 - 1),
    "i4": (-(2**31), 2**31 - 1),
}


def everything(signal: Signal) -> np.ndarray:
    return signal.read(0, signal.spec.shape[0])


def noise(kind: str, count: int = 1000, channels: int = 2) -> np.ndarray:
    random = np.random.default_rng(0)
    if kind in LIMITS:
        low, high = LIMITS[kind]
        samples = random.integers(low, high, (count, channels), endpoint=True)
        samples[:2, 0] = low, high
        return samples.astype("i4" if kind == "i3" else kind)
    return random.normal(size=(count, channels)).astype(kind)


def spec_of(samples: np.ndarray, kind: str, rate: int = 22050, **meta) -> Spec:
    return Spec(Kind.AUDIO, samples.shape[:1], samples.shape[1], kind, -1.0, 1.0, {"rate": (rate, 1), **meta})


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize(
    ("extension", "kind"),
    [(".wav", k) for k in ("u1", "i2", "i3", "i4", "f4", "f8")]
    + [(".flac", k) for k in ("i1", "i2", "i3")]
    + [(".aiff", "i1")],
)
def test_lossless_round_trip(tmp_path, extension, kind, channels):
    samples = noise(kind, channels=channels)
    path = tmp_path / f"a{extension}"
    write_signal(path, spec_of(samples, kind), [samples[:300], samples[300:]])
    signal = read_signal(path)
    np.testing.assert_array_equal(everything(signal), samples)
    assert signal.spec.sample_type == kind and signal.spec.meta["rate"] == (22050, 1) and signal.spec.kind == Kind.AUDIO
    assert output_extension(signal.spec) == extension
    # Coding may clip to [low, high], and rounding must not leave the type.
    np.testing.assert_array_equal(signal.spec.quantise(np.array([0.0, 1.0])) >= samples.min(), True)
    if kind in LIMITS:
        back = signal.spec.quantise(np.array([0.0, 0.5, 1.0])).astype(int)
        assert (
            back[0] == LIMITS[kind][0]
            and back[2] == LIMITS[kind][1]
            and abs(back[1] - (128 if kind == "u1" else 0)) <= 1
        )


def test_range_is_symmetric(tmp_path):
    samples = np.array([[0], [500], [-1200]], "i2")
    write_signal(tmp_path / "a.wav", spec_of(samples, "i2"), [samples])
    spec = read_signal(tmp_path / "a.wav").spec
    assert (spec.low, spec.high) == (-1200.0, 1200.0) and spec.meta["subtype"] == "PCM_16"
    assert spec.normalise(np.zeros(1, "i2"))[0] == 0.5


@pytest.mark.parametrize(("kind", "silence"), [("i2", 0), ("u1", 128), ("f4", 0)])
def test_silence(tmp_path, kind, silence):
    samples = np.full((100, 1), silence, kind)
    write_signal(tmp_path / "a.wav", spec_of(samples, kind), [samples])
    spec = read_signal(tmp_path / "a.wav").spec
    assert (spec.low, spec.high) == (silence - 1, silence + 1)
    np.testing.assert_array_equal(spec.quantise(spec.normalise(samples)), samples)


@pytest.mark.parametrize("extension", [".ogg", ".mp3", ".opus", ".m4a"])
def test_lossy_formats_become_16_bits(tmp_path, extension):
    t = np.arange(48000) / 48000
    samples = np.round(12000 * np.sin(2 * np.pi * 440 * t))[:, None].astype("i2")
    path = tmp_path / f"a{extension}"
    write_signal(path, spec_of(samples, "i2", 48000), [samples[:7], samples[7:]])
    signal = read_signal(path)
    assert signal.spec.sample_type == "i2" and signal.spec.meta["rate"] == (48000, 1)
    got = everything(signal)[:, 0].astype(float)
    assert abs(len(got) - 48000) < 3000 and 0.9 < got[2000:40000].std() / samples[2000:40000].std() < 1.1


def test_not_finite(tmp_path):
    samples = np.zeros((100, 2), "f4")
    samples[7, 1], samples[50, 0] = np.nan, np.inf
    soundfile.write(tmp_path / "a.wav", samples, 8000, "FLOAT")
    with pytest.raises(
        UnsupportedSignal, match=r"a\.wav: 2 samples are infinite or not a number, the first at index \(7, 1\)"
    ):
        read_signal(tmp_path / "a.wav")


def test_audio_without_samples_and_text(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1), "i2"), 8000)
    with pytest.raises(UnsupportedSignal, match="0 samples"):
        read_signal(tmp_path / "none.wav")
    for name in ("a.wav", "a.flac", "a.mp3", "a.m4a"):
        (tmp_path / name).write_text("no sound in here\n" * 30)
        with pytest.raises(UnsupportedSignal, match=name.replace(".", r"\.")):
            read_signal(tmp_path / name)


def test_a_cut_file_gives_what_is_there(tmp_path):
    samples = noise("i2", 40000, 1)
    for extension in (".wav", ".flac"):
        write_signal(tmp_path / f"a{extension}", spec_of(samples, "i2"), [samples])
        data = (tmp_path / f"a{extension}").read_bytes()
        (tmp_path / f"cut{extension}").write_bytes(data[: len(data) // 2])
        got = everything(read_signal(tmp_path / f"cut{extension}"))
        assert 10000 < len(got) <= 20200
        np.testing.assert_array_equal(got[:10000], samples[:10000])


def test_damage_never_escapes(tmp_path):
    samples = noise("i2", 5000, 1)
    random = np.random.default_rng(0)
    for extension in (".wav", ".flac", ".ogg", ".mp3", ".m4a"):
        write_signal(tmp_path / f"a{extension}", spec_of(samples, "i2"), [samples])
        data = (tmp_path / f"a{extension}").read_bytes()
        for trial in range(12):
            mutant = bytearray(data[: random.integers(1, len(data))] if trial % 2 else data)
            for position in random.integers(0, min(len(mutant), 200), trial % 4):
                mutant[position] = random.integers(256)
            (tmp_path / f"mutant{extension}").write_bytes(mutant)
            try:
                read_signal(tmp_path / f"mutant{extension}")
            except UnsupportedSignal as error:
                assert "mutant" in str(error) and "\n" not in str(error)


def test_a_header_that_claims_terabytes(tmp_path):
    """A FLAC header's sample count is not believed."""
    samples = noise("i2", 5000, 1)
    write_signal(tmp_path / "a.flac", spec_of(samples, "i2"), [samples])
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff\xff\xff\xff"
    (tmp_path / "a.flac").write_bytes(data)
    np.testing.assert_array_equal(everything(read_signal(tmp_path / "a.flac"))[:5000], samples)


def test_outputs_that_cannot_hold_it():
    many = spec_of(noise("f4", channels=3), "f4")
    for name, words in (("a.mp3", "3 channels"), ("a.flac", "type f4"), ("a.png", "cannot hold audio")):
        with pytest.raises(InrzipError, match=words):
            check_output(Path(name), many)
    with pytest.raises(InrzipError, match="samples a second"):
        check_output(Path("a.mp3"), spec_of(noise("i2"), "i2", 96000))
    check_output(Path("a.wav"), many)
    assert output_extension(spec_of(noise("f4"), "f4", format=".flac")) == ".wav"


def test_24_bit_in_another_container(tmp_path):
    """Integer codecs that FFmpeg reads keep their depth."""
    samples = noise("i3", 4000, 1)
    with av.open(str(tmp_path / "a.mka"), "w", format="matroska") as output:
        stream = output.add_stream("pcm_s24le", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples << 8).reshape(1, -1), format="s32", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 44100, Fraction(1, 44100), 0
        output.mux([*stream.encode(frame), *stream.encode(None)])
    signal = read_signal(tmp_path / "a.mka")
    assert signal.spec.sample_type == "i3"
    np.testing.assert_array_equal(everything(signal), samples)


def test_array_as_audio(tmp_path):
    np.save(tmp_path / "a.npy", np.linspace(-1, 1, 50, dtype="f4"))
    signal = read_signal(tmp_path / "a.npy", kind=Kind.AUDIO)
    assert signal.spec.shape == (50,) and signal.spec.channels == 1 and signal.spec.meta["rate"] == (44100, 1)
    np.save(tmp_path / "b.npy", np.zeros((5, 2), "u2"))
    with pytest.raises(UnsupportedSignal, match="type uint16"):
        read_signal(tmp_path / "b.npy", kind=Kind.AUDIO)
