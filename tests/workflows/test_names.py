"""Names become file names that stay in their folder, and a name that a run cannot finish with is refused first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from mnv2search.errors import SpecError
from mnv2search.spec.package_files import bundled_files, published_names
from mnv2search.spec.rules import MAX_NAME_BYTES, MAX_SPACE_NAME_BYTES, name_problem
from mnv2search.spec.yaml.codec import load_space, loads
from mnv2search.study.storage.journal import Journal
from mnv2search.untrusted import file_name

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NETWORK, SPACE = "blocks: [[6, 8, 1, 2]]\n", "blocks: [[6, 8, 1, [2, 1]]]\n"


@pytest.fixture
def fuzzer(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import fuzz_names

    return fuzz_names


def test_no_name_writes_a_file_outside_of_its_folder(fuzzer: Any) -> None:
    found = fuzzer.fuzz(count=150, seed=1, watch=fuzzer.Watch())
    assert found["outside"] == 0
    assert found["taken"] + found["refused"] == 150
    assert found["taken"] > 0
    assert found["files"] >= 7 * 150


def test_a_search_of_a_space_with_an_odd_name_stays_in_its_folder(fuzzer: Any) -> None:
    found = fuzzer.search(count=1, seed=4, watch=fuzzer.Watch())
    assert (found["runs"] + found["refused runs"], found["outside"]) == (1, 0)


def test_the_fuzzer_notices_a_file_outside(fuzzer: Any, tmp_path: Path) -> None:
    watch = fuzzer.Watch()
    (tmp_path / "in").mkdir()
    with watch.watching() as paths:
        (tmp_path / "in" / ".." / "out.yaml").write_text("")
    assert [fuzzer.is_inside(path, tmp_path / "in") for path in paths] == [False]


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("../../../victim/net", "leave out / and \\: files are named after it"),
        ("/tmp/net", "leave out / and \\: files are named after it"),
        ("a/b", "leave out / and \\: files are named after it"),
        ("a\\b", "leave out / and \\: files are named after it"),
        (".hidden", "do not start it with a dot or a dash: files are named after it"),
        ("..", "do not start it with a dot or a dash: files are named after it"),
        ("--force", "do not start it with a dot or a dash: files are named after it"),
        ("日" * 100, "shorten it from 300 to at most 120 bytes of UTF-8: files are named after it"),
    ],
)
def test_a_name_that_is_no_file_name_is_refused_where_it_stands(name: str, fix: str) -> None:
    with pytest.raises(SpecError) as caught:
        loads(f"mnv2search: 1\nname: {json.dumps(name)}\n{NETWORK}", file="net.yaml")
    (found,) = caught.value.diagnostics
    assert (found.file, found.line, found.column, found.hint) == ("net.yaml", 2, 7, fix)


def test_a_space_leaves_room_for_the_numbers_of_its_networks() -> None:
    loads(f"mnv2search: 1\nname: {'x' * MAX_SPACE_NAME_BYTES}\n{SPACE}")
    with pytest.raises(SpecError, match=f"shorten it from 116 to at most {MAX_SPACE_NAME_BYTES} bytes"):
        loads(f"mnv2search: 1\nname: {'x' * 116}\n{SPACE}")
    assert name_problem(f"{'x' * MAX_SPACE_NAME_BYTES}-{10**8}") is None
    assert len(f".{file_name('日' * (MAX_NAME_BYTES // 3))}.yaml.4194304.part".encode()) < 255


def test_every_published_and_every_shipped_name_is_a_file_name() -> None:
    names = [*published_names(), *(load_space(name).name for name in bundled_files())]
    assert [name for name in names if name_problem(name) or file_name(name) != name] == []


def test_a_folder_with_the_marks_of_an_address_keeps_its_study(tmp_path: Path) -> None:
    space, folder = load_space("mnv2-multipliers"), tmp_path / "what? 100 % #1 {x}"
    folder.mkdir()
    Journal(space, sampler=optuna.samplers.RandomSampler(seed=0), path=folder / "study.sqlite3")
    assert (folder / "study.sqlite3").is_file()
