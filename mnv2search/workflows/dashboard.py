"""Show the evaluated networks of a run in optuna-dashboard."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

from mnv2search.errors import Mnv2SearchError, RecordError, extra_module
from mnv2search.results.manifest import read_manifest
from mnv2search.workflows.search.folder import STUDY_FILE
from mnv2search.workflows.search.log import recorded, run_folder, space_of_run

HOST = "127.0.0.1"


class ServerError(Mnv2SearchError, OSError):
    """The dashboard cannot be served."""

    exit_code = 2


def dashboard(
    folder: str | Path, *, port: int = 8080, on_ready: Callable[[str, int], None] = lambda _address, _count: None
) -> None:
    """Serve the dashboard of a run on this machine until the process is interrupted.

    The dashboard shows a temporary copy of the networks evaluated so far. So changes in the dashboard do not affect
    the run, and no content of the run's study file reaches the browser.

    Args:
        folder: folder of the run, or its name in `results`.
        port: port on 127.0.0.1.
        on_ready: called with the address and the number of networks before the server starts.

    Raises:
        MissingExtraError: optuna-dashboard is not installed.
        RecordError: the folder is not the folder of a run, or no network is evaluated yet.
        ServerError: the port cannot be used.
    """
    folder = run_folder(folder)
    package = extra_module("optuna_dashboard", feature="the dashboard", package="optuna-dashboard", extra="dashboard")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / STUDY_FILE
        count = copy_study(folder, path)
        try:
            server = make_server(HOST, port, package.wsgi(f"sqlite:///{path}"), handler_class=_QuietHandler)
        except OSError as error:
            raise ServerError(
                f"port {port} cannot be used: {error.strerror}", hint="choose another one with --port"
            ) from error
        # in a thread, because wsgiref ignores every exception in a request, among them KeyboardInterrupt
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        with server:
            thread.start()
            on_ready(f"http://{HOST}:{port}", count)
            try:
                thread.join()
            finally:
                server.shutdown()


class _QuietHandler(WSGIRequestHandler):
    """A handler that does not log every request."""

    def log_message(self, format: str, *values: object) -> None:
        """Log nothing."""


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
