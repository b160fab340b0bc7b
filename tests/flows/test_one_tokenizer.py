"""Who cuts, who plans and who checks share a tokenizer."""

from __future__ import annotations

from penstock.flows import model_wiring
from penstock.flows.config.settings import EmbedSettings, Settings


def test_a_tokenizer_is_made_once_per_model() -> None:
    """A run asks for it five times; another prompt is another one."""
    mine, same = (model_wiring.document_tokenizer(Settings()) for _ in range(2))
    assert mine is same
    other = model_wiring.document_tokenizer(Settings(embed=EmbedSettings(document_prompt="passage: ")))
    assert other is not mine and other.prompt == "passage: "
