"""Where the copies are: the file, else home.json, else two folders; and no secret in any of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from penstock.flows.config import home as homes
from penstock.flows.config import place
from penstock.flows.config.layout import layout, remember
from penstock.flows.config.settings import SettingsError, load


def test_what_a_command_remembered_counts_where_the_file_says_nothing(tmp_path: Path) -> None:
    """The file beats home.json, home.json beats two folders; the file may set the quorum alone."""
    made = homes.create(tmp_path / "home").path
    default = layout(load(None), made, {})
    assert (list(default.replicas), default.write_quorum, default.said) == (["0", "1"], 2, False)
    more = {**default.replicas, "2": "s3://bucket/two"}
    remember(msgspec.structs.replace(default, replicas=more, write_quorum=3))
    found = layout(load(None), made, {})
    assert (found.replicas, found.write_quorum) == (more, 3)
    assert layout(load(None, {"index.write_quorum": 2}), made, {}).write_quorum == 2
    said = layout(load(None, {"index.replicas": 1}), made, {})
    assert (list(said.replicas), said.write_quorum, said.said) == (["0"], 1, True)
    with pytest.raises(SettingsError, match="choose from 1 to 3"):
        layout(load(None, {"index.write_quorum": 4}), made, {})


def test_a_home_that_was_moved_finds_its_own_replicas(tmp_path: Path) -> None:
    """What lies within the home is remembered without the home's place."""
    made = homes.create(tmp_path / "one").path
    remember(layout(load(None), made, {}))
    assert str(tmp_path) not in (made / "home.json").read_text()
    shutil.move(made, tmp_path / "two")
    assert layout(load(None), tmp_path / "two", {}).replicas["1"] == str(tmp_path / "two/replicas/1")


def test_a_folder_of_the_home_with_a_colon_is_remembered_as_a_folder(tmp_path: Path) -> None:
    """Though its name alone would look like a URL that lost its slashes."""
    made = homes.create(tmp_path / "home").path
    found = layout(load(None), made, {})
    remember(msgspec.structs.replace(found, replicas={"0": str(made / "s3:x")}, write_quorum=1))
    assert layout(load(None), made, {}).replicas == {"0": str(made / "s3:x")}


def test_a_mark_with_replicas_is_not_for_an_older_penstock(tmp_path: Path) -> None:
    """Which would look for two folders; one without is as it always was."""
    made = homes.create(tmp_path / "home").path
    assert (made / "home.json").read_text() == '{"format":1}\n'
    remember(layout(load(None), made, {}))
    assert msgspec.json.decode((made / "home.json").read_bytes())["format"] == 2


def test_a_password_is_taken_from_the_environment_and_never_shown(tmp_path: Path) -> None:
    """`${NAME}`, percent-encoded; an unset one is named."""
    settings = load(None, {"index.catalog": "postgresql://u:${PW}@db/x"})
    assert layout(settings, tmp_path, {"PW": "p@ss/w"}).catalog == "postgresql://u:p%40ss%2Fw@db/x"
    with pytest.raises(SettingsError, match="PW is not set"):
        layout(settings, tmp_path, {})
    assert place.shown("postgresql://u:p%40ss@db:1/x") == "postgresql://u:***@db:1/x"
    assert place.shown("postgresql://u@db:1/x?options=p") == "postgresql://u@db:1/x"


def test_a_home_of_which_everything_lies_elsewhere_is_known(tmp_path: Path) -> None:
    """Only then may its folder be missing."""
    elsewhere = {"index.replicas": ["s3://bkt/b"], "index.catalog": "postgresql://db/x"}
    assert layout(load(None, elsewhere), tmp_path, {}).remote
    assert not layout(load(None, {**elsewhere, "index.catalog": "c.db"}), tmp_path, {}).remote
    assert not layout(load(None, {**elsewhere, "index.replicas": ["s3://bkt/b", "c"]}), tmp_path, {}).remote


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    """With its three slashes."""
    assert place.store("file:///x/y", tmp_path) == "/x/y"
    with pytest.raises(place.BadPlace, match="three slashes"):
        place.store("file://x/y", tmp_path)
