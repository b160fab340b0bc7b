"""The commands for whoever runs this on a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.flows.commands.arguments import Parser, command

if TYPE_CHECKING:
    from penstock.flows.commands.arguments import Commands


def add_operate(commands: Commands, everywhere: Parser) -> None:
    """Add them."""
    _add_deploy(commands, everywhere)


def _add_deploy(commands: Commands, everywhere: Parser) -> None:
    deploy = command(
        commands, everywhere, "deploy", "make the Prefect deployments that the configuration asks for",
        "Make the work pool, its queues, one deployment for each configured source, those that people start, those\n"
        "that look after the index, and the automations, on the Prefect server of PREFECT_API_URL. Again after each\n"
        "change of the configuration: what is right already stays, what is not derived from it any more goes.\n"
        "Touches nothing that it did not make. Ends with 1 if something of somebody else has a name that is needed.\n\n"
        "  penstock deploy --dry-run\n"
        "  penstock deploy",
    )  # fmt: skip
    deploy.add_argument("--dry-run", action="store_true", help="say what would change; change nothing")
    deploy.add_argument("--keep", action="store_true", help="leave deployments of sources that are not configured "
                        "any more")  # fmt: skip
    deploy.add_argument("--take-over", action="store_true", help="make ours what has a name that is needed, and was "
                        "made by somebody else or by a configuration that lay elsewhere")  # fmt: skip
