"""How long a viewer keeps people waiting, in Chromium: `python -m benchmarks.viewer FILE.inrz...`.

For each file a process of `inrzip view` of its own is started, and a page of it is opened in a browser that runs
already. Printed are the least and the median of several rounds of

- the start: from the command to the page's address;
- the first picture: from asking for the page, a second after its address was printed (browsers take as long to start),
  to the first picture on its canvas;
- zoom (images): from a key to the next power of two on a canvas of 512x512, beginning at 2: until all that is seen was
  evaluated anew (where that takes long, first at a half or a quarter of the resolution), and until all tiles are there;
- frame (videos): from a jump to a frame that was not decoded yet to that frame on the canvas.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ROUNDS = 5
SIDE = 512
"""Of the canvas, in pixels."""
LARGEST = 64
"""Pixels for a sample where zooming ends."""
BROWSER_SECONDS = 1
"""What a browser takes to start, about, while the first look is decoded."""
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE = 120


@contextmanager
def viewing(path: str) -> Iterator[str]:
    """The address of a page of a file, once its first look had time to be decoded."""
    command = [sys.executable, "-m", "inrzip", "view", path, "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.terminate()


def wait(page: Any, expression: str) -> Any:
    """Looks again and again, in the page, so that what is measured does not wait for this process."""
    return page.evaluate(
        f"""() => new Promise((done, failed) => {{
          const begun = performance.now(), look = () => {{
            const value = {expression};
            if (value) done(value);
            else if (performance.now() - begun > {PATIENCE * 1000}) failed(new Error("nothing came"));
            else setTimeout(look, 4);
          }};
          look();
        }})"""
    )


FIRST = (
    "performance.getEntriesByName('first picture').length && performance.getEntriesByName('first picture')[0].startTime"
)
SETTLED = "window.stage?.view?.refining && stage.view.idle && !stage.view.drawing && performance.now()"


def fit_canvas(page: Any) -> None:
    """Makes the canvas SIDE by SIDE."""
    page.evaluate("document.getElementById('about').click()")
    for _ in range(2):
        box, size = page.locator("canvas").first.bounding_box(), page.viewport_size
        width, height = size["width"] + SIDE - box["width"], size["height"] + SIDE - box["height"]
        page.set_viewport_size({"width": round(width), "height": round(height)})
        page.wait_for_timeout(200)


def zooms(page: Any) -> list[tuple[float, float]]:
    """Milliseconds for each power of two, from a picture as large as its samples: to an answer, and to all of it."""
    fit_canvas(page)
    page.evaluate("stage.view.zoomAt(1 / stage.view.zoom())")
    wait(page, SETTLED)
    found = []
    while page.evaluate("stage.view.zoom()") < LARGEST - 1:
        begun = page.evaluate(
            "(() => { dispatchEvent(new KeyboardEvent('keydown', { key: '+' })); stage.view.idle = false;"
            " stage.view.answered = null; return performance.now(); })()"
        )
        end = wait(page, SETTLED)
        found.append((page.evaluate("stage.view.answered") - begun, end - begun))
    return found


def jumps(page: Any, n_frames: int) -> list[float]:
    """Milliseconds to frames all over a video."""
    found = []
    for i in range(ROUNDS):
        frame = (2 * i + 1) * n_frames // (2 * ROUNDS)
        begun = page.evaluate(f"(stage.transport.go(stage.transport.timeOf({frame})), performance.now())")
        found.append(wait(page, f"stage.shownFrame === {frame} && performance.now()") - begun)
    return found


def measure(browser: Any, path: str) -> list[tuple[str, list[float]]]:
    """Names of what was measured, and milliseconds."""
    starts, firsts, zoomed, jumped = list[float](), list[float](), list[tuple[float, float]](), list[float]()
    for i in range(ROUNDS):
        begun = time.perf_counter()
        with viewing(path) as address:
            starts.append(1000 * (time.perf_counter() - begun))
            time.sleep(BROWSER_SECONDS)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(address)
            firsts.append(wait(page, FIRST))
            kind = page.evaluate("stage.signal.kind")
            if kind == "image":
                zoomed += zooms(page)
            elif kind == "video" and i == 0:
                jumped += jumps(page, page.evaluate("stage.signal.shape[0]"))
            page.close()
    measured = [("start", starts), ("first picture", firsts), ("jump to a frame", jumped)]
    for i, name in enumerate(("zoom, answer", "zoom, all tiles")):
        measured.append((name, [pair[i] for pair in zoomed]))
    return [(name, found) for name, found in measured if found]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewer", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.inrz")
    options = parser.parse_args()
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        sys.exit("needs a browser: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    print("| file | what | least, ms | median, ms | most, ms |\n|---|---|---|---|---|")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        for file in options.files:
            for what, found in measure(browser, file):
                numbers = [min(found), statistics.median(found), max(found)]
                name = file.rpartition("/")[2]
                print(f"| {name} | {what} | {' | '.join(f'{number:.0f}' for number in numbers)} |", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
