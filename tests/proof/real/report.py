"""The section "Real servers" of docs/reliability.md, from what the part `sources` said."""

from __future__ import annotations

from typing import Any


def lines(result: dict[str, Any]) -> list[str]:
    """A table of servers, and one of the checks."""
    servers = result.get("servers")
    if not isinstance(servers, dict):
        return ["not run: the part did not end as it should"]
    table = ["| server | version | checks that held | |", "|---|---|---|---|"]
    checks = ["| server | what was checked | | figures |", "|---|---|---|---|"]
    for name, said in servers.items():
        made = said.get("checks", [])
        held = sum(check["ok"] for check in made)
        why = (said.get("not_run") and f"not run: {said['not_run']}") or said.get("broke", f"{said['seconds']} s")
        table.append(
            f"| {name} | {said.get('version', '')} | {f'{held} of {len(made)}' if made else ''} | {cell(why)} |"
        )
        checks += [
            f"| {name} | {cell(check['check'])} | {'yes' if check['ok'] else '**NO**'} | {cell(check['figures'])} |"
            for check in made
        ]
    return [*table, "", *checks]


def cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
