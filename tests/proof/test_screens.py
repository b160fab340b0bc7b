"""What the proof in pictures decides by itself: what a page lacks, what left the machine, which pictures are shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.proof import browser, screens

ROOT = Path(__file__).parents[2]


def test_a_page_is_read_as_a_person_reads_it() -> None:
    """A table's cells are words beside each other, however they are laid out."""
    text = "State\tDocuments\nindexed\t  91\nfailed\t5"
    assert browser.lacking(text, ["indexed 91", "Failed 5"]) == []
    assert browser.lacking(text, ["indexed 9 ", "indexed 92"]) == ["indexed 92"]


@pytest.mark.parametrize(
    "address",
    ["https://api.example.org/collect", "wss://example.org/x", "http://10.0.0.1/", "http://127.0.0.1.example.org/"],
)
def test_what_leaves_the_machine_is_seen(address: str) -> None:
    """Everything but loopback, and what has no address at all, is elsewhere."""
    here = ["http://127.0.0.1:4200/api", "ws://localhost:4200/x", "data:image/png;base64,AA", "blob:http://127.0.0.1/1"]
    assert browser.outside(here) == []
    assert browser.outside([*here, address, address]) == [address]


def test_the_tour_shows_every_picture_that_is_taken() -> None:
    """docs/tour.md, the pictures in docs/pictures and the list of what is looked at are one and the same."""
    shown = re.findall(r"!\[[^\]]+\]\(pictures/([a-z-]+)\.png\)", (ROOT / "docs" / "tour.md").read_text())
    assert shown == [shot.name for shot in screens.SHOTS]
    there = {file.stem: file.stat().st_size for file in (ROOT / "docs" / "pictures").glob("*.png")}
    assert there.keys() == set(shown)
    assert max(there.values()) <= screens.MOST_BYTES


def test_without_a_browser_nothing_fails_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has no Chromium is told the package, and the rest of the proof goes on."""
    monkeypatch.setattr(browser, "found", lambda: None)
    monkeypatch.setattr("sys.argv", ["screens"])
    assert screens.main() == 0
    assert capsys.readouterr().out == "skipped: no Chromium is installed: apt-get install chromium\n"
