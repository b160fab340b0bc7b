"""nginx over a folder of JSON files: a list in pages, a document each, files; also with limits, slowly, and by TLS."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.proof.real.daemons import Daemon, free_port
from tests.proof.real.desk import NAME
from tests.proof.real.line import Line
from tests.proof.real.prose import prose

PAGE = 25

CONFIG = """
daemon off; {user} worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  log_format told '$status $request_uri range=$http_range if=$http_if_range as=$sent_http_content_encoding';
  access_log {folder}/access.log told;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  types {{ application/json json; text/plain txt; }}
  gzip on; gzip_types application/json text/plain; gzip_min_length 100;
  limit_req_zone $server_name zone=rate:1m rate={rate}r/s;
  limit_conn_zone $server_name zone=open:1m;
  server {{
    listen 127.0.0.1:{port}; server_name proof; root {folder}/www;
    location /strict/ {{ alias {folder}/www/; limit_req zone=rate burst=3 nodelay; limit_req_status 429; }}
    location /narrow/ {{ alias {folder}/www/; limit_conn open 2; limit_conn_status 503; limit_rate 3k; }}
    location /slow/ {{ alias {folder}/www/; limit_rate 1m; }}
    location /files/away.txt {{ return 302 http://127.0.0.2:{port}/inside.txt; }}
    location /files/far.txt {{ return 302 http://10.255.255.1/inside.txt; }}
  }}
  server {{ listen 127.0.0.2:{port}; location / {{ return 200 "INSIDE"; }} }}
  server {{
    listen 127.0.0.1:{tls} ssl; root {folder}/www;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
  }}
}}
"""


class Nginx:
    """`rate`: what `/strict/` lets through in a second."""

    RATE = 20

    def __init__(self, folder: Path, documents: int) -> None:
        for name in ("list", "docs", "files"):
            (folder / "www" / name).mkdir(parents=True)
        self._folder, self._port, self.tls = folder, free_port(), free_port()
        self.line = Line(self._port)
        self.documents: dict[int, dict[str, object]] = {}
        self._dice = random.Random(3)
        user = "user root;" if os.geteuid() == 0 else ""
        config = folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=folder, port=self._port, tls=self.tls, rate=self.RATE, user=user))
        certificate(folder)
        command = [shutil.which("nginx") or "/usr/sbin/nginx", "-e", "stderr", "-p", str(folder), "-c", str(config)]
        self._daemon = Daemon(command, self._port, folder / "said.log")
        self.write(range(documents))

    @property
    def www(self) -> Path:
        return self._folder / "www"

    def start(self) -> None:
        self._daemon.start()

    def stop(self) -> None:
        self._daemon.stop()

    def write(self, numbers: range) -> int:
        """Make or change documents; each third has a file. Returns how many bodies are other ones."""
        for n in numbers:
            files = [{"id": f"f{n}", "name": f"log {n}.txt", "size": self._file(n)}] if n % 3 == 0 else []
            made = {
                "id": n,
                "title": f"Unit {n} äöü ☃",
                "text": prose(self._dice, 60),
                "files": files,
            }
            self.documents[n] = {**made, "at": time.time()}
            (self.www / "docs" / f"{n}.json").write_text(json.dumps(self.documents[n]))
        self.publish()
        return len(numbers) + sum(n % 3 == 0 for n in numbers)

    def remove(self, numbers: range) -> None:
        for n in numbers:
            del self.documents[n]
            (self.www / "docs" / f"{n}.json").unlink()
        self.publish()

    def attach(self, n: int, name: str) -> None:
        """A file that is said to be there, wherever it leads."""
        self.documents[n]["files"] = [{"id": name, "name": f"{name}.txt", "size": 6}]
        self.publish()

    def publish(self) -> None:
        """The list anew: pages that name the next one."""
        rows = [
            {key: each[key] for key in ("id", "title", "at", "files")} for _, each in sorted(self.documents.items())
        ]
        pages = [rows[start : start + PAGE] for start in range(0, len(rows), PAGE)]
        for number, page in enumerate(pages, 1):
            said = {
                "items": page,
                "total": len(rows),
                "next": f"page-{number + 1}.json" if number < len(pages) else None,
            }
            (self.www / "list" / f"page-{number}.json").write_text(json.dumps(said))

    def uris(self) -> set[str]:
        return {uri for n, each in self.documents.items() for uri in uris_of(n, each)}

    def log(self, word: str = "") -> list[str]:
        """Lines of the access log that hold `word`."""
        path = self._folder / "access.log"
        return [line for line in path.read_text().splitlines() if word in line] if path.exists() else []

    def _file(self, n: int) -> int:
        text = "\n".join(prose(self._dice, 12) for _ in range(40))
        return (self.www / "files" / f"f{n}.txt").write_text(text)


def uris_of(n: int, each: dict[str, object]) -> Iterator[str]:
    yield f"{NAME}/units/{n}"
    files = each["files"]
    assert isinstance(files, list)
    for file in files:
        yield f"{NAME}/units/{n}/attachments/{file['id']}-{file['name']}"


def certificate(folder: Path) -> None:
    """A self-signed one for 127.0.0.1, and for no name."""
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=proof",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            f"{folder}/key.pem",
            "-out",
            f"{folder}/cert.pem",
        ],
        check=True,
        capture_output=True,
    )


def config(
    origin: str,
    path: str = "",
    *,
    budget: str = "concurrency = 4, patience = 3",
    network: str = "",
    allow: str = "127.0.0.1/32",
) -> str:
    """`[sources.desk]` for the folder under `path`."""
    attachments = 'attachments = {items = "files", url = "/files/{id}.txt", name = "name", size = "size"}'
    return (
        f'[sources.{NAME}]\ntype = "rest"\nurl = "{origin}{path}"\nauth = {{kind = "bearer", token = "${{KEY}}"}}\n'
        f'budget = {{{budget}}}\nnetwork = {{allow = ["{allow}"], connect_seconds = 3, read_seconds = 20{network}}}\n'
        f'[[sources.{NAME}.collections]]\nname = "units"\nlist = "/list/page-1.json"\n'
        'items = "items"\ntotal = "total"\n'
        'paging = {kind = "next", next = "next"}\nupdated = "at"\ndetail = "/docs/{id}.json"\ntitle = "{title}"\n'
        f'body = "{{title}} {{text}}"\n{attachments}\n'
    )
