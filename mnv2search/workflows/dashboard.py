"""Show the evaluated networks of a run in optuna-dashboard."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from mnv2search.errors import Mnv2SearchError, RecordError, extra_module
from mnv2search.results.manifest import read_manifest
from mnv2search.workflows.search.folder import STUDY_FILE
from mnv2search.workflows.search.log import recorded, space_of_run

HOST = "127.0.0.1"


class ServerError(Mnv2SearchError, OSError):
    """The dashboard cannot be served."""

    exit_code = 2


def serve_dashboard(folder: Path, *, port: int, on_ready: Callable[[str, int], None]) -> None:
    """Serve the dashboard of a run on this machine until the process is interrupted.

    The dashboard shows a temporary copy of the networks evaluated so far. So changes in the dashboard do not affect
    the run, and no content of the run's study file reaches the browser.

    Args:
        folder: folder of the run.
        port: port on 127.0.0.1.
        on_ready: called with the address and the number of networks before the server starts.

    Raises:
        MissingExtraError: optuna-dashboard is not installed.
        RecordError: the folder is not the folder of a run, or no network is evaluated yet.
        ServerError: the port cannot be used.
    """
    dashboard = extra_module(
        "optuna_dashboard", feature="the dashboard", package="optuna-dashboard", extra="dashboard"
    )
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / STUDY_FILE
        count = copy_study(folder, path)
        _check_port(port)
        on_ready(f"http://{HOST}:{port}", count)
        dashboard.run_server(f"sqlite:///{path}", host=HOST, port=port)


def _check_port(port: int) -> None:
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise ServerError(
            f"port {port} cannot be used: {error.strerror}", hint="choose another one with --port"
        ) from error


def copy_study(folder: Path, path: Path) -> int:
    """Write the evaluated networks of a run as an Optuna study; returns their number.

    Raises:
        RecordError: the folder is not the folder of a run, or no network is evaluated yet.
    """
    from optuna.samplers import RandomSampler  # late: a missing run does not need it

    from mnv2search.study.storage.journal import Journal

    space = space_of_run(folder, read_manifest(folder))
    known = {item.pick: item.evaluation for item in recorded(folder, space) if item.pick}
    if not known:
        raise RecordError(f"{folder}: no network of the space is evaluated yet", hint="try again later")
    Journal(space, sampler=RandomSampler(), path=path, known=known)
    return len(known)
