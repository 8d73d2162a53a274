"""The rule for names of networks and spaces, which become file names."""

from __future__ import annotations

from mnv2search.errors import Problem

__all__ = ["MAX_NAME_BYTES", "MAX_SPACE_NAME_BYTES", "name_problem"]

# Common file systems allow 255 bytes; this leaves room for suffixes and temporary names.
MAX_NAME_BYTES = 120
# The names of a space's networks add a dash and a number.
MAX_SPACE_NAME_BYTES = MAX_NAME_BYTES - 10
_SEPARATORS = frozenset("/\\")
_SHOWN = 40


def name_problem(name: object, *, max_bytes: int = MAX_NAME_BYTES) -> Problem | None:
    r"""What is wrong with a name, or None.

    >>> name_problem("mnv2-0031") is None
    True
    >>> name_problem("../victim").fix
    'leave out / and \\: files are named after it'
    """
    fix = _fix(name, max_bytes)
    shown = repr(name)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return Problem(at="name", what=f"name is {shown}", fix=fix) if fix else None


def _fix(name: object, max_bytes: int) -> str:
    if not (isinstance(name, str) and name.strip() and name.isprintable()):
        return f"write 1 to {max_bytes} printable characters"
    if _SEPARATORS & set(name):
        return "leave out / and \\: files are named after it"
    if name[0] in ".-":
        return "do not start it with a dot or a dash: files are named after it"
    if (size := len(name.encode())) > max_bytes:
        return f"shorten it from {size} to at most {max_bytes} bytes of UTF-8: files are named after it"
    return ""
