"""What was asked of a server's source, and whether it was so."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Checks:
    """Each check has a sentence, a yes or no, and figures in words. A failed one does not end the course."""

    server: str
    version: str = ""
    made: list[dict[str, Any]] = field(default_factory=list)

    def that(self, sentence: str, true: object, figures: object = "") -> bool:
        self.made.append({"check": sentence, "ok": bool(true), "figures": str(figures)[:600]})
        print(f"{'   ok' if true else 'FAILED'} {self.server}: {sentence} {figures}"[:700], file=sys.stderr, flush=True)
        return bool(true)

    @property
    def failed(self) -> list[str]:
        return [made["check"] for made in self.made if not made["ok"]]
