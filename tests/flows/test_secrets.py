"""Secrets: named in the configuration, read when needed, and in no message afterwards."""

from __future__ import annotations

import pytest

from penstock.connectors.http.redaction import Redactor
from penstock.connectors.types import StopSource
from penstock.flows.sources.secrets import prefect_block, resolver


def block(name: str) -> str:
    return {"crm-token": "of-the-block"}.get(name, "")


def test_a_reference_stands_for_a_variable_or_a_block() -> None:
    """And what it stands for is taken out of every message from then on."""
    redactor = Redactor()
    value = resolver("crm", {"TOKEN": "of-the-environment"}, block, redactor)
    assert value("${TOKEN}") == "of-the-environment"
    assert value("block:crm-token") == "of-the-block"
    assert redactor.clean("401 for of-the-environment, of-the-block") == "401 for ***, ***"


def test_a_block_is_asked_for_only_where_there_is_an_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect would start a server of its own, and report that to its makers."""
    monkeypatch.setenv("PREFECT_API_URL", "")
    with pytest.raises(StopSource, match="set PREFECT_API_URL"):
        prefect_block("crm-token")


@pytest.mark.parametrize("reference", ["${MISSING}", "${EMPTY}", "block:missing"])
def test_a_secret_that_is_not_set_is_named(reference: str) -> None:
    """The source, the variable or block, what to do."""
    value = resolver("crm", {"EMPTY": ""}, block, Redactor())
    with pytest.raises(StopSource, match=r"source crm needs .*(MISSING|EMPTY|missing).* set it"):
        value(reference)
