"""Shell completion: in a real bash, in the formats of zsh and fish, and without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from mnv2search.cli.completion import completion_file
from mnv2search.cli.main import COMPLETE_VARIABLE, cli

Run = Callable[..., Any]
SCRIPTS = {
    "bash": "share/bash-completion/completions/mnv2search",
    "zsh": ".zfunc/_mnv2search",
    "fish": ".config/fish/completions/mnv2search.fish",
}
NETWORKS = {f"mobilenet_v2_1.0_{side}" for side in (96, 128, 160, 192, 224)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("BASH_COMPLETION_USER_DIR", "ZDOTDIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def offered(*words: str) -> set[tuple[str, str]]:
    """The kind and value of each completion of the last word."""
    found = ShellComplete(cli, {}, "mnv2search", COMPLETE_VARIABLE).get_completions(list(words[:-1]), words[-1])
    return {(item.type, item.value) for item in found}


def plain(*words: str) -> set[str]:
    return {value for kind, value in offered(*words) if kind == "plain"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("latency", "--device", "o"), {"onnxruntime", "openvino"}),
        (("verify", "mine", "--device", "sim"), {"simulated"}),
        (("run", "--space", "mnv2"), {"mnv2", "mnv2-multipliers"}),
        (("cost", "mobilenet_v2_1.0_"), NETWORKS),
        (("spec", "mnv2-m"), {"mnv2-multipliers"}),
        (("diff", "mnv2", "mobilenet_v2_1.0_"), NETWORKS),
        (("explain", "--device", "sim"), {"simulated"}),
        (("compile", "mnv2-m"), {"mnv2-multipliers"}),
        (("scores", "proxy"), {"proxyless"}),
        (("run", "--from", "imag"), {"imagenet"}),
        (("run", "--sampler", "r"), {"random"}),
        (("do",), {"doctor"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_names_are_offered(words: tuple[str, ...], expected: set[str]) -> None:
    assert plain(*words) == expected


def test_runs_are_offered_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("results/mnv2-15ms", "results/mine", "elsewhere/other"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert offered("front", "m") == {("dir", "m"), ("plain", "mnv2-15ms"), ("plain", "mine")}
    assert plain("run", "--resume", "") == {"mnv2-15ms", "mine"}
    assert plain("audit", "--output-dir", "elsewhere", "") == {"other"}


def test_without_runs_none_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert plain("front", "") == set()


@pytest.mark.parametrize("words", [("cost", "x"), ("run", "--space", "x"), ("compile", "a", "--weights", "x")])
def test_files_are_offered_besides_names(words: tuple[str, ...]) -> None:
    assert offered(*words) == {("file", "x")}


def test_after_an_unknown_command_nothing_fails() -> None:
    assert plain("nonsense", "--h") == {"--help"}


@pytest.mark.parametrize(
    ("shell", "line"), [("zsh", "plain\nmobilenet_v2_1.4_224\n_"), ("fish", "plain,mobilenet_v2_1.4_224")]
)
def test_other_shells_get_their_form_without_torch(shell: str, line: str) -> None:
    probe = (
        "import atexit, sys; from mnv2search.cli.main import main;"
        "atexit.register(lambda: print([m for m in ('torch', 'numpy', 'optuna') if m in sys.modules])); main()"
    )
    words = {
        "COMP_WORDS": "mnv2search cost mobilenet_v2_1.4",
        "COMP_CWORD": {"zsh": "2"}.get(shell, "mobilenet_v2_1.4"),
    }
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **words, COMPLETE_VARIABLE: f"{shell}_complete"},
    )
    assert line in done.stdout
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_is_printed_and_installed(run: Run, home: Path, shell: str) -> None:
    printed = run("completion", shell)
    installed = run("completion", shell, "--install")
    assert (printed.code, installed.code) == (0, 0)
    assert (home / SCRIPTS[shell]).read_text() + "\n" == printed.out
    assert str(home / SCRIPTS[shell]) in installed.out
    assert "open a new shell" in installed.out
    assert run("completion", shell, "--install").code == 0


def test_the_file_of_another_program_stays_unless_forced(run: Run, home: Path) -> None:
    path = home / SCRIPTS["zsh"]
    path.parent.mkdir()
    path.write_text("mine")
    refused = run("completion", "zsh", "--install")
    assert (refused.code, path.read_text()) == (2, "mine")
    assert "--force" in refused.err
    assert run("completion", "zsh", "--install", "--force").code == 0
    assert COMPLETE_VARIABLE in path.read_text()


def test_force_without_install_is_a_usage_error(run: Run) -> None:
    assert run("completion", "zsh", "--force").code == 2


@pytest.mark.parametrize(
    ("shell", "environment", "path"),
    [
        ("bash", {"BASH_COMPLETION_USER_DIR": "/own"}, "/own/completions/mnv2search"),
        ("zsh", {"ZDOTDIR": "/zsh"}, "/zsh/.zfunc/_mnv2search"),
        ("fish", {"XDG_CONFIG_HOME": "/config"}, "/config/fish/completions/mnv2search.fish"),
    ],
)
def test_the_place_follows_the_environment(shell: str, environment: dict[str, str], path: str) -> None:
    assert completion_file(shell, environment, Path("/home/me")).as_posix() == path


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_a_real_bash_completes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(run("completion", "bash").out)
    program = tmp_path / "mnv2search"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m mnv2search "$@"\n')
    program.chmod(0o755)
    line = (
        "source script; COMP_WORDS=(mnv2search cost mobilenet_v2_1.0_); COMP_CWORD=2;"
        'compopt() { :; }; _mnv2search_completion mnv2search; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", line], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    assert set(done.stdout.split()) == NETWORKS
