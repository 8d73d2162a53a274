"""The compressed block of data in a page with charts."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable


def page_data(text: str) -> str:
    """The data of a page as JSON."""
    return gzip.decompress(base64.b64decode(_parted(text)[1])).decode()


def with_data(text: str, change: Callable[[str], str]) -> str:
    """A page whose data is changed."""
    before, _, after = _parted(text)
    return before + base64.b64encode(gzip.compress(change(page_data(text)).encode())).decode() + after


def _parted(text: str) -> tuple[str, str, str]:
    before, opening, rest = text.partition('id="data">')
    block, closing, after = rest.partition("</script>")
    return before + opening, block, closing + after
