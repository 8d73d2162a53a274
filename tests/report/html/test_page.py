"""Reports as HTML files: whole, escaped, with what tables and pictures hold."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from mnv2search.report.html.page import Lines, Picture, page
from mnv2search.report.rows import Column, Rows

PNG = b"\x89PNG\r\n\x1a\n"
ROWS = Rows(
    title="a table",
    columns=(Column("name <b>", align="left"), Column("time", "ms")),
    rows=(("one & two", "1.0"), ("three", "2.0")),
    footer=("all",),
    notes=("a note",),
    stressed=frozenset({1}),
)


class Opened(HTMLParser):
    """Tags that are open, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_a_page_closes_what_it_opens_and_escapes_what_it_is_given() -> None:
    read = Opened()
    read.feed(page("a <i> title", [ROWS, Lines(title="text", lines=("  x < y",)), picture()]))
    assert read.open == []
    text = "".join(read.text)
    for part in ("a <i> title", "name <b>", "one & two", "a note", "  x < y"):
        assert part in text


def picture() -> Picture:
    return Picture(title="a picture", png=PNG, shows='what "it" shows')


def test_a_page_needs_no_other_file() -> None:
    text = page("title", [picture()])
    assert 'src="data:image/png;base64,' in text
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in text


def test_a_printed_page_has_smaller_type() -> None:
    printed = page("a", []).partition("@media print")[2]
    assert "font-size: 6.5pt" in printed


def test_a_page_holds_no_control_characters_and_can_be_written() -> None:
    hostile = "\x1b]52;c;QUFB\x07\udcff\u202e<script>"
    text = page(hostile, [Lines(title=hostile, lines=(hostile,)), replace(ROWS, rows=((hostile, "1"),))])
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "<script>" not in text
    assert text.encode("utf-8")
