"""No secret stays in a place, and none is shown, whatever somebody writes."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.flows import place

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
