"""A question is embedded as the index was made, whatever nobody said."""

import pytest

from penstock.flows import model_wiring
from penstock.flows.commands.cmd_search import as_made, mismatch
from penstock.flows.config.settings import Settings, load
from penstock.index.types import SpaceRef


def made(**said: object) -> SpaceRef:
    """The space of an index that was made with these settings of `[embed]`."""
    identity = model_wiring.model_identity(load(None, {f"embed.{key}": value for key, value in said.items()}))
    return SpaceRef(int(identity["dim"]), identity)


@pytest.mark.parametrize(
    "said",
    [{}, {"truncate_dim": 64}, {"query_prompt": "ask: "}, {"query_prompt": "ask: ", "document_prompt": "text: "}],
)
def test_prompts_and_dimensions_of_the_index_are_found_in_it(said: dict[str, object]) -> None:
    """Without a configuration file a search gives the vectors that the index has."""
    space = made(**said)
    assert mismatch(model_wiring.model_identity(as_made(space, load(None))), space.identity) == []


def test_nothing_changes_where_the_index_is_as_configured() -> None:
    """So that the model that was loaded beside the index is the one."""
    settings = load(None, {"embed.truncate_dim": 64})
    assert as_made(made(truncate_dim=64), settings) == settings


@pytest.mark.parametrize(("key", "value"), [("truncate_dim", 32), ("query_prompt", ""), ("document_prompt", "x: ")])
def test_what_somebody_said_stays(key: str, value: object) -> None:
    """And is refused later, since it is another way of making vectors."""
    settings: Settings = load(None, {f"embed.{key}": value})
    space = made(truncate_dim=64, query_prompt="ask: ", document_prompt="text: ")
    kept = as_made(space, settings)
    assert getattr(kept.embed, key) == value
    assert mismatch(model_wiring.model_identity(kept), space.identity) == [{"truncate_dim": "dim"}.get(key, key)]
