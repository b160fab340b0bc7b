"""The configuration of a run against the rough source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.rough.credentials import CLIENT

SECRET = "PENSTOCK_ROUGH_SECRET"

PAGING = {
    "page": 'total = "total"\npaging = {kind = "page", page = "page", limit = "per_page", size = SIZE}',
    "offset": 'total = "total_count"\npaging = {kind = "offset", offset = "offset", limit = "limit", size = SIZE}',
    "cursor": 'paging = {kind = "cursor", cursor = "after", next = "paging.next.after", limit = "limit", size = SIZE}',
    "next": 'paging = {kind = "next", next = "next", limit = "limit", size = SIZE}',
    "link": 'paging = {kind = "link", limit = "per_page", size = SIZE}',
}


@dataclass(slots=True)
class Setting:
    """What `[sources.desk]` says. Deadlines are short: the source is near, and stalls on purpose."""

    style: str = "offset"
    auth: str = "none"
    page_size: int = 20
    rate: float | None = None
    concurrency: int = 4
    patience: float = 20.0
    read_seconds: float = 1.0
    attempts: int = 6
    retry_seconds: float = 30.0
    full: bool = False
    feed: bool = False

    def write(self, path: Path, url: str) -> Path:
        """The file `path`, for the source at `url`. Returns `path`."""
        path.write_text(self.text(url))
        return path

    def text(self, url: str) -> str:
        rate = "" if self.rate is None else f"requests_per_second = {self.rate}, "
        collection = [
            'name = "items"',
            f'list = "/api/{self.style}/items"',
            'items = ""' if self.style == "link" else 'items = "items"',
            PAGING[self.style].replace("SIZE", str(self.page_size)),
            'updated = "updated_at"',
            'params = {full = "1"}' if self.full else 'detail = "/api/items/{id}"',
            'changes = {param = "updated_since"}' if self.feed else "",
            'title = "{title}"',
            'body = "{body}"',
            'attachments = {items = "attachments", url = "{url}", name = "name", size = "size", version = "sha256"}',
        ]
        return "\n".join(
            [
                "[sources.desk]",
                'type = "rest"',
                f"url = {json.dumps(url)}",
                self._auth(url),
                f"budget = {{{rate}concurrency = {self.concurrency}, patience = {self.patience}}}",
                f'network = {{allow = ["127.0.0.1/32"], connect_seconds = 2, read_seconds = {self.read_seconds}, '
                f"total_seconds = 5, attempts = {self.attempts}, retry_seconds = {self.retry_seconds}}}",
                "[[sources.desk.collections]]",
                *collection,
                "",
            ]
        )

    def _auth(self, url: str) -> str:
        match self.auth:
            case "oauth":
                token = json.dumps(f"{url}/oauth/token")
                return (
                    f'auth = {{kind = "oauth2", token_url = {token}, client_id = "{CLIENT[0]}", '
                    f'client_secret = "${{{SECRET}}}"}}'
                )
            case "basic":
                return f'auth = {{kind = "basic", user = "reader", password = "${{{SECRET}}}"}}'
            case "key":
                return f'auth = {{kind = "header", name = "X-Api-Key", value = "${{{SECRET}}}"}}'
        return 'auth = {kind = "none"}'
