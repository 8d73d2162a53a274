"""Structure of untrusted YAML: what is refused, where it is said to stand, and that limits hold."""

import pytest

from mnv2search.errors import SpecError
from mnv2search.spec.yaml.codec import loads
from mnv2search.spec.yaml.source import MAX_BYTES, MAX_DIAGNOSTICS, Items, Table, Text, decoded, parse

HEAD = "mnv2search: 1\nname: one\n"
GOOD = f"{HEAD}blocks:\n  - {{t: 6, c: 24, n: 2, s: 2}}\n"


def refused(text: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        loads(text, file="f.yaml")
    return caught.value


def test_an_error_looks_as_documented() -> None:
    text = f"{HEAD}resolution: 224\nwidth: 1.0\nlast: 1280\nblocks:\n  - {{t: [3, 6], c: 24, n: 2, s: 3}}\n"
    with pytest.raises(SpecError) as caught:
        loads(text, file="search_spaces/tiny.yaml")
    assert str(caught.value) == (
        "search_spaces/tiny.yaml:7:33: error: blocks[0].stride is 3\n"
        "    7 |   - {t: [3, 6], c: 24, n: 2, s: 3}\n"
        "      |                                 ^\n"
        "hint: use 1 to keep the resolution or 2 to halve it"
    )


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        pytest.param(f"{GOOD}name: two\n", 5, 1, "the key name is repeated", id="repeated key"),
        pytest.param(f"{HEAD}blocks: &a []\n", 3, 9, "the anchor &a", id="anchor"),
        pytest.param(f"{GOOD}last: *a\n", 5, 7, "the alias *a", id="alias"),
        pytest.param(f"{GOOD}last: !!int 3\n", 5, 7, "the tag tag:yaml.org,2002:int", id="tag"),
        pytest.param(f"{GOOD}last: !x 3\n", 5, 7, "the tag !x", id="local tag"),
        pytest.param(f"{GOOD}<<: {{a: 1}}\n", 5, 1, "unknown key '<<'", id="merge key"),
        pytest.param(f"{GOOD}---\nname: two\n", 5, 1, "a second document begins", id="second document"),
        pytest.param(f"%YAML 1.1\n---\n{GOOD}", 1, 1, "a YAML directive", id="directive"),
        pytest.param(f"{GOOD}\tlast: 3\n", 5, 1, "a tab", id="tab"),
        pytest.param(f"{GOOD}last: 3\x00\n", 5, 8, "the unprintable character U+0000", id="NUL"),
        pytest.param(f"{GOOD}last: 3\u2028\n", 5, 8, "the unprintable character U+2028", id="line separator"),
        pytest.param(f"{GOOD}last: 3\ud800\n", 5, 8, "the unprintable character U+D800", id="lone surrogate"),
        pytest.param(f"{GOOD}[1]: 3\n", 5, 1, "a key is a list or a mapping", id="list as key"),
        pytest.param("", 1, 1, "the file is empty", id="empty"),
        pytest.param("# only a comment\n", 1, 1, "the file is empty", id="comment only"),
        pytest.param("just text\n", 1, 1, "the file is not a mapping", id="scalar file"),
        pytest.param("- 1\n", 1, 1, "the file is not a mapping", id="list file"),
        pytest.param(f"{HEAD}blocks: [[6, 24\n", 4, 1, "this is not YAML: ", id="open bracket"),
        pytest.param("[" * 1000, 1, 17, "the file has more than 16 levels", id="deep lists"),
        pytest.param("{a: " * 1000, 1, 62, "the file has more than 16 levels", id="deep mappings"),
    ],
)
def test_refused_structure_is_placed(text: str, line: int, column: int, message: str) -> None:
    found = [(d.line, d.column, d.message[: len(message)]) for d in refused(text).diagnostics]
    assert (line, column, message) in found


def test_every_diagnostic_names_the_file() -> None:
    assert {d.file for d in refused("a: 1\nb: [").diagnostics} == {"f.yaml"}


def test_a_repeated_key_keeps_its_first_value_and_names_its_line() -> None:
    (found,) = refused(f"{GOOD}name: two\n").diagnostics
    assert found.hint == "already defined on line 2: keep one of the two"


def test_more_than_a_mebibyte_is_refused_unread() -> None:
    assert "more than 1048576 bytes" in str(refused("#" * (MAX_BYTES + 1)))


def test_multibyte_text_counts_in_bytes() -> None:
    assert "more than 1048576 bytes" in str(refused("é" * (MAX_BYTES // 2 + 1)))


def test_many_values_are_refused_before_they_are_all_read() -> None:
    assert "more than 60000 values" in str(refused("[" + "1," * 200_000 + "]"))


def test_exploding_aliases_are_refused() -> None:
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 30))
    assert "the alias *l1" in str(refused(f"l0: &l0 [x]\n{levels}"))


def test_a_flood_of_problems_is_cut_with_a_count() -> None:
    found = refused(GOOD + "".join(f"k{i}: 1\n" for i in range(300))).diagnostics
    assert len(found) == MAX_DIAGNOSTICS + 1
    assert found[-1].message == "and 200 more problems, not shown"


def test_a_long_line_is_shown_in_part() -> None:
    (found,) = refused(f"{GOOD}last: x{' ' * 500}# far\n").diagnostics
    assert len(found.excerpt) < 200


def test_the_place_is_right_after_other_scripts_and_a_byte_order_mark() -> None:
    text = decoded(f"# é 漢字 😀\n{GOOD}last: 'é' \nwidth: nan # ü\n".encode("utf-8-sig"), file="f.yaml")
    found = [(d.line, d.column) for d in refused(text).diagnostics]
    assert found == [(6, 7), (7, 8)]


def test_windows_line_ends_are_read() -> None:
    assert loads(GOOD.replace("\n", "\r\n")) == loads(GOOD)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        pytest.param(b"name: \xff\n", (1, 7), id="stray byte"),
        pytest.param(b"a: 1\nb: \xc3\n", (2, 4), id="cut sequence"),
        pytest.param("name: x".encode("utf-16"), (1, 1), id="UTF-16"),
    ],
)
def test_bytes_that_are_not_utf8_are_placed(data: bytes, place: tuple[int, int]) -> None:
    with pytest.raises(SpecError, match="is not UTF-8") as caught:
        decoded(data, file="f.yaml")
    assert [(d.line, d.column) for d in caught.value.diagnostics] == [place]


def test_the_tree_keeps_text_as_written() -> None:
    _, root = parse("a: [010, '1', on]\n", file="f.yaml")
    assert root == Table(
        1,
        1,
        (
            (
                Text(1, 1, "a", True),
                Items(1, 4, (Text(1, 5, "010", True), Text(1, 10, "1", False), Text(1, 15, "on", True))),
            ),
        ),
    )
