"""Parsing of untrusted YAML into a small tree whose every node has its line and column.

This module checks only the structure; the codec interprets the keys. YAML 1.1 constructs that are usually mistakes
are rejected: repeated keys, aliases, tags, further documents, tabs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from mnv2search.errors import Diagnostic, SpecError

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_NODES = 60_000
MAX_DIAGNOSTICS = 100
_WIDEST_EXCERPT = 160
# Reading stops after this many problems; only a hostile file has more.
_MOST_NOTED = 4 * MAX_DIAGNOSTICS
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar as written; `is_plain` is false for quoted text. Line and column count from 1."""

    line: int
    column: int
    text: str
    is_plain: bool


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    line: int
    column: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Keys with values; a repeated key is reported, and its first value is kept."""

    line: int
    column: int
    entries: tuple[tuple[Text, Node], ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """A node whose problem has already been reported."""

    line: int
    column: int


Node = Text | Items | Table | Broken


@dataclass(slots=True)
class Source:
    """The file being read; collects diagnostics, each with an excerpt."""

    file: str
    text: str
    diagnostics: list[Diagnostic] = field(default_factory=list)
    lines: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = [line.removesuffix("\r") for line in self.text.split("\n")]

    def add(self, place: tuple[int, int], message: str, hint: str, *, at: str = "") -> None:
        """Record a problem at a line and column."""
        line, column = place
        shown = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        if len(shown) > _WIDEST_EXCERPT:
            shown = f"{shown[:_WIDEST_EXCERPT]}…" if column <= _WIDEST_EXCERPT else ""
        excerpt = "".join(c if c.isprintable() else " " for c in shown)
        self.diagnostics.append(
            Diagnostic(at=at, message=message, hint=hint, file=self.file, line=line, column=column, excerpt=excerpt)
        )
        if len(self.diagnostics) >= _MOST_NOTED:
            self.refuse()

    def refuse(self) -> None:
        """Raise the recorded problems, in the order of the file, if there are any."""
        if not self.diagnostics:
            return
        ordered = sorted(dict.fromkeys(self.diagnostics), key=lambda d: (d.line, d.column))
        if len(ordered) > MAX_DIAGNOSTICS:
            more = len(ordered) - MAX_DIAGNOSTICS
            cut = ordered[:MAX_DIAGNOSTICS]
            last = cut[-1]
            message = f"and {more} more problems, not shown"
            ordered = [*cut, Diagnostic(at="", message=message, hint="", file=self.file, line=last.line, column=1)]
        raise SpecError(ordered)


def decoded(data: bytes, *, file: str) -> str:
    """UTF-8 bytes as text, without a byte-order mark.

    Raises:
        SpecError: the data has more than `MAX_BYTES`, or is not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise _alone(file, 1, 1, f"the file has more than {MAX_BYTES} bytes", "a spec takes a few hundred")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", errors="replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"the file is not UTF-8: byte {data[error.start]:#04x}"
        raise _alone(file, line, column, message, "save it as UTF-8") from None


def _alone(file: str, line: int, column: int, message: str, hint: str) -> SpecError:
    return SpecError([Diagnostic(at="", message=message, hint=hint, file=file, line=line, column=column)])


def parse(text: str, *, file: str) -> tuple[Source, Node]:
    """The tree of a file; structural problems are recorded in the source.

    Raises:
        SpecError: the text is too large, has unusable characters, or has a syntax error.
    """
    if len(text) > MAX_BYTES or len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise _alone(file, 1, 1, f"the file has more than {MAX_BYTES} bytes", "a spec takes a few hundred")
    source = Source(file, text.removeprefix("\ufeff"))
    _check_characters(source)
    source.refuse()
    try:
        node = _document(source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
        what = error.problem or error.context or "it cannot be parsed"
        source.add(_inside(source, place), f"this is not YAML: {what}", "check brackets, quotes and indentation here")
        source.refuse()
        raise
    return source, node


def _inside(source: Source, place: tuple[int, int]) -> tuple[int, int]:
    """`place`, or the end of the last line if the parser points beyond it."""
    line, column = place
    if line > len(source.lines):
        return len(source.lines), len(source.lines[-1]) + 1
    return line, min(column, len(source.lines[line - 1]) + 1)


def _check_characters(source: Source) -> None:
    for number, line in enumerate(source.lines, start=1):
        if line.isprintable():
            continue
        column, character = next((i, c) for i, c in enumerate(line, start=1) if not c.isprintable())
        if character == "\t":
            source.add((number, column), "a tab", "indent and separate with spaces")
        else:
            source.add((number, column), f"the unprintable character U+{ord(character):04X}", "delete it")
        if len(source.diagnostics) > MAX_DIAGNOSTICS:
            return


def _document(source: Source) -> Node:
    events = yaml.parse(source.text, Loader=_LOADER)
    node: Node | None = None
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if node is not None:
                source.add(_place(event), "a second document begins", "write one document a file")
                break
            if event.version or event.tags:
                source.add(_place(event), "a YAML directive", "leave it out")
            node = _Builder(source, events).node(next(events), 1)
    if node is None:
        source.add((1, 1), "the file is empty", "begin it with mnv2search: 1")
        return Broken(1, 1)
    return node


def _place(event: yaml.Event) -> tuple[int, int]:
    assert event.start_mark is not None
    return event.start_mark.line + 1, event.start_mark.column + 1


class _Builder:
    """Builder of the tree from single parser events, so that limits stop the parser in time."""

    def __init__(self, source: Source, events: Iterator[yaml.Event]) -> None:
        self.source = source
        self.events = events
        self.nodes = 0

    def node(self, event: yaml.Event, depth: int) -> Node:
        place = _place(event)
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            limit = f"{MAX_DEPTH} levels" if depth > MAX_DEPTH else f"{MAX_NODES} values"
            self.source.add(place, f"the file has more than {limit}", "a spec needs far fewer")
            self.source.refuse()
        if isinstance(event, yaml.AliasEvent):
            self.source.add(place, f"the alias *{str(event.anchor)[:40]}", "write the value out")
            return Broken(*place)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.anchor is not None:
            self.source.add(place, f"the anchor &{str(event.anchor)[:40]}", "leave it out: aliases are not read")
        if event.tag is not None:
            self.source.add(place, f"the tag {event.tag[:40]}", "leave it out: the key decides the type")
        if isinstance(event, yaml.ScalarEvent):
            return Text(*place, event.value, not event.style)
        if isinstance(event, yaml.SequenceStartEvent):
            return Items(*place, tuple(self._items(depth)))
        return Table(*place, tuple(self._entries(depth)))

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            yield self.node(event, depth + 1)

    def _entries(self, depth: int) -> Iterator[tuple[Text, Node]]:
        seen: dict[str, Text] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            place = (key.line, key.column)
            if not isinstance(key, Text):
                if not isinstance(key, Broken):
                    self.source.add(place, "a key is a list or a mapping", "a key is a word")
            elif key.text in seen:
                first = seen[key.text]
                hint = f"already defined on line {first.line}: keep one of the two"
                self.source.add(place, f"the key {key.text[:40]} is repeated", hint)
            else:
                seen[key.text] = key
                yield key, value
