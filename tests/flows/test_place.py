"""No secret stays in a place, and none is shown, whatever somebody writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.flows.config import place

SECRETS = st.text("abcdefghijklmnopqrstuvwxyz0123456789!$%&*+,;=~_.-", min_size=8, max_size=30).map("hush{}".format)
HERE = Path("/here")


@given(secret=SECRETS, scheme=st.sampled_from(["s3", "gs", "az"]))
def test_credentials_in_the_url_of_a_store_are_refused_and_not_repeated(secret: str, scheme: str) -> None:
    """Whatever they look like."""
    for url in (
        f"{scheme}://key:{secret}@bucket/x",
        f"{scheme}://{secret}@bucket",
        f"{scheme}://bucket/x?key={secret}",
    ):
        with pytest.raises(place.BadPlace) as caught:
            place.store(url, HERE)
        assert secret not in str(caught.value)


@given(secret=SECRETS)
def test_a_password_in_the_url_of_a_catalog_is_refused_and_not_repeated(secret: str) -> None:
    """As a part of the URL or as a parameter; what is shown never has it."""
    for url in (f"postgresql://u:{secret}@db/x", f"postgresql://db/x?password={secret}", f"mysql://u:{secret}@db/x"):
        with pytest.raises(place.BadPlace) as caught:
            place.catalog(url, HERE)
        assert secret not in str(caught.value)
    assert secret not in place.shown(f"postgresql://u:{secret}@db/x")


@given(left=st.text(min_size=1, max_size=9), mark=st.sampled_from("/?#@:%[]"), right=st.text(min_size=1, max_size=9))
def test_a_password_is_refused_whatever_characters_it_holds(left: str, mark: str, right: str) -> None:
    """Also those that would end the place of a password for one parser and not for another."""
    with pytest.raises(place.BadPlace):
        place.catalog(f"postgresql://penstock:{left}{mark}{right}@127.0.0.1:5613/p2", HERE)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@db/x?options=-c%20x=${PW}",
        "postgresql://${PW}@db/x",
        "postgresql://u@${PW}/x",
        "postgresql://u@db/${PW}",
        "sqlite:////${PW}/c.db",
        "${PW}/c.db",
    ],
)
def test_a_variable_stands_for_the_password_and_for_nothing_that_is_shown(url: str) -> None:
    """Names of hosts, accounts and databases stand in messages."""
    with pytest.raises(place.BadPlace, match="in the place of the password"):
        place.catalog(url, HERE)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db/x",
        "postgresql:///x?host=/run/postgresql&sslmode=require",
        "postgresql+psycopg://u:${PW}@db.example:5432/x",
        "postgresql://u%40corp@[::1]:5432/x?target_session_attrs=read-write",
        "POSTGRESQL://u@10.0.0.1/x",
    ],
)
def test_the_url_of_a_server_is_taken_as_it_is_read(url: str) -> None:
    """The scheme in small letters, or SQLAlchemy would not know it."""
    scheme, rest = url.split("://")
    assert place.catalog(url, HERE) == f"{scheme.lower()}://{rest}"


@pytest.mark.parametrize("of", [place.store, place.catalog])
@pytest.mark.parametrize(
    ("typo", "fix"),
    [
        ("s3:bucket/hush", "s3://bucket/prefix"),
        ("s3:/bucket/hush", "s3://bucket/prefix"),
        ("S3:bucket/hush", "s3://bucket/prefix"),
        ("gs:hush", "gs://bucket/prefix"),
        ("az:hush", "az://bucket/prefix"),
        ("file:hush", "file:///folder"),
        ("http:hush", "s3://bucket/prefix"),
        ("postgresql:u:hush@h/d", "postgresql://user@host:5432/database"),
        ("postgresql+psycopg:/u:hush@h/d", "postgresql://user@host:5432/database"),
        ("Postgres:u:hush@h/d", "postgresql://user@host:5432/database"),
        ("sqlite:hush.db", "sqlite:////folder/catalog.db"),
        (" s3:hush", "s3://bucket/prefix"),
    ],
)
def test_a_url_that_lost_its_slashes_is_no_folder(of: Callable[[str, Path], str], typo: str, fix: str) -> None:
    """Somebody would believe in a bucket; the line says how to write either, and quotes nothing else."""
    with pytest.raises(place.BadPlace) as caught:
        of(typo, HERE)
    assert fix in str(caught.value) and "./" in str(caught.value) and "hush" not in str(caught.value)
    assert of(f"./{typo.strip()}", HERE).endswith(typo.strip())


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("s3://bkt/a", "s3://bkt/a", True),
        ("s3://bkt/a", "s3://bkt/a/b", True),
        ("s3://bkt", "s3://bkt/a", True),
        ("s3://bkt/a", "s3://bkt/ab", False),
        ("s3://bkt/a", "gs://bkt/a", False),
        ("/x", "/x/", True),
        ("/x", "/x/y/../y", True),
        ("/", "/x", True),
        ("/x/../y", "/y/z", True),
        ("/x", "/xy", False),
        ("/s3:/bkt", "s3://bkt", False),
    ],
)
def test_places_of_which_one_holds_the_other_are_told(one: str, other: str, shared: bool) -> None:
    """By whole names; the order does not matter."""
    assert place.overlap(one, other) is place.overlap(other, one) is shared


@given(value=st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_a_value_from_the_environment_is_one_part_of_the_url(value: str) -> None:
    """No character of it can end the password or begin a host."""
    try:
        url = place.filled("postgresql://u:${PW}@db/x", {"PW": value})
    except UnicodeEncodeError:
        return  # a lone surrogate is no text that an environment can hold as a password
    parts = urlsplit(url)
    assert (parts.hostname, parts.username, parts.path) == ("db", "u", "/x")
    assert value not in place.shown(url) or value in place.shown("postgresql://u:@db/x")


@pytest.mark.parametrize("written", ["a/b", "~/x", "/abs/x", "./x"])
def test_a_path_becomes_absolute(written: str) -> None:
    """Taken from the folder of the file that names it; a colon does not make a URL."""
    assert Path(place.store(written, HERE)).is_absolute()
    assert place.catalog("c.db", HERE) == "sqlite:////here/c.db"
