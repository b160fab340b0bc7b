"""The keys of a source of type `sql`: what can be meant by them, and that no password stands among them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.connectors.sources.sql import place
from penstock.connectors.sources.sql.options import SqlOptions
from penstock.connectors.sources.sql.template import Template

SECRET = "hunter2"
KIND = {"name": "k", "table": "t", "key": "id", "body": "{body}"}


def read(url: str = "postgresql://u@h/d", kinds: list[dict[str, Any]] | None = None, **options: Any) -> SqlOptions:
    return msgspec.convert({"url": url, "kinds": kinds or [KIND], **options}, SqlOptions)


def anchored(url: str = "postgresql://u@h/d", **options: Any) -> SqlOptions:
    return read(url, **options).anchored(Path("/etc/here"))


@pytest.mark.parametrize(
    ("url", "opened", "binding", "secret"),
    [
        ("postgresql://u:${PW}@h:5432/d", "postgresql://u@h:5432/d", "postgresql://h:5432/d", "${PW}"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d", "postgresql://h/d", None),
        ("postgresql:///d?sslmode=require", "postgresql:///d?sslmode=require", "postgresql:///d", None),
        ("mysql://u%40corp:${PW}@[::1]:3306/d", "mysql://u%40corp@[::1]:3306/d", "mysql://[::1]:3306/d", "${PW}"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db", "sqlite:////var/x.db", None),
    ],
)
def test_a_url_is_taken_apart(url: str, opened: str, binding: str, secret: str | None) -> None:
    """The binding has neither user nor password nor parameters; the password is put in only when it is opened."""
    options = anchored(url)
    assert (options.url, options.binding(), options.password) == (opened, binding, secret)


def test_a_relative_file_is_taken_from_the_configurations_folder() -> None:
    """As every path is."""
    assert anchored("sqlite:///data/x.db").url == "sqlite:////etc/here/data/x.db"
    assert anchored("sqlite:///~/x.db").url == f"sqlite:///{Path.home()}/x.db"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@h/d",
        f"postgresql://u:{SECRET}@@h/d",
        f"postgresql://u:p@{SECRET}@h/d",
        f"postgresql://u:${{PW}}{SECRET}@h/d",
        f"postgresql://u/{SECRET}@h/d",
        f"postgresql://h/d?password={SECRET}",
        f"postgresql://h/d?sslpassword={SECRET}",
        f"postgresql://h/d?options=-cx@{SECRET}",
        f"mssql+pyodbc://?odbc_connect=PWD%3D{SECRET}",
        f"mssql+pyodbc://h/d?extra=Pwd%3D{SECRET}",
        f"postgresql:/{SECRET}",
        f"{SECRET}",
        f"sqlite:///x.db?key={SECRET}",
        "postgresql://${PW}@h/d",
        "postgresql://u@${HOST}/d",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_repeating_it(url: str) -> None:
    """One line that names the key and the fix; a password in it is not shown."""
    with pytest.raises(ValueError, match=r"^url ") as error:
        anchored(url)
    assert SECRET not in str(error.value) and "\n" not in str(error.value)
    assert error.value.__cause__ is None or SECRET not in str(error.value.__cause__)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"query": "SELECT 1"}, "kinds.k needs a query or a table"),
        ({"table": ""}, "kinds.k needs a query or a table"),
        ({"key": []}, "kinds.k key"),
        ({"body": "nothing"}, "kinds.k body: names no column"),
        ({"body": "{a.b"}, "kinds.k body"),
        ({"title": "{}"}, "kinds.k title"),
        ({"title": "{x!r}"}, "kinds.k title"),
        ({"url": "{x:>5}"}, "kinds.k url"),
    ],
)
def test_a_kind_that_cannot_be_meant_is_refused(kind: dict[str, Any], said: str) -> None:
    """The error names the kind, the key and the fix."""
    with pytest.raises(ValueError, match=said) as error:
        anchored(kinds=[{**KIND, **kind}])
    assert "\n" not in str(error.value)


def test_a_password_stands_in_one_place() -> None:
    """In the URL or in `password`; a file has none; the plain word is refused by its type."""
    assert anchored(password="block:crm").password == "block:crm"
    with pytest.raises(ValueError, match="one place"):
        anchored("postgresql://u:${A}@h/d", password="${B}")
    with pytest.raises(ValueError, match="has none"):
        anchored("sqlite:///x.db", password="${B}")
    with pytest.raises(msgspec.ValidationError, match="password") as error:
        read(password=SECRET)
    assert SECRET not in str(error.value)


def test_two_kinds_have_two_names() -> None:
    """The name is part of the uri."""
    with pytest.raises(ValueError, match="same name"):
        anchored(kinds=[KIND, KIND])
    with pytest.raises(msgspec.ValidationError, match="name"):
        read(kinds=[{**KIND, "name": "a/b"}])


def test_a_template_is_filled_with_columns() -> None:
    """Nothing but names stands in braces; `:text` is escaped in HTML and nowhere else."""
    template = Template("<h1>{title:text}</h1>{{{body}}} {n}{none}", markup=True)
    row = {"title": "a < b & c", "body": "<p>x</p>", "n": 3, "none": None}
    assert template.columns == ("title", "body", "n", "none")
    assert template.fill(row) == "<h1>a &lt; b &amp; c</h1>{<p>x</p>} 3"
    assert Template("{title:text}").fill(row) == "a < b & c"


def test_a_value_that_looks_like_a_template_is_not_filled_again() -> None:
    """What is in a row is data."""
    assert Template("{a}{b}").fill({"a": "{b}", "b": "{a.__class__}"}) == "{b}{a.__class__}"


def test_a_kind_reads_what_it_needs() -> None:
    """A listing reads keys and tokens; only without a token all columns."""
    (kind,) = read(
        kinds=[{**KIND, "key": ["a", "b"], "updated": "at", "title": "{a} {t}", "labels": "who", "metadata": ["m"]}]
    ).kinds
    assert kind.listed() == ("a", "b", "at")
    assert kind.used() == ("a", "b", "at", "body", "t", "m", "who")
    plain = msgspec.structs.replace(kind, updated="")
    assert plain.listed() == plain.used()


def test_a_file_is_opened_for_reading_only() -> None:
    """Also one whose path holds what a URI would take for its own."""
    assert place.file_uri(Path("/a b/?x#%.db")) == "file:/a%20b/%3Fx%23%25.db?mode=ro"


def test_the_options_load_without_sqlalchemy() -> None:
    """Reading a configuration is quick."""
    script = "import sys, penstock.connectors.sources.sql; print('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "False"
