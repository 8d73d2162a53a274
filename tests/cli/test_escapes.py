"""Names and messages of others are shown, and a terminal obeys none of them."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

sys.path += [str(Path(__file__).parents[1] / name) for name in ("model", "training")]

from model_specs import small
from pictures import draw_pictures
from scene_files import draw_scene, write_coco

import mnv2search
from mnv2search.cli.console import EscapingConsole
from mnv2search.cli.output import route_warnings, stdout_console
from mnv2search.export import export
from mnv2search.report.rows import Column, Rows
from mnv2search.report.table import draw
from mnv2search.spec.model_spec import BlockSpec

Run = Callable[..., Any]
PACKAGE = Path(mnv2search.__file__).parent
# Sets the clipboard, clears the screen, turns the direction of writing, and is markup for rich.
HOSTILE = "\x1b]52;c;QUFB\x07\x1b[2J\x9b31m\u202e[bold]x[/bold][/]"
SHOWN = r"\x1b]52;c;QUFB\x07\x1b[2J\x9b31m\u202e[bold]x[/bold][/]"
# They write to a console that is given to them, and to the answers' stream of a runner on another machine.
STREAMS = {"cli/output.py", "cli/main.py", "latency/runner/serve.py", "latency/runner/engine.py"}
# It replaces the streams while a user's own function prints.
STREAMS |= {"cli/printed_lines.py"}
STREAM_NAMES = {f"sys.{name}" for name in ("stdout", "stderr", "__stdout__", "__stderr__")}
STREAM_NAMES |= {f"click.{name}" for name in ("echo", "secho", "get_text_stream", "get_binary_stream")}


def is_plain(done: Any) -> bool:
    return all(c.isprintable() or c == "\n" for c in done.out + done.err) and "Traceback" not in done.err


def writes(tree: ast.AST) -> Iterator[str]:
    """What in a module writes to a stream, or opens a console."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "Console"}:
            yield node.func.id
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in STREAM_NAMES:
            yield ast.unparse(node)


def test_one_module_writes_to_the_streams() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): set(writes(ast.parse(path.read_text(encoding="utf-8"))))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    assert {name for name, used in found.items() if used} <= STREAMS
    assert {name for name, used in found.items() if "print" in used} <= {"cli/output.py"}
    assert "print" in found["cli/output.py"]


def test_texts_of_progress_bars_take_no_markup() -> None:
    calls = [
        ast.unparse(node)
        for path in sorted((PACKAGE / "cli").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "TextColumn"
    ]
    texts = [call for call in calls if "{task.description}" in call or "{task.fields[said]}" in call]
    assert len(texts) >= 4
    assert [call for call in texts if "markup=False" not in call] == []


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = draw_pictures(tmp_path / "photos", count=8)
    (folder / "red").rename(folder / HOSTILE.replace("/", ""))
    (folder / "green" / f"{HOSTILE.replace('/', '')}.png").write_bytes(b"torn")
    return folder


def test_names_of_classes_and_files_are_shown_by_data(photos: Path, run: Run) -> None:
    done = run("data", str(photos))
    assert (done.code, is_plain(done)) == (0, True)
    assert done.out.count(SHOWN.replace("/", "")) == 2
    told = run("data", str(photos), "--json")
    assert is_plain(told)
    assert HOSTILE.replace("/", "") in json.loads(told.out)["classes"]


def test_names_in_annotations_are_shown_by_data(run: Run, tmp_path: Path) -> None:
    file = write_coco(tmp_path / "set") / "train" / "annotations.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["images"][0]["file_name"] = HOSTILE
    content["annotations"][1]["category_id"] = HOSTILE
    for split in ("train", "val", "test"):
        part = tmp_path / "set" / split / "annotations.json"
        named = json.loads(part.read_text(encoding="utf-8")) if split != "train" else content
        named["categories"] = [{"id": 7, "name": HOSTILE}, {"id": 9, "name": "green"}]
        part.write_text(json.dumps(named), encoding="utf-8")
    done = run("data", "set")
    assert (done.code, is_plain(done)) == (0, True)
    assert done.out.count(SHOWN) >= 2


def test_names_of_classes_and_files_are_shown_by_predict(run: Run, tmp_path: Path) -> None:
    spec = small(BlockSpec(channels=16, stride=2))
    export(spec, tmp_path / "net.pt")
    assert spec.head is not None
    names = [f"{HOSTILE}{number}\nerror: no" for number in range(spec.head.classes)]
    told = {"name": spec.name, "classes": names, "recipe": {"normalization": "unit"}}
    (tmp_path / "training.json").write_text(json.dumps(told), encoding="utf-8")
    name = HOSTILE.replace("/", "")
    draw_scene(tmp_path / "images" / f"{name}.png", 0)
    (tmp_path / "images" / f"{name}2.png").write_bytes(b"torn")
    done = run("predict", "net.pt", "images")
    assert (done.code, is_plain(done)) == (1, True)
    assert SHOWN in done.out
    assert "cannot be read: it is not a readable image" in done.err
    told_again = run("predict", "net.pt", "images", "--force", "--json")
    assert is_plain(told_again)
    assert json.loads(told_again.out)[0]["found"][0]["name"].startswith(HOSTILE)


def test_an_image_with_a_long_name_is_drawn_into_a_file(run: Run, tmp_path: Path) -> None:
    export(small(BlockSpec(channels=16, stride=2)), tmp_path / "net.pt")
    for inner in ("a" * 120, "b" * 120):
        draw_scene(tmp_path / "images" / ("x" * 120) / inner / "image.png", 0)
    done = run("predict", "net.pt", "images")
    assert done.code == 0, done.err
    assert len(list((tmp_path / "predicted").iterdir())) == 2


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("check", f"{HOSTILE}.yaml"), id="missing-file"),
        pytest.param(("check", "mine.yaml"), id="spec"),
        pytest.param(("run", "--space", "mine.yaml", "--device", "simulated", "--latency-ms", "1"), id="space"),
        pytest.param(("latency", "mobilenet_v2_1.0_224", "--device", f"simulated:{HOSTILE}=1"), id="device"),
        pytest.param(("train", "mobilenet_v2_1.0_224", "--data", HOSTILE), id="data"),
        pytest.param(("train", "mobilenet_v2_1.0_224", "--data", "x", "--recipe", HOSTILE), id="recipe"),
        pytest.param((HOSTILE,), id="command"),
        pytest.param(("check", f"--{HOSTILE}"), id="option"),
        pytest.param(("run", "--latency-ms", HOSTILE), id="number"),
        pytest.param(("data", "x", "--task", HOSTILE), id="choice"),
        pytest.param(("data", f"hf:{HOSTILE}?x=y"), id="table"),
    ],
)
def test_wrong_input_is_shown_as_it_is(words: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    text = f"mnv2search: 1\nname: {json.dumps(HOSTILE)}\n{json.dumps(HOSTILE)}: 1\nblocks: []\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    done = run(*words)
    assert done.code == 2
    assert is_plain(done)
    assert done.err + done.out


def test_an_evaluators_last_words_are_shown(run: Run, tmp_path: Path) -> None:
    program = tmp_path / "evaluator.py"
    program.write_text(f"import sys\nsys.stderr.write({HOSTILE!r})\nsys.exit(7)\n", encoding="utf-8")
    accuracy = f"command:{sys.executable} {program} {{spec}}"
    done = run("run", "--device", "simulated", "--latency-ms", "15", "--trials", "2", "--accuracy", accuracy)
    assert done.code == 1
    assert is_plain(done)
    assert SHOWN in done.err


def test_a_table_is_drawn_as_wide_as_its_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    columns = (Column("name", align="left"), Column(HOSTILE))
    rows = Rows(title=HOSTILE, columns=columns, rows=((HOSTILE, "1"), ("b", "2")), notes=(HOSTILE,))
    draw(rows, stdout_console())
    assert out.getvalue().count(SHOWN) == 4
    assert all(c.isprintable() or c == "\n" for c in out.getvalue())


def test_bars_and_tables_of_a_terminal_show_text_alone() -> None:
    out = io.StringIO()
    console = EscapingConsole(file=out, force_terminal=True, width=200)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    console.print(table)
    console.print(HOSTILE)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as bar:
        bar.add_task(HOSTILE, total=1)
    shown = out.getvalue()
    assert "[bold]x[/bold]" in shown
    assert not any(code in shown for code in ("\x1b]", "\x1b[2J", "\x9b", "\u202e", "\x07"))


def test_warnings_and_logs_are_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    with warnings.catch_warnings():
        route_warnings()
        warnings.simplefilter("always")
        warnings.warn(HOSTILE, UserWarning, stacklevel=1)
        record = logging.LogRecord("mnv2search", logging.WARNING, "", 0, HOSTILE, None, None)
        assert logging.lastResort is not None
        logging.lastResort.handle(record)
    assert capsys.readouterr().err.count(SHOWN) == 2


def test_a_name_of_bytes_is_shown(run: Run) -> None:
    done = run("data", os.fsdecode(b"\xff\x1b[31m"))
    assert (done.code, is_plain(done)) == (2, True)
    assert r"\udcff\x1b[31m does not exist" in done.err
