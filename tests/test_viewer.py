"""`inrzip view` without a browser: what the server answers, and whom."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

import inrzip
from inrzip.cli import main
from inrzip.errors import InrzipError
from tests.viewing import GOLDEN, served

PICTURE = GOLDEN / "image_siren.inrz"


def ask(address: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def array(address: str, dtype: str = "u1") -> np.ndarray:
    status, body, headers = ask(address)
    assert status == 200, body
    return np.frombuffer(body, dtype).reshape([int(n) for n in headers["x-shape"].split(",")])


def original_of(path: Path, folder: Path, by: int = 0) -> Path:
    """The decoded picture as a file, some of its samples changed."""
    with inrzip.open(path) as reader:
        samples = reader.render()
    samples[2:5, 3:7] ^= by
    target = folder / f"{path.stem}.png"
    iio.imwrite(target, samples)
    return target


def test_planes_are_what_the_reader_decodes(tmp_path: Path) -> None:
    with served([PICTURE]) as (address, signals):
        reader = signals[0].reader
        for region, scale in (((3, 11), (0, 9)), 4.0), (((0, 21), (0, 17)), 0.4), (((20, 21), (16, 17)), 30):
            bounds = ",".join(f"{a}:{b}" for a, b in region)
            found = array(f"{address}api/0/plane?bounds={bounds}&scale={scale}")
            np.testing.assert_array_equal(found, reader.render(region, scale=scale))


@pytest.mark.parametrize(("changed", "expected"), [("0:21,0:17", 0), ("2:5,3:7", 4 * 8)])
def test_error_maps(tmp_path: Path, changed: str, expected: int) -> None:
    """In quarters of a level: 8 levels where samples were changed, and none elsewhere."""
    original = original_of(PICTURE, tmp_path, 8)
    with served([PICTURE], against=original) as (address, _):
        found = array(f"{address}api/0/plane?source=error&bounds={changed}")
        if expected:
            assert (found == expected).all()
        assert np.count_nonzero(found) == 12
        assert array(f"{address}api/0/plane?source=error&bounds={changed}&scale=3").shape == (*found.shape[:2], 1)
        whole = array(f"{address}api/0/plane?source=original&bounds=0:21,0:17")
        np.testing.assert_array_equal(whole, iio.imread(original))
        twice = array(f"{address}api/0/plane?source=original&bounds=0:21,0:17&scale=2")
        np.testing.assert_array_equal(twice, iio.imread(original).repeat(2, 0).repeat(2, 1))
        quality = json.loads(ask(f"{address}api/0/quality")[1])
        assert quality["psnr_db"] == pytest.approx(10 * np.log10(255**2 / (12 * 64 / (21 * 17))), abs=1e-3)


def test_an_original_beside_the_file_is_found(tmp_path: Path) -> None:
    copy = tmp_path / PICTURE.name
    copy.write_bytes(PICTURE.read_bytes())
    original_of(PICTURE, tmp_path)
    with served([copy]) as (address, _):
        assert json.loads(ask(f"{address}api/signals")[1])[0]["original"] == "image_siren.png"
    iio.imwrite(tmp_path / "image_siren.png", np.zeros((4, 4, 3), np.uint8))
    with served([copy]) as (address, _):
        told = json.loads(ask(f"{address}api/signals")[1])[0]
        assert told["original"] is None and "not the original" in told["note"]


def test_strangers_are_kept_out() -> None:
    with served([PICTURE]) as (address, _):
        port = urllib.parse.urlsplit(address).port
        assert ask(address)[0] == 200
        assert ask(address, Host="evil.example")[0] == 403
        assert ask(address, Host=f"evil.example:{port}")[0] == 403
        assert ask(address, Host=f"localhost:{port}")[0] == 200
        assert ask(f"http://127.0.0.1:{port}/")[0] == 404
        assert ask(f"http://127.0.0.1:{port}/guessed/api/signals")[0] == 404
        for name in ("../server.py", "%2e%2e%2fserver.py", "..%5cserver.py", "%2fetc%2fpasswd", ""):
            assert ask(f"{address}static/{name}")[0] == 404
        headers = ask(address)[2]
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("plane?bounds=0:21,0:17&scale=0", "positive"),
        ("plane?bounds=0:21,0:17&scale=nan", "positive"),
        ("plane?bounds=0:21,0:17&scale=1e9", "more than a page shows"),
        ("plane?bounds=0:22,0:17", "outside"),
        ("plane?bounds=a", "ranges"),
        ("plane?bounds=0:21", "axes"),
        ("plane?bounds=0:21,0:17&source=error", "no original"),
        ("plane?bounds=0:21,0:17&source=x", "source"),
        ("waves?start=0&stop=5", "outside"),
        ("surface", "no mesh"),
        ("block?step=1", "volume"),
        ("quality", "no original"),
    ],
)
def test_questions_without_sense(question: str, text: str) -> None:
    with served([PICTURE]) as (address, _):
        status, body, _ = ask(f"{address}api/0/{question}")
        assert status == 422 and text in json.loads(body)["error"], body
        assert ask(f"{address}api/1/plane")[0] == 404
        assert ask(f"{address}api/0/nothing")[0] == 404


def test_other_kinds() -> None:
    paths = [
        GOLDEN / f"{name}.inrz"
        for name in ("audio_siren", "shape_siren", "volume_4d_siren", "video_hnerv_copied_sound")
    ]
    with served(paths) as (address, signals):
        sound, shape, volume, video = (viewed.reader for viewed in signals)
        n = sound.spec.shape[0]
        waves = array(f"{address}api/0/waves?start=5&stop={n}&scale=2", "<f4")
        full = (sound.spec.peak + 1) / 2
        np.testing.assert_allclose(waves * full, sound.render([(5, n)], scale=2), atol=1)
        body = ask(f"{address}api/1/surface?scale=0.5")[1]
        mesh = shape.mesh(scale=0.5)
        assert np.frombuffer(body, "<u4", 2).tolist() == [len(mesh.vertices), len(mesh.faces)]
        np.testing.assert_array_equal(np.frombuffer(body, "<u4")[-3 * len(mesh.faces) :].reshape(-1, 3), mesh.faces)
        block = array(f"{address}api/2/block?step=2&index=1")
        coarse = np.asarray(volume[1, 1::2, 1::2, 1::2]).astype(float)
        coarse = coarse if coarse.ndim == 3 else coarse[..., 0]
        levels = np.clip((coarse - volume.spec.low) / (volume.spec.high - volume.spec.low) * 255, 0, 255)
        assert block.shape == coarse.shape and np.abs(block - levels).max() <= 0.5
        frame = array(f"{address}api/3/plane?bounds=1:2,0:{video.spec.shape[1]},0:{video.spec.shape[2]}")
        np.testing.assert_array_equal(frame, video.render(frames=(1, 2))[0])
        length, channels, rate = [int(v) for v in ask(f"{address}api/3/sound")[2]["x-shape"].split(",")]
        assert array(f"{address}api/3/waves?start=0&stop={length}", "<f4").shape == (length, channels) and rate > 0


def test_members_and_broken_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.inrz"
    broken.write_bytes(PICTURE.read_bytes()[:-9])
    with served([PICTURE, broken]) as (address, _):
        told = json.loads(ask(f"{address}api/signals")[1])
        assert [bool(signal["error"]) for signal in told] == [False, True]
    assert main(["view", str(broken), "--no-browser"]) == 1
    assert "broken.inrz" in capsys.readouterr().err
    assert main(["view", str(tmp_path / "none.inrz"), "--no-browser"]) == 1
    assert main(["view"]) == 2


def test_export_says_what_it_cannot(tmp_path: Path) -> None:
    from inrzip.viewer.export import export_page

    for name, text in (("audio_siren", "images alone"), ("image_hash", "hash"), ("video_motion", "images alone")):
        with pytest.raises(InrzipError, match=text):
            export_page(GOLDEN / f"{name}.inrz", tmp_path / "page.html")
    assert not list(tmp_path.iterdir())
    found = export_page(PICTURE, tmp_path / "page.html")
    assert found.bytes == (tmp_path / "page.html").stat().st_size
    with pytest.raises(InrzipError, match="exists"):
        export_page(PICTURE, tmp_path / "page.html")


def test_the_page_escapes_names() -> None:
    from inrzip.viewer.export import page_text

    page = page_text("<script>alert(1)</script>.inrz", b"</script>", {"shape": [2, 2]}, 1)
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
