"""The Prefect flow `penstock-watch`: one look at an index, its page, and events for what somebody has to see to.

Thin over `flows/metrics/watching.py`, as `penstock watch` is. It never fails for what it found: whoever is called is
called by an event, once for each problem and not at each look. Deploy it by module path: `penstock.flows.watch:watch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from penstock.flows import naming, wiring
from penstock.flows.answers import watch as answers
from penstock.flows.commands.context import Context
from penstock.flows.config.home import Home, NoHome
from penstock.flows.config.settings import Settings, load
from penstock.flows.deploying.heartbeat import quicken
from penstock.flows.metrics import remembered, textfiles
from penstock.flows.metrics.look import Problem
from penstock.flows.metrics.watching import Watcher
from penstock.flows.runs import freshness
from penstock.flows.sources.redactor import PREFECT, REDACTOR, clean_logs
from penstock.flows.telling.emit import emit
from penstock.flows.telling.names import REPLICA_DEGRADED
from penstock.flows.telling.news import breached

quicken()
PROBLEM = "penstock.watch.problem"
EVENTS = {
    "replica": REPLICA_DEGRADED,
    "replication": REPLICA_DEGRADED,
    **dict.fromkeys(("index", "writing", "store", "ship", "snapshot", "drill"), PROBLEM),
}
"""Problem → the event that tells of it. Runs tell of breakers, drills of their end, and a person holds a source."""


@flow(
    name="penstock-watch",
    flow_run_name=naming.by_home,
    description="Look at replicas, DR stores, freshness, budgets and searches, once.",
    retries=0,
    persist_result=False,
)
def watch(home: str | None = None, config: str | None = None) -> State[Any]:
    """Look once. Ends `Completed`, named `Problems` where somebody has to see to something.

    Named `Skipped` where there is no home yet.

    Args:
        home: The folder of the index, where it is not the configuration's.
        config: The configuration file (penstock.toml).
    """
    clean_logs(*PREFECT)
    path = wiring.configured(config)
    settings = load(path)
    try:
        where = Context(settings, wiring.home_of(home, config), path).required()
    except NoHome as missing:  # before the first ingest; where one is lost, the next ingest says so and fails
        return Completed(name="Skipped", message=str(missing))
    warn = get_run_logger().warning
    watcher = Watcher(settings, where, warn)
    try:
        look = watcher.look()
    finally:
        watcher.close()
    known = textfiles.leave(settings, where.path, look, warn)
    due = known.due(look.problems, look.at)
    _tell(where, due)
    try:
        _tell_of_freshness(settings, where, look.at)
        remembered.write(where.path, known.telling(due))
    except OSError as fault:
        warn(f"who was told of what could not be remembered, so somebody may be told again: {fault}")
    page = REDACTOR.clean(answers.markdown(look))
    create_markdown_artifact(markdown=page, key="penstock-watch", description="What a look at the index found")
    data, said = msgspec.to_builtins(look), REDACTOR.clean(answers.verdict(look))
    return Completed(name="Problems", message=said, data=data) if look.problems else Completed(message=said, data=data)


def _tell(home: Home, problems: Sequence[Problem]) -> None:
    for each in problems:
        if event := EVENTS.get(each.kind):
            payload = {"kind": each.kind, "subject": each.subject, "problem": each.said, "step": each.step}
            emit(event, str(home.path), payload)


def _tell_of_freshness(settings: Settings, home: Home, now: float) -> None:
    for breach in freshness.newly_breached(settings, home.path, now):
        news = breached(breach)
        emit(news.event, str(home.path), news.payload, source=breach.source)
