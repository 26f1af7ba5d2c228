"""Video: exact frame counts, times and colours both ways, random access equal to reading on, and sound in step."""

from __future__ import annotations

import dataclasses
import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from inrzip.errors import InrzipError, UnsupportedSignal
from inrzip.media import check_output, copy_sound, holds_sound, output_extension, read_signal, read_sound, write_signal
from inrzip.media.timing import find_timing
from inrzip.signal import Kind, Signal, Spec

RATE = (30000, 1001)


def film(count: int = 12, height: int = 48, width: int = 64, kind: str = "u1", channels: int = 3) -> np.ndarray:
    """Smooth moving colours, as cameras see them."""
    t, y, x = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    waves = [np.sin(x / 9 + t / 5 + c) + np.cos(y / 11 - t / 7 + 2 * c) for c in range(channels)]
    unit = (np.stack(waves, -1) + 2) / 4
    return np.round((0.1 + 0.8 * unit) * np.iinfo(kind).max).astype(kind)


def spec_of(frames: np.ndarray, **meta) -> Spec:
    kind = f"u{frames.dtype.itemsize}"
    return Spec(
        Kind.VIDEO, frames.shape[:3], frames.shape[3], kind, 0.0, float(np.iinfo(kind).max), {"rate": RATE, **meta}
    )


def everything(signal: Signal) -> np.ndarray:
    return signal.read(0, signal.spec.shape[0])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    peak = float(np.iinfo(a.dtype).max)
    return 10 * np.log10(peak**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-12))


def write(path: Path, frames: np.ndarray, **meta) -> Spec:
    spec = spec_of(frames, **meta)
    write_signal(path, spec, (frames[k : k + 5] for k in range(0, len(frames), 5)))
    return spec


@pytest.mark.parametrize("size", [(48, 64), (47, 64), (33, 51), (2, 2), (1, 1)])
@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".mov", ".webm", ".y4m"])
def test_round_trip(tmp_path, size, extension):
    frames = film(12, *size)
    write(tmp_path / f"a{extension}", frames)
    signal = read_signal(tmp_path / f"a{extension}")
    assert signal.spec.shape == frames.shape[:3] and signal.spec.meta["rate"] == RATE
    assert signal.spec.sample_type == "u1" and (signal.spec.low, signal.spec.high) == (0.0, 255.0)
    assert "times" not in signal.spec.meta
    assert psnr(everything(signal), frames) > (45 if extension == ".y4m" else 35)


@pytest.mark.parametrize("height", [48, 720])
def test_colours_do_not_shift(tmp_path, height):
    """Flat saturated colours come back within coding noise, by either matrix, and the matrix is stated."""
    colours = np.array([[200, 30, 40], [20, 180, 60], [40, 60, 210], [128, 128, 128]], "u1")
    frames = np.repeat(np.repeat(colours[None, None], height, 1), 16, 2)
    write(tmp_path / "a.mp4", frames)
    got = everything(read_signal(tmp_path / "a.mp4"))[0]
    for k in range(4):
        np.testing.assert_allclose(got[height // 2, 16 * k + 8], colours[k], atol=3)
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.video[0].codec_context.colorspace == (1 if height >= 720 else 6)


@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".y4m"])
def test_grey(tmp_path, extension):
    frames = film(channels=1)
    write(tmp_path / f"a{extension}", frames)
    got = everything(read_signal(tmp_path / f"a{extension}"))
    if extension == ".y4m":
        np.testing.assert_array_equal(got, frames)
    else:
        assert psnr(got, frames) > 35


@pytest.mark.parametrize(("extension", "least"), [(".mp4", 40), (".mkv", 40), (".y4m", 75)])
def test_16_bits(tmp_path, extension, least):
    frames = film(kind="u2")
    write(tmp_path / f"a{extension}", frames)
    signal = read_signal(tmp_path / f"a{extension}")
    assert signal.spec.sample_type == "u2" and signal.spec.high == 65535.0
    assert signal.spec.meta.get("depth") == (None if extension == ".y4m" else 10)
    assert psnr(everything(signal), frames) > least
    with pytest.raises(InrzipError, match=r"16-bit samples; use \.mkv"):
        check_output(Path("a.webm"), signal.spec)


@pytest.mark.parametrize(("extension", "tolerance"), [(".mp4", 0), (".mkv", 90), (".webm", 90), (".gif", 900)])
def test_variable_frame_times(tmp_path, extension, tolerance):
    times = (0, 3000, 9000, 12000, 30000, 33000, 36000, 48000, 90000, 93000, 99000, 120000)
    write(tmp_path / f"a{extension}", film(), times=times)
    got = read_signal(tmp_path / f"a{extension}").spec.meta["times"]
    np.testing.assert_allclose(got, times, atol=tolerance)


def test_still_frames_are_not_dropped(tmp_path):
    frames = np.repeat(film(1), 9, 0)
    for extension in (".mp4", ".webm", ".gif", ".y4m"):
        write(tmp_path / f"a{extension}", frames)
        assert read_signal(tmp_path / f"a{extension}").spec.shape[0] == 9


def test_gif_and_single_gif(tmp_path):
    frames = film(5)
    write(tmp_path / "a.gif", frames)
    signal = read_signal(tmp_path / "a.gif")
    assert signal.spec.kind == Kind.VIDEO and psnr(everything(signal), frames) > 30
    assert read_signal(tmp_path / "a.gif", kind=Kind.IMAGE).spec.shape == (48, 64)
    write(tmp_path / "one.gif", frames[:1])
    assert read_signal(tmp_path / "one.gif").spec.kind == Kind.IMAGE


def test_pixel_aspect(tmp_path):
    write(tmp_path / "a.mp4", film(), aspect=(128, 117))
    assert read_signal(tmp_path / "a.mp4").spec.meta["aspect"] == (128, 117)


def test_random_access_equals_reading_on(tmp_path):
    """Over several groups of frames, seeking back and far ahead gives the very frames that a single pass gives."""
    frames = film(400, 16, 16)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"g": "30", "bf": "3", "x264-params": "open-gop=1"})
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode(None))
    signal, whole = read_signal(path), everything(read_signal(path))
    assert len(whole) == 400
    for start in (390, 5, 0, 200, 199, 61, 59, 60, 398, 350, 300):
        np.testing.assert_array_equal(signal.read(start, start + 3), whole[start : start + 3])
    assert signal.read(400, 410).shape == (0, 16, 16, 3)


def test_rotation_is_applied(tmp_path):
    frames = film(3)
    write(tmp_path / "a.mp4", frames)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = struct.pack(
        ">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30
    )  # a quarter turn clockwise
    (tmp_path / "turned.mp4").write_bytes(data)
    signal = read_signal(tmp_path / "turned.mp4")
    assert signal.spec.shape == (3, 64, 48)
    expected = np.rot90(everything(read_signal(tmp_path / "a.mp4")), -1, (1, 2))
    np.testing.assert_array_equal(everything(signal), expected)


def test_frame_folder(tmp_path):
    frames = film(12, kind="u2")
    folder = tmp_path / "frames"
    write(folder, frames)
    (folder / "000001.png").rename(folder / "1b.png")
    signal = read_signal(folder)
    assert signal.spec.kind == Kind.VIDEO and signal.spec.meta["rate"] == (25, 1) and signal.spec.sample_type == "u2"
    np.testing.assert_array_equal(everything(signal), frames[[0, 1, *range(2, 12)]])
    assert signal.source_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert output_extension(signal.spec) == ".mp4"
    assert read_signal(folder, kind=Kind.VOLUME).spec.shape == (12, 48, 64)
    write_signal(folder / "9.png", Spec(Kind.IMAGE, (4, 4), 3, "u2", 0.0, 1.0), [np.zeros((4, 4, 3), "u2")])
    with pytest.raises(UnsupportedSignal, match=r"9\.png: is 4x4, but"):
        read_signal(folder)


def test_natural_order(tmp_path):
    for number in (10, 9, 1, 100):
        pixels = np.full((2, 2, 1), number, "u1")
        write_signal(tmp_path / f"f{number}.png", Spec(Kind.IMAGE, (2, 2), 1, "u1", 0.0, 255.0), [pixels])
    assert everything(read_signal(tmp_path))[:, 0, 0, 0].tolist() == [1, 9, 10, 100]


def test_frame_times_and_rates():
    ms = Fraction(1, 1000)
    ntsc = Fraction(30000, 1001)
    assert find_timing([0, 33, 67, 100, 133], ms, [ntsc]).ticks is None
    assert find_timing([0, 33, 67, 150, 183], ms, [ntsc]).ticks == (0, 2970, 6030, 13500, 16470)
    assert find_timing([None, None], ms, [None, ntsc]).rate == ntsc
    assert find_timing([5], ms, []).rate == 25
    assert find_timing([0, 0, 0], ms, []).ticks is None
    assert find_timing([0, 40, 80], ms, [Fraction(90000)]).rate == 25


def tone(seconds: float, rate: int = 48000, channels: int = 2) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    sweep = np.sin(2 * np.pi * (200 + 400 * t) * t) * np.hanning(len(t))
    return np.round(np.stack([sweep * (20000 - 3000 * c) for c in range(channels)], -1)).astype("i2")


def sound_spec(samples: np.ndarray, rate: int = 48000) -> Spec:
    return Spec(Kind.AUDIO, samples.shape[:1], samples.shape[1], "i2", -32768.0, 32767.0, {"rate": (rate, 1)})


def lag(a: np.ndarray, b: np.ndarray) -> int:
    """By how many samples b is later than a."""
    n = len(a) + len(b)
    cross = np.fft.irfft(np.fft.rfft(a[:, 0].astype(float), n).conj() * np.fft.rfft(b[:, 0].astype(float), n))
    best = int(np.argmax(cross))
    return best if best < n // 2 else best - n


def packets(path) -> list[bytes]:
    with av.open(path) as file:
        return [bytes(packet) for packet in file.demux(audio=0) if packet.size]


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv", ".webm"])
def test_decoded_sound_is_in_step(tmp_path, extension):
    frames, sound = film(30, 16, 16), tone(1.0)
    path = tmp_path / f"a{extension}"
    write_signal(path, spec_of(frames), [frames], decoded_sound=(sound_spec(sound), sound))
    got = read_sound(path)
    assert got.spec.channels == 2 and got.spec.meta["rate"] == (48000, 1) and got.spec.kind == Kind.AUDIO
    assert abs(lag(sound, got.samples)) <= 48 and read_signal(path).spec.shape == (30, 16, 16)
    if extension == ".mkv":
        np.testing.assert_array_equal(got.samples, sound)


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("shift", [0.0, 0.35, -0.2])
def test_copied_sound_keeps_packets_and_sync(tmp_path, extension, shift):
    """Also where the sound starts later or earlier than the picture."""
    frames, sound = film(30, 16, 16), tone(1.0)
    source = tmp_path / "source.mkv"
    shifted_video(source, frames, sound, shift)
    track = copy_sound(source)
    size = sum(map(len, packets(str(source))))
    assert (
        packets(io.BytesIO(track)) == packets(str(source)) and len(track) < size + 10 * len(packets(str(source))) + 600
    )
    path = tmp_path / f"a{extension}"
    write_signal(path, spec_of(frames), [frames[:11], frames[11:]], copied_sound=track)
    assert packets(str(path)) == packets(str(source))
    assert read_signal(path).spec.shape == (30, 16, 16)
    before, after = read_sound(source).samples, read_sound(path).samples
    assert abs(lag(before, after)) <= 100
    assert abs(lag(sound, before) - round(shift * 48000)) <= 100


def shifted_video(path: Path, frames: np.ndarray, sound: np.ndarray, shift: float) -> None:
    """A file whose sound starts `shift` seconds after its picture."""
    late = max(0.0, -shift)
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=Fraction(*RATE), options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 16, 16, "yuv420p"
        audio = output.add_stream("ac3", rate=48000, layout="stereo")
        for k, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.time_base = Fraction(1, 1000)
            picture.pts = round(1000 * (float(k / Fraction(*RATE)) + late))
            output.mux(video.encode(picture))
        piece = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="s16", layout="stereo")
        piece.sample_rate, piece.time_base, piece.pts = 48000, Fraction(1, 48000), round(max(0.0, shift) * 48000)
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48000)
        for ready in resampler.resample(piece):
            output.mux(audio.encode(ready))
        output.mux([*video.encode(None), *audio.encode(None)])


def test_copied_sound_is_transcoded_where_the_container_refuses_it(tmp_path):
    frames, sound = film(30, 16, 16), tone(1.0)
    shifted_video(tmp_path / "source.mkv", frames, sound, 0.0)
    write_signal(tmp_path / "a.webm", spec_of(frames), [frames], copied_sound=copy_sound(tmp_path / "source.mkv"))
    assert abs(lag(sound, read_sound(tmp_path / "a.webm").samples)) <= 100
    write_signal(tmp_path / "a.y4m", spec_of(frames), [frames], copied_sound=copy_sound(tmp_path / "source.mkv"))
    assert holds_sound(Path("a.webm")) and not holds_sound(Path("a.y4m"))


def test_silent_video_has_no_sound(tmp_path):
    write(tmp_path / "a.mp4", film(3))
    assert copy_sound(tmp_path / "a.mp4") is None and read_sound(tmp_path / "a.mp4") is None
    with pytest.raises(UnsupportedSignal, match="no sound"):
        read_signal(tmp_path / "a.mp4", kind=Kind.AUDIO)


def test_damage_never_escapes(tmp_path):
    write(tmp_path / "a.mkv", film(20))
    whole = (tmp_path / "a.mkv").read_bytes()
    random = np.random.default_rng(0)
    read = 0
    for trial in range(16):
        mutant = bytearray(whole[: len(whole) * (trial + 1) // 18] if trial % 2 else whole)
        for position in random.integers(0, len(mutant), 3):
            mutant[position] = random.integers(256)
        (tmp_path / "mutant.mkv").write_bytes(mutant)
        try:
            signal = read_signal(tmp_path / "mutant.mkv")
            assert len(everything(signal)) == signal.spec.shape[0]
            read += 1
        except UnsupportedSignal as error:
            assert "mutant.mkv" in str(error) and "\n" not in str(error)
    assert read > 0


def test_what_is_no_video(tmp_path):
    (tmp_path / "a.mp4").write_text("not a video\n" * 20)
    (tmp_path / "list.mkv").write_text("#EXTM3U\n#EXTINF:1,\nother.ts\n")
    (tmp_path / "raw.yuv").write_bytes(bytes(1000))
    (tmp_path / "head.y4m").write_bytes(b"YUV4MPEG2 W8 H8 F25:1 Ip A1:1 C420\n")
    for name, words in (
        ("a.mp4", "is no image"),
        ("list.mkv", "is no image"),
        ("raw.yuv", r"\.y4m"),
        ("head.y4m", "no frame"),
    ):
        with pytest.raises(UnsupportedSignal, match=words):
            read_signal(tmp_path / name)


def test_odd_file_names(tmp_path):
    path = tmp_path / "http: 50%d é#?.mp4"
    frames = film(4)
    write(path, frames)
    assert read_signal(path).spec.shape == frames.shape[:3]


def test_outputs(tmp_path):
    spec = spec_of(film(1))
    assert output_extension(dataclasses.replace(spec, meta={"format": ".avi"})) == ".mp4"
    assert output_extension(dataclasses.replace(spec, meta={"format": ".webm"})) == ".webm"
    assert output_extension(dataclasses.replace(spec, channels=4)) == ".npy"
    with pytest.raises(InrzipError, match="cannot hold a video"):
        check_output(Path("a.png"), spec)
    frames = film(3)
    write(tmp_path / "a.npy", frames)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), frames)
    again = read_signal(tmp_path / "a.npy", kind=Kind.VIDEO)
    np.testing.assert_array_equal(everything(again), frames)
