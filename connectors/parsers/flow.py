"""Builds text out of a tree of blocks: line breaks between blocks, one space where the source had white space."""

from __future__ import annotations

from penstock.connectors.parsers.parsed import tidy


class Flow:
    """Text being written. A break is owed, not written, until text follows: no leading or trailing breaks."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._ended = 0
        self._breaks = 0
        self._space = ""

    def block(self, breaks: int = 1) -> None:
        """What follows stands at least `breaks` line ends further down."""
        self._breaks = max(self._breaks, breaks)
        self._space = ""

    def gap(self, space: str) -> None:
        """What follows in the same block is set off by `space`."""
        if not self._breaks:
            self._space = space

    def cell(self) -> None:
        """What follows in the same row of a table is set off by a tab, even if this cell ended its line."""
        self._breaks, self._space = 0, "\t"

    def words(self, text: str) -> None:
        """Text in which any run of white space counts as one space."""
        parts = tidy(text).split()
        if not parts:
            if text:
                self.gap(self._space or " ")
            return
        if text[0].isspace():
            self.gap(self._space or " ")
        self.verbatim(" ".join(parts))
        if text[-1].isspace():
            self.gap(" ")

    def verbatim(self, text: str) -> None:
        """Text kept as it stands."""
        text = tidy(text)
        if not text:
            return
        self.settle()
        self._write(text)

    def settle(self) -> int:
        """Writes what is owed, and says at which character the next text begins."""
        if self._length:
            owed = self._breaks - self._ended
            self._write("\n" * owed if self._breaks else self._space)
        self._breaks, self._space = 0, ""
        return self._length

    def text(self) -> str:
        return "".join(self._pieces)

    def _write(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            self._length += len(text)
            self._ended = len(text) - len(text.rstrip("\n"))
