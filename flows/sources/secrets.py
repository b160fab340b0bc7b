"""What a `Secret` of the configuration stands for: a variable of the environment, or a Prefect Secret block."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.connectors.http.redaction import Redactor
from penstock.connectors.types import StopSource
from penstock.flows.prefect_api import configured


def resolver(
    source: str, environ: Mapping[str, str], block: Callable[[str], str], redactor: Redactor
) -> Callable[[str], str]:
    """Gives the value of `${VARIABLE}` or `block:NAME`; from then on `redactor` keeps it out of every message.

    `block` gives the value of a Prefect block. The returned function raises `StopSource`, naming what is missing.
    """

    def value(reference: str) -> str:
        kind, _, name = reference.partition(":")
        found = block(name) if kind == "block" else environ.get(reference[2:-1], "")
        if not found:
            what = f"the Prefect block {name}" if kind == "block" else f"the environment variable {reference[2:-1]}"
            raise StopSource(f"source {source} needs {what}, which is not set: set it, then run again")
        redactor.learn(found)
        return found

    return value


def prefect_block(name: str) -> str:
    """The value of a Prefect Secret block; "" if there is none. Raises `StopSource` where Prefect cannot be asked."""
    if not configured():
        raise StopSource(f"the Prefect block {name} cannot be read: no Prefect API is configured; set PREFECT_API_URL")
    from prefect.blocks.system import Secret  # a second to import: only where a block is named

    try:
        secret = Secret.load(name)
    except ValueError:
        return ""
    except Exception as error:  # whatever the client raises when no server answers
        raise StopSource(
            f"the Prefect block {name} cannot be read: {type(error).__name__}; is the API there?"
        ) from None
    return str(secret.get())
