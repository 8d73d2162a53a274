"""Entry point: runs the command, and converts errors to messages and exit codes."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import cast

import click

from mnv2search.cli.interruption import interruptible
from mnv2search.cli.output import fail, fail_usage, note, route_warnings
from mnv2search.errors import Mnv2SearchError

__all__ = ["cli", "main"]

# Environment variable by which a shell requests completions; it does not depend on the name of the program.
COMPLETE_VARIABLE = "_MNV2SEARCH_COMPLETE"
INTERRUPTED = 130
# In the order of typical use; the help texts are here so that --help imports no command.
COMMANDS = {
    "run": ("search.run", "Search for the most accurate networks within a latency budget."),
    "worker": ("search.worker", "Evaluate networks of a search that runs in another process or on another machine."),
    "compile": ("networks", "Print the layers of a spec, and export the network."),
    "data": ("training.analysis", "Describe a dataset before anything is trained on it."),
    "train": ("training.train", "Train a network on images."),
    "weights": ("training.weights", "Find published weights on this machine to begin a training or a search with."),
    "evaluate": ("training.analysis", "Evaluate trained weights on images."),
    "predict": ("training.analysis", "Draw the predictions of a trained network into images."),
    "supernet": ("training.train", "Train weights that all networks of a space share, for several searches."),
    "audit": ("search.checks", "Check the accuracies of a search against separate trainings."),
    "scores": (
        "training.analysis",
        "Show how closely training-free scores follow counts such as parameters.",
    ),
    "check": ("networks", "Check specs and search spaces; report every problem with its place."),
    "cost": ("networks", "Count the parameters, multiply-adds and memory of specs."),
    "spec": ("specs", "Write the spec of one network as YAML: published, edited or drawn at random."),
    "draw": ("specs", "Draw the block diagram of a network as an SVG or PNG file."),
    "explain": ("specs", "Show the parameters, multiply-adds, memory and predicted time of every stage."),
    "diff": ("specs", "Compare two networks row by row, with the effect on their costs."),
    "latency": ("hardware", "Measure the latency of specs, interleaved for a fair comparison."),
    "devices": ("hardware", "List the devices to measure on, and why others are unavailable."),
    "device-profile": ("hardware", "Measure a sample of networks from which later runs learn to predict latency."),
    "front": ("search.run", "Show the Pareto front of a run from its records."),
    "report": ("search.report", "Write the interactive report of a run, or of several runs side by side."),
    "dashboard": ("search.dashboard", "Serve optuna-dashboard with the networks of a run, on this machine only."),
    "catalog": ("networks", "List published networks with their figures."),
    "verify": ("search.checks", "Count, build and measure the front of a run again."),
    "completion": ("installation", "Print or install the script of shell completion."),
    "doctor": (
        "installation",
        "Check the installation and this machine, and show a command for each problem.",
    ),
}


class _LazyGroup(click.Group):
    """A group that imports the module of a command only when that command is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mnv2search.cli.{COMMANDS[cmd_name][0]}")
        return cast(click.Command, getattr(module, f"{cmd_name.replace('-', '_')}_command"))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from mnv2search.errors import UnknownNameError

            raise UnknownNameError("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="mnv2search", message="%(prog)s %(version)s")
def cli() -> None:
    """Find networks of the MobileNetV2 family that run within a latency budget, measured on your device.

    \b
    Example:
      mnv2search run --latency-ms 15
      mnv2search compile results/mnv2-15ms/ship.yaml
    """


def main() -> None:
    """Run the command line and exit with its code."""
    _mend_streams()
    route_warnings()
    try:
        with interruptible():
            code = _exit_code()
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def _exit_code() -> int:
    """Run the command line; returns its exit code after reporting errors."""
    try:
        code = cli.main(standalone_mode=False, complete_var=COMPLETE_VARIABLE)
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except (click.Abort, KeyboardInterrupt):  # click raises its own for Ctrl-C
        note("interrupted")
        code = INTERRUPTED
    except click.ClickException as error:
        fail_usage(error)
        code = error.exit_code
    except Mnv2SearchError as error:
        fail(error)
        code = error.exit_code
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            where = f": {error.filename}" if error.filename else ""
            note(f"error: {error.strerror or error}{where}")
        _discard_stdout()
        code = 1
    return code if isinstance(code, int) else 0


def _mend_streams() -> None:
    """Replace closed streams by the null device, and escape characters that a stream cannot encode."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_stdout() -> None:
    """Redirect stdout to the null device after a failed write (`| head`), so that Python does not retry at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
