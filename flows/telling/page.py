"""Where a flow run begins to be seen, and where its end is told."""

from __future__ import annotations

import time
from pathlib import Path

from penstock.flows import wiring
from penstock.flows.config.settings import load
from penstock.flows.runs import freshness
from penstock.flows.runs.run import Run
from penstock.flows.telling.board import FlowRun
from penstock.flows.telling.emit import emit
from penstock.flows.telling.live import Live
from penstock.flows.telling.news import News, breached


def begun(run: Run) -> Live:
    """Show `run` in the flow run that this is called in, from now on; what it told before is told again."""
    home = run.request.home

    def send(news: News) -> None:
        emit(
            news.event,
            home,
            news.payload,
            sources=news.sources,
            source=news.sources[0] if len(news.sources) == 1 else "",
        )

    live = Live(FlowRun(), send, clock=wiring.clock, monotonic=time.monotonic)
    run.observer = live.watching(run.observer)
    run.heard.join(live.heard)
    return live


def ended(run: Run, live: Live) -> None:
    """Tell the end, once Prefect answers: the last figures, the picture, and what is staler than it may be."""
    try:
        if not run.request.dry_run:
            settings = load(Path(run.request.config) if run.request.config else None)
            late = freshness.newly_breached(settings, Path(run.request.home), wiring.clock())
            live.tell([breached(one) for one in late])
    except Exception as error:
        run.observer.note(f"whether the index is fresh enough could not be told ({error})")
    live.close()
