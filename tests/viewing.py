"""What tests of the viewer have in common: a server in this process, and a browser if there is one."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import UInt8
from numpy import ndarray

GOLDEN = Path(__file__).parent / "golden" / "v1"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
"""As root in a container, and WebGL2 without a GPU."""
PATIENCE = 60


@contextlib.contextmanager
def served(paths: Sequence[Path], member: str | None = None, against: Path | None = None) -> Iterator[tuple[str, Any]]:
    """The address of the page of these files, and what it shows."""
    pytest.importorskip("uvicorn", reason="needs the extra `view`: pip install 'inrzip[view]'")
    from inrzip.viewer.server import listen, make_server
    from inrzip.viewer.signals import open_files

    signals = open_files(paths, member, against)
    with listen(0) as listening:
        server, address = make_server(signals, listening)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield address, signals
        finally:
            server.should_exit = True
            thread.join()


def find_browser() -> str:
    """The path of an installed Chromium; skips where there is none."""
    pytest.importorskip("playwright", reason="needs playwright: pip install playwright")
    for name in BROWSERS:
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("needs a browser: apt-get install chromium")


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    path = find_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


@contextlib.contextmanager
def page_at(chromium: Any, address: str, width: int = 900, height: int = 700) -> Iterator[Any]:
    """A page in a browser, which must not have had an error of its own when it is closed."""
    page = chromium.new_page(viewport={"width": width, "height": height})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        page.goto(address)
        yield page
    finally:
        page.close()
    assert not errors


def wait(page: Any, expression: str, seconds: float = PATIENCE) -> Any:
    """Waits until an expression is true in the page, which allows no `eval`; returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = page.evaluate(f"(() => {{ try {{ return {expression}; }} catch {{ return null; }} }})()")
        if value:
            return value
        assert time.monotonic() < end, f"{expression} is still {value}; the page says: {page.inner_text('body')[:500]}"
        page.wait_for_timeout(20)


def settled(page: Any) -> None:
    """Waits until all that is seen is there."""
    page.wait_for_timeout(60)
    wait(page, "window.stage && stage.view.refining && stage.view.idle && !stage.view.drawing")
    page.wait_for_timeout(40)


def seen(page: Any, view: str = "stage.view") -> UInt8[ndarray, "rows columns rgba"]:
    """The pixels of a picture as they are on the page's canvas, those of it that are seen."""
    found = page.evaluate(
        f"""() => {{
          const at = {view}, [top, left] = at.origin(at.panes[0]), zoom = at.zoom();
          const y = Math.max(top, 0), x = Math.max(left, 0);
          const h = Math.min(Math.round(top + at.rows * zoom), at.canvas.height) - y;
          const w = Math.min(Math.round(left + at.columns * zoom), at.canvas.width) - x;
          return {{h, w, data: [...at.context.getImageData(x, y, w, h).data]}};
        }}"""
    )
    return np.array(found["data"], np.uint8).reshape(found["h"], found["w"], 4)


def zoom_to(page: Any, zoom: float) -> None:
    """Pixels for a sample."""
    page.evaluate(f"stage.view.zoomAt({zoom} / stage.view.zoom())")
    settled(page)
