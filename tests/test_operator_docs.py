"""What the pages for operators say is so: commands, deployments, rights, the proxy. Others: tests/test_runbooks.py."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from penstock.flows.cli import build_parser
from penstock.flows.config.settings import load
from penstock.flows.deploying.deployments import planned
from penstock.index.commits.commit import Writer
from penstock.index.stores.store import LocalStore
from tests import prefect_help
from tests.index.postgres import Postgres, running
from tests.test_runbooks import blocks

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / place for place in ("docs/operations.md", "docs/security.md", "docs/upgrade.md", "deploy/README.md")]
SECURITY, OPERATIONS = ROOT / "docs/security.md", ROOT / "docs/operations.md"
PLACES = {
    "ID": "2",
    "URL": "s3://bucket/index",
    "STORE": "/mnt/dr",
    "NEW": "new",
    "QUERIES": "q",
    "QRELS": "r",
    "NAME": "wiki",
    "PLACE": "elsewhere",
    "PATH": "a",
}


def said(page: Path) -> Iterator[list[str]]:
    """The commands of a page, word by word: in its blocks, and in the middle of sentences."""
    text = page.read_text("utf-8")
    lines = [line for kind in ("sh", "bash") for block in blocks(text, kind) for line in block.splitlines()]
    plain = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += re.findall(r"`((?:penstock|prefect) [a-z][^`]*)`", plain)
    lines += [line.strip() for line in re.findall(r"^ {4}((?:penstock|prefect) .*)$", plain, re.MULTILINE)]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words and words[0] in ("penstock", "prefect") and "…" not in line:
            yield words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_penstock_can_be_typed(page: Path) -> None:
    """Placeholders are given something."""
    for words in said(page):
        if words[0] == "penstock":
            words = [PLACES.get(word, word) for word in words[1:]]
            assert build_parser().parse_args(words).command, words


def test_every_command_of_prefect_exists_with_its_options() -> None:
    """As its own help says."""
    asked: dict[tuple[str, ...], set[str]] = {}
    for page in PAGES:
        for words in said(page):
            if words[0] == "prefect":
                verbs = 3 if words[1:3] == ["server", "database"] else 2
                options = {word for word in words if word.startswith("--")}
                asked.setdefault(tuple(words[1 : verbs + 1]), set()).update(options)
    assert len(asked) >= 5
    there = prefect_help.options(asked)
    assert {command for command, words in asked.items() if not words <= there[command]} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    """Those that are relative."""
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / link).resolve().exists(), link


def test_the_table_of_deployments_is_what_is_deployed(tmp_path: Path) -> None:
    """Names and queues; `penstock-watch` and all that needs a DR store among them."""
    file = tmp_path / "penstock.toml"
    file.write_text('[snapshots]\nstore = "dr"\n[sources.NAME]\npath = "."\n')
    there = {each.full_name: each.queue for each in planned(load(file), file)}
    table = dict(
        re.findall(
            r"^\| `(penstock-[a-z]+/[\w-]+)` \| (?:the source's `priority`|(\w+)) \|",
            OPERATIONS.read_text("utf-8"),
            re.MULTILINE,
        )
    )
    assert set(table) == set(there)
    assert all(queue in ("", there[name]) for name, queue in table.items())


def test_the_sizes_on_the_page_are_those_that_the_bench_wrote() -> None:
    """Between its marks, and not by hand: the parts are the whole."""
    text = OPERATIONS.read_text("utf-8").split("<!-- sizing -->")[1].split("<!-- /sizing -->")[0]
    rows = dict(re.findall(r"^\| \**([a-z, ]+?)\** \| \**([\d,]+)\** \|", text, re.MULTILINE))
    sizes = {name: int(size.replace(",", "")) for name, size in rows.items()}
    parts = ("vectors", "index codes", "rows", "tables of rows", "document state", "texts", "manifests, older versions")
    assert abs(sum(sizes[part] for part in parts) - sizes["one replica"]) <= len(parts)


def test_the_policies_for_buckets_give_what_they_say() -> None:
    """JSON, with known actions; only the index store and the expiry may delete, only shipping is denied to."""
    texts = [json.loads(block) for block in blocks(SECURITY.read_text("utf-8"), "json")]
    allowed = []
    for policy in texts:
        assert policy["Version"] == "2012-10-17" and set(policy) == {"Version", "Statement"}
        given = set()
        for one in policy["Statement"]:
            assert set(one) - {"Condition"} == {"Effect", "Action", "Resource"}
            actions = {one["Action"]} if isinstance(one["Action"], str) else set(one["Action"])
            resources = [one["Resource"]] if isinstance(one["Resource"], str) else one["Resource"]
            assert all(each.startswith("arn:aws:s3:::") for each in resources)
            assert (one["Action"] == "s3:ListBucket") == ("/" not in resources[0].removeprefix("arn:aws:s3:::"))
            given |= actions if one["Effect"] == "Allow" else set()
        allowed.append({action.removeprefix("s3:") for action in given})
    read = {"ListBucket", "GetObject"}
    assert allowed == [
        read,
        read | {"PutObject", "DeleteObject"},
        read | {"PutObject"},
        read | {"PutObject", "DeleteObject"},
    ]
    assert "s3:DeleteObject" in next(one for one in texts[2]["Statement"] if one["Effect"] == "Deny")["Action"]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running() as postgres:
        yield postgres


@pytest.mark.skipif(shutil.which("psql") is None, reason="the page is for psql")
def test_the_grants_are_enough_and_no_more(server: Postgres, tmp_path: Path) -> None:
    """The catalog is made and written with them; the reader of a source reads its table and writes nothing."""
    server.sql("CREATE DATABASE company")
    server.sql("CREATE TABLE articles (id int); INSERT INTO articles VALUES (1)", server.url("company"))
    server.sql("CREATE TABLE salaries (id int)", server.url("company"))
    for block in blocks(SECURITY.read_text("utf-8"), "sql"):
        named = block.replace("penstock_reads", "reader").replace("penstock", "keeper")  # the server's own is penstock
        subprocess.run(
            ["psql", "-v", "ON_ERROR_STOP=1", server.url()], input=named, text=True, check=True, capture_output=True
        )
    for role in ("keeper", "reader"):
        server.sql(f"ALTER ROLE {role} PASSWORD 'x'")

    def url(role: str, database: str) -> str:
        return server.url(database, "x").replace("//penstock:", f"//{role}:")

    ids = (f"{number:016x}" for number in count())
    replica = LocalStore.create(tmp_path / "replica", token=lambda: next(ids))
    made = Writer.create(
        url("keeper", "keeper"), {"0": replica}, write_quorum=1, workdir=tmp_path / "work", clock=time.time,
        token=lambda: next(ids), report=lambda line: None,
    )  # fmt: skip
    made.close()
    assert server.sql("SELECT count(*) FROM articles", url("reader", "company")) == [(1,)]
    for statement, account in (
        ("SELECT * FROM salaries", url("reader", "company")),
        ("INSERT INTO articles VALUES (2)", url("reader", "company")),
        ("SELECT 1", url("reader", "keeper")),
    ):
        with pytest.raises(Exception, match=r"permission denied|read-only"):
            server.sql(statement, account)


@pytest.mark.skipif(not (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()), reason="nginx is not installed")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_nginx_takes_the_configuration_of_the_proxy(tmp_path: Path) -> None:
    """`nginx -t`, with a certificate made for it."""
    (block,) = blocks(SECURITY.read_text("utf-8"), "nginx")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
         "/CN=prefect.example.org", "-keyout", tmp_path / "prefect.key", "-out", tmp_path / "prefect.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    own = block.replace("/etc/ssl/", f"{tmp_path}/").replace("listen 443", "listen 127.0.0.1:44399")
    assert own.count(str(tmp_path)) == 2
    temp = "".join(f"{kind}_temp_path {tmp_path};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid;\nerror_log {tmp_path}/log;\nevents {{}}\nhttp {{\naccess_log off;\n{temp}{own}}}\n"
    )
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    done = subprocess.run([nginx, "-t", "-c", tmp_path / "nginx.conf", "-p", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_unit_starts_what_is_there() -> None:
    """Its program is in the repository, and its way of stopping leaves the flow runs to it."""
    (unit,) = blocks(OPERATIONS.read_text("utf-8"), "ini")
    found: dict[str, Any] = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    program = found["ExecStart"].split()[0]
    assert (ROOT / "deploy" / Path(program).name).stat().st_mode & 0o111
    assert found["KillMode"] == "mixed" and int(found["TimeoutStopSec"]) >= 120
