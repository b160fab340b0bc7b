"""`up`: a Prefect server, a worker and the deployments of the configuration, on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from penstock.flows.answers.exits import COMPLETE, UNAVAILABLE, UsageError
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context
from penstock.flows.config.settings import DEFAULT_FILE
from penstock.flows.runs.stop import INTERRUPTED, Stop, on_signals

DATA = "prefect"
"""The server's folder in the home."""
_GLANCES, _GLANCE_SECONDS = 10, 0.2


def up(arguments: argparse.Namespace, console: Console) -> int:
    """Bring it up, stay, take it down. Exit code 3 if server or worker did not start, or ended by themselves."""
    from penstock.flows import wiring
    from penstock.flows.deploying import ledger, server
    from penstock.flows.deploying.up import taken

    ctx = _configured(arguments)
    data = (arguments.data or ctx.home / DATA).expanduser().absolute()
    if other := server.led_elsewhere(os.environ, arguments.port):
        console.say(f"PREFECT_API_URL is {other}: not used here, penstock up has a server of its own")
    mark, stop = wiring.token(), Stop()
    signal.signal(signal.SIGHUP, lambda *_: stop.request())  # a terminal that goes away asks politely, too
    with on_signals(stop, console.say):
        try:
            with taken(data, arguments.port, mark, wiring.sleep) as stale:
                if stale:
                    console.say(f"ended {stale} processes that an earlier penstock up had left")
                _refuse_taken(arguments.port, wiring.sleep)
                return _run(arguments, console, ctx, data, mark, stop)
        except ledger.Busy as busy:
            raise UsageError(
                f"penstock up runs already: process {busy.who.pid}, {server.page(busy.who.port)}; stop it first, or "
                "give --data and --port for a second one"
            ) from None
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise UsageError(f"{data} cannot be used: {error.strerror}; --data names another folder") from None


def _run(arguments: argparse.Namespace, console: Console, ctx: Context, data: Path, mark: str, stop: Stop) -> int:
    from penstock.flows import wiring
    from penstock.flows.deploying import server
    from penstock.flows.deploying.up import NotUp, Stopped, Up

    environ = server.environment(os.environ, data, arguments.port, mark)
    this = Up(
        data, environ, ctx.settings.prefect.work_pool, say=console.say_again, stopped=stop, sleep=wiring.sleep,
        clock=time.monotonic,
    )  # fmt: skip
    code, problem = COMPLETE, ""
    try:
        _start(this, arguments, console, ctx)
        this.watch()
    except Stopped:
        code = INTERRUPTED
    except NotUp as error:
        code, problem = error.code, str(error)
        console.say(f"{problem}; stopping the rest")
    finally:
        ended = this.down()
    console.answer(
        {
            "ok": code == COMPLETE,
            "stopped": True,
            "flow_runs": {"asked": ended.asked, "killed": ended.killed},
            **({"error": {"code": "not-up", "message": problem, "exit": code}} if problem else {}),
        },
        "stopped." if code != UNAVAILABLE else f"stopped: {problem}",
    )
    return code


def _start(this: Any, arguments: argparse.Namespace, console: Console, ctx: Context) -> None:
    """Server, deployments, worker, and one screen that says what there is. Raises `NotUp`, `Stopped`."""
    from penstock.flows.deploying import server

    console.say("starting the Prefect server; the first time takes half a minute …")
    this.serve()
    console.say("making the deployments …")
    where = ["--config", str(ctx.config)] + (["--home", str(ctx.home)] if arguments.home else [])
    deployed = this.deploy(where)
    limits = this.limit()
    if arguments.worker:
        console.say("starting a worker …")
        this.work()
    page = server.page(arguments.port)
    logs = {name: str(this.log(name)) for name in ("server", *(["worker"] if arguments.worker else []))}
    console.answer(
        {
            "ok": True,
            "ready": True,
            "url": page,
            "api": this.api.url,
            "data": str(this.data),
            "pid": os.getpid(),
            "work_pool": this.pool,
            "worker": arguments.worker,
            "limits": limits,
            "logs": logs,
            "deployments": deployed["deployments"],
            "automations": deployed["automations"],
            "notes": deployed["notes"],
        },
        _screen(page, this, deployed, limits, arguments),
    )


def _screen(
    page: str, this: Any, deployed: dict[str, Any], limits: dict[str, int], arguments: argparse.Namespace
) -> str:
    timed = [each for each in deployed["deployments"] if each["schedule"]]
    width = max((len(each["name"]) for each in timed), default=0)
    rest = [each["name"] for each in deployed["deployments"] if not each["schedule"] and each["queue"]]
    pool = "" if arguments.worker else f"\n\nNo worker: prefect worker start --pool {this.pool}"
    lines = [f"penstock is up: {page}", ""]
    lines += [f"  {each['name'].ljust(width)}  {each['schedule']}, next {each['next'] or 'never'}" for each in timed]
    lines += [f"  on demand: {', '.join(rest)}"] if rest else []
    at_once = ", ".join(f"{limit} {name}" for name, limit in sorted(limits.items(), reverse=True))
    lines += [f"  runs at once: {at_once}; urgent ones never wait"] if limits and "urgent" not in limits else []
    lines += ["", *(f"Mind: {note}." for note in deployed["notes"])] if deployed["notes"] else []
    lines += ["", "In another terminal, for the commands of Prefect and penstock to find this server:", ""]
    lines += [f"  export PREFECT_API_URL={this.api.url}", "", f"Logs: {this.data}/server.log, worker.log"]
    return "\n".join(lines) + pool + "\n\nCtrl-C stops it: what runs finishes the commit in hand first."


def _configured(arguments: argparse.Namespace) -> Context:
    """Raises `UsageError` without a configuration: there would be nothing to bring up."""
    found = context(arguments)
    if found.config is None:
        raise UsageError(
            f"there is no {DEFAULT_FILE} here, so there is nothing to run: write one with two lines, [sources.docs] "
            'and path = "documents", or name one with --config'
        )
    return found


def _refuse_taken(port: int, sleep: Callable[[float], None]) -> None:
    """Raise `UsageError` for a port that stays in use: one whose process is just dying is free in a moment."""
    from penstock.flows.deploying import server

    for _ in range(_GLANCES):
        if (why := _not_free(server.HOST, port)) is None:
            return
        sleep(_GLANCE_SECONDS)
    raise UsageError(
        f"port {port} is not free ({why}): --port N takes another one; if a Prefect server is there, "
        f"PREFECT_API_URL={server.api_url(port)} penstock deploy uses it"
    )


def _not_free(host: str, port: int) -> str | None:
    """Why the port cannot be had; None if it can."""
    with closing(socket.socket()) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            return error.strerror
    return None
