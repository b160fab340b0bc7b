"""A headless Chromium that reaches nothing but this machine, and what its pages say.

Chromium is Debian's (`apt-get install chromium`), driven by playwright; no browser is downloaded. Names other than
loopback's do not resolve in it, and every request of a page is written down.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Error, Page, sync_playwright

PACKAGE = "chromium"
WIDTH, HEIGHT = 1280, 900
SECONDS = 60.0
"""The patience for a page: far beyond what it takes."""
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)  # fmt: skip
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_LOCAL_SCHEMES = {"data", "blob", "about"}


class Missing(Exception):
    """A page lacks what it must have."""


def found() -> str | None:
    """The browser's program, None if there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def plain(text: str) -> str:
    """As a person reads it: runs of white space are one space, case does not matter."""
    return re.sub(r"\s+", " ", text).strip().lower()


def lacking(text: str, wanted: Sequence[str]) -> list[str]:
    """Those of `wanted` that are not in `text`, as a person reads both."""
    read = plain(text)
    return [each for each in wanted if plain(each) not in read]


def outside(addresses: Sequence[str]) -> list[str]:
    """Those that are not on this machine."""
    parts = [(each, urlsplit(each)) for each in addresses]
    return sorted({each for each, url in parts if url.scheme not in _LOCAL_SCHEMES and url.hostname not in _LOOPBACK})


class Browser:
    """One page, which goes from address to address."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        """Every address that a page asked for, sockets included."""
        page.context.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))

    def visit(self, address: str, *wanted: str) -> str:
        """Go there and wait until the page says all of `wanted`. Returns its text. Raises `Missing`."""
        self.page.goto(address, wait_until="domcontentloaded", timeout=SECONDS * 1000)
        return self.until(*wanted)

    def until(self, *wanted: str) -> str:
        """Wait until the page says all of `wanted`. Raises `Missing`."""
        text = self.text()
        for _ in self._patience():
            text = self.text()
            if text and not lacking(text, wanted):
                return text
        raise Missing(f"{self.page.url} does not say {lacking(text, wanted)}; it says: {plain(text)[:1500]}")

    def text(self) -> str:
        """What the page says, and what stands in its fields."""
        try:
            said: str = self.page.evaluate(
                "() => [document.body.innerText, ...[...document.querySelectorAll('input,textarea')]"
                ".map(field => field.value)].join('\\n')"
            )
        except Error:  # it is just going on to another address
            return ""
        return said

    def click(self, what: str) -> None:
        """Click on the first thing with exactly this text that can be seen. Raises `Missing`."""
        try:
            self.page.get_by_text(what, exact=True).locator("visible=true").first.click(timeout=SECONDS * 1000)
        except Error as error:
            raise Missing(f"{self.page.url} has no {what!r} to click on: {error.message.splitlines()[0]}") from None

    def show(self, what: str) -> None:
        """Bring the first thing with exactly this text into the middle of what can be seen. Raises `Missing`."""
        try:
            first = self.page.get_by_text(what, exact=True).first
            first.evaluate("element => element.scrollIntoView({block: 'center'})", timeout=SECONDS * 1000)
        except Error as error:
            raise Missing(f"{self.page.url} has no {what!r} to show: {error.message.splitlines()[0]}") from None

    def image(self) -> tuple[int, int]:
        """Width and height in pixels of the largest image in the page's content that has loaded. Raises `Missing`."""
        sizes: list[tuple[str, int, int]] = []
        for _ in self._patience():
            sizes = self.page.evaluate("() => [...document.images].map(i => [i.src, i.naturalWidth, i.naturalHeight])")
            shown = [(width, height) for _, width, height in sizes if width and height]
            if shown:
                return max(shown)
        raise Missing(f"{self.page.url} shows no image; it has {[(source[:60], *size) for source, *size in sizes]}")

    def picture(self, file: Path, settle: float = 1.0) -> int:
        """Write what can be seen as PNG of 256 colours; its bytes. `settle`: seconds for what moves to come to rest."""
        self.page.wait_for_timeout(settle * 1000)
        file.parent.mkdir(parents=True, exist_ok=True)
        taken = self.page.screenshot(animations="disabled", timeout=SECONDS * 1000)
        Image.open(BytesIO(taken)).convert("RGB").quantize(256).save(file, optimize=True)
        return file.stat().st_size

    def _patience(self) -> Iterator[None]:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            yield
            self.page.wait_for_timeout(250)


@contextmanager
def opened(program: str, height: int = HEIGHT) -> Iterator[Browser]:
    """A browser with a fresh profile; ends with the block."""
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=list(_FLAGS), timeout=SECONDS * 1000)
        try:
            view = {"width": WIDTH, "height": height}
            context = chromium.new_context(viewport=view, color_scheme="light", timezone_id="UTC", locale="en-GB")
            yield Browser(context.new_page())
        finally:
            chromium.close()
