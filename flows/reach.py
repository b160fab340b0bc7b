"""Which files a run may be asked for by whoever may start a deployment: those of configured sources.

What a run indexes, everybody who may search can read. The configuration says what that is, and whoever may write it; of
those who may start a run nobody said so. The command line is not bound: who uses it reads with their own rights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect.context import FlowRunContext

from penstock.flows.answers.exits import UsageError
from penstock.flows.config.settings import load
from penstock.flows.config.source_settings import DEFAULT_TYPE


def check(words: Sequence[str], config: Path | None) -> None:
    """Raises `UsageError` for a path outside of the configured sources, in a run that a deployment started.

    Links are followed before it is looked where a path lies. Without a configuration nothing is bound: there are no
    sources, and whoever made such a deployment named its paths.
    """
    if config is None or not by_deployment():
        return
    settings = load(config)
    if settings.prefect.paths_anywhere:
        return
    folders = [each.options.binding() for each in settings.sources.values() if each.type == DEFAULT_TYPE]
    for word in words:
        path = Path(word).expanduser().resolve()
        if word not in settings.sources and not any(path.is_relative_to(folder) for folder in folders):
            raise UsageError(
                f"{word} lies in no configured source, and what a deployment indexes has to: configure a source for "
                "it, ingest it by `penstock ingest --urgent`, or set prefect.paths_anywhere = true"
            )


def by_deployment() -> bool:
    """Whether this is a flow run that a deployment started; known without asking the server."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return run is not None and run.deployment_id is not None
