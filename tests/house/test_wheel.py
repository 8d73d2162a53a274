"""The wheel and the source distribution hold every file, and the wheel works in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from pages import ROOT

pytest.importorskip("hatchling")
NETWORK = "mobilenet_v2_0.35_96"
# Run in this order, in a folder outside of the checkout.
COMMANDS = [
    ["--version"],
    ["catalog"],
    ["spec", "mnv2", "--first", "-o", "first.yaml"],
    ["check", "first.yaml"],
    ["compile", NETWORK, "--no-fvcore", "-o", "net.py"],
    [
        "run",
        "--latency-ms",
        "15",
        "--device",
        "simulated",
        "--space",
        "mnv2-multipliers",
        "--trials",
        "14",
        "--name",
        "a",
    ],
    ["report", "a"],
    ["completion", "fish"],
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The files of the checkout that git knows."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    return listed.stdout.splitlines()


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("installed") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    return folder


def run(environment: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The result of a program of the environment."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(environment / "bin" / words[0]), *words[1:]],
        check=False,
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
    )


def test_the_wheel_has_every_file_of_the_package(wheel: Path, tracked: list[str]) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    package = {name for name in tracked if name.startswith("mnv2search/")}
    spaces = {f"mnv2search/{name}" for name in tracked if name.startswith("search_spaces/")}
    assert spaces
    assert (package | spaces) - held == set()


def test_the_wheel_has_nothing_else_but_metadata_and_the_manual_page(wheel: Path) -> None:
    others = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("mnv2search/")}
    assert {Path(name).name for name in others} == {
        *("METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE", "mnv2search.1"),
    }


def test_the_source_distribution_has_what_tests_need(built: Path, tracked: list[str]) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("mnv2search/", "search_spaces/", "tests/", "benchmarks/", "docs/")
    assert {name for name in tracked if name.startswith(folders)} - held == set()


def test_the_metadata_is_what_an_index_accepts(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (one for one in archive.namelist() if one.endswith("/METADATA"))
    content = archive.read(name)
    found = Metadata.from_email(content, validate=True)
    assert (found.name, found.license_expression) == ("mnv2search", "Apache-2.0")
    assert found.description_content_type == "text/markdown"
    assert str(message_from_bytes(content).get_payload()).startswith("# mnv2search")


def test_the_installed_command_works_without_the_checkout(environment: Path, tmp_path: Path) -> None:
    done = [run(environment, tmp_path, "mnv2search", *words) for words in COMMANDS]
    assert [one.returncode for one in done] == [0] * len(COMMANDS), [one.stderr for one in done]
    assert (tmp_path / "results" / "a" / "report.html").stat().st_size > 100_000
    place = run(environment, tmp_path, "python", "-c", "import mnv2search; print(mnv2search.__file__)")
    assert place.stdout.startswith(str(environment))


def test_the_manual_page_is_where_man_finds_it(environment: Path) -> None:
    page = environment / "share" / "man" / "man1" / "mnv2search.1"
    assert ".SS latency" in page.read_text(encoding="utf-8")
