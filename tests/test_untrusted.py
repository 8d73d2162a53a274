from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2search.untrusted import (
    MAX_NAME_BYTES,
    UnsafeFileError,
    escaped,
    file_name,
    json_value,
    read_bytes,
    read_json,
    read_lines,
    read_text,
)


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=300))
def test_a_file_name_stays_in_its_folder_and_fits(text: str) -> None:
    name = file_name(text)
    assert Path("folder", name).parent == Path("folder")
    assert name not in {"", ".", ".."}
    assert name[0] not in ".-"
    assert len(name.encode()) <= MAX_NAME_BYTES


@given(st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,60}[a-z0-9]", fullmatch=True))
def test_a_text_that_can_be_a_file_name_is_kept(text: str) -> None:
    assert file_name(text) == text


def test_texts_that_are_alike_but_for_separators_get_names_of_their_own() -> None:
    assert len({file_name(text) for text in ("a/b", "a-b", "a\\b", "../a/b", "a\0b")}) == 5


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=80))
def test_escaped_text_holds_nothing_that_a_terminal_acts_on(text: str) -> None:
    shown = escaped(text)
    assert all(c.isprintable() or c in "\n\t" or c.isspace() for c in shown)
    assert not set(shown) & {"\x1b", "\x07", "\x9b", "\x7f", "\u202e", "\r"}
    shown.encode("utf-8")


def test_printable_text_is_shown_as_it_is() -> None:
    assert escaped("grün 日本 ±5 %\n\tx") == "grün 日本 ±5 %\n\tx"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[NaN]", "NaN is not a number"),
        ("[1e999]", "too large"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "4300 digits"),
        ('{"a": ', "line 1, column 7"),
    ],
)
def test_json_that_python_would_choke_on_is_refused(text: str, why: str) -> None:
    with pytest.raises(UnsafeFileError, match=why):
        json_value(text)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafeFileError, match="not a regular file"):
        read_bytes(tmp_path / "pipe", max_bytes=10)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises((UnsafeFileError, IsADirectoryError)):
        read_bytes(tmp_path, max_bytes=10)


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 11)
    assert len(read_bytes(tmp_path / "big", max_bytes=11)) == 11
    with pytest.raises(UnsafeFileError, match="more than 10 bytes"):
        read_bytes(tmp_path / "big", max_bytes=10)


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\nb\xff")
    with pytest.raises(UnsafeFileError, match="byte 0xff on line 2"):
        read_text(tmp_path / "text", max_bytes=100)


def test_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('\ufeff{"a": [1, 2.5, null]}', encoding="utf-8")
    assert read_json(tmp_path / "a.json", max_bytes=100) == {"a": [1, 2.5, None]}


@given(st.lists(st.binary(max_size=5).map(lambda line: line.replace(b"\n", b"")), max_size=4), st.binary(max_size=3))
def test_the_lines_of_a_file_are_its_complete_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], rest: bytes
) -> None:
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + rest.replace(b"\n", b""))
    assert list(read_lines(path, max_bytes=1000)) == lines


def test_lines_that_were_added_beyond_the_limit_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1234\n")
    lines = read_lines(path, max_bytes=8)
    assert next(lines) == b"1234"
    with path.open("ab") as file:
        file.write(b"1234\n")
    with pytest.raises(UnsafeFileError, match="more than 8 bytes"):
        list(lines)


@pytest.mark.parametrize("content", [b"123456789", b"1234\n5678\n"])
def test_the_lines_of_a_file_that_is_too_large_are_not_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UnsafeFileError, match="more than 8 bytes"):
        next(read_lines(tmp_path / "file", max_bytes=8))
