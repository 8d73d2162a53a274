"""Shell completion scripts, and the files from which shells load them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from mnv2search.atomic import write_text
from mnv2search.cli.main import COMPLETE_VARIABLE
from mnv2search.errors import OptionError
from mnv2search.untrusted import UnsafeFileError, read_text

PROGRAM = "mnv2search"
MAX_BYTES = 1 << 20


def completion_script(command: click.Command, shell: str) -> str:
    """The completion script of a shell."""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    return kind(command, {}, PROGRAM, COMPLETE_VARIABLE).source()


def completion_file(shell: str, environment: Mapping[str, str], home: Path) -> Path:
    """The file from which a shell loads the completion of mnv2search for this user.

    zsh has no standard folder for completions of a user: ``~/.zfunc`` is conventional, and must be added to `fpath`.

    Source: bash-completion, README, "Where should I put it"; fish, completions.html, "Where to put completions".

    >>> completion_file("fish", {}, Path("/home/me")).as_posix()
    '/home/me/.config/fish/completions/mnv2search.fish'
    """
    if shell == "bash":
        data = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
        folder = Path(environment.get("BASH_COMPLETION_USER_DIR") or data / "bash-completion")
        return folder / "completions" / PROGRAM
    if shell == "zsh":
        return Path(environment.get("ZDOTDIR") or home) / ".zfunc" / f"_{PROGRAM}"
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    return config / "fish" / "completions" / f"{PROGRAM}.fish"


def install_completion(script: str, path: Path, *, force: bool) -> None:
    """Write a script, replacing an earlier completion script of mnv2search.

    Raises:
        OptionError: the path is another file, and `force` is false.
    """
    try:
        is_ours = COMPLETE_VARIABLE in read_text(path, max_bytes=MAX_BYTES)
    except FileNotFoundError:
        is_ours = True
    except UnsafeFileError:
        is_ours = False
    if not (is_ours or force):
        raise OptionError(f"{path} is not a completion script of mnv2search", hint="add --force to overwrite it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, script)


def next_steps(shell: str, path: Path) -> Iterator[str]:
    """Yield the steps that remain after the script is installed."""
    if shell == "bash":
        yield "open a new shell; if completion does not work, install bash-completion, or add this line to ~/.bashrc:"
        yield f"  source {path}"
    elif shell == "zsh":
        yield "add these lines to ~/.zshrc unless it has them, and open a new shell:"
        yield f"  fpath=({path.parent} $fpath)"
        yield "  autoload -Uz compinit && compinit"
    else:
        yield "open a new shell"
