"""Everything secret that this process has read: nothing of it is ever written to a log or a screen."""

from __future__ import annotations

import logging

from penstock.connectors.http.redaction import Redactor

REDACTOR = Redactor()
PREFECT = ("", "prefect", "prefect.flow_runs", "prefect.task_runs")
"""The loggers through which a flow run speaks: Prefect hangs its console on the root."""


class WithoutSecrets(logging.Filter):
    """For a handler: what it writes, tracebacks as well, is cleaned. Never holds a record back."""

    def filter(self, record: logging.LogRecord) -> bool:
        if REDACTOR.knows:
            record.msg, record.args = REDACTOR.clean(record.getMessage()), ()
            if record.exc_info and not record.exc_text:
                record.exc_text = logging.Formatter().formatException(record.exc_info)
            if record.exc_text:
                record.exc_text = REDACTOR.clean(record.exc_text)
        return True


def clean_logs(*names: str) -> None:
    """From now on the handlers of these loggers, and the one of last resort, write no secret. May be repeated."""
    handlers = [handler for name in names for handler in logging.getLogger(name).handlers]
    for handler in [*handlers, *([logging.lastResort] if logging.lastResort else [])]:
        if not any(isinstance(each, WithoutSecrets) for each in handler.filters):
            handler.addFilter(WithoutSecrets())
