"""The runner as one file that any Python runs."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from functools import lru_cache
from pathlib import Path

from mnv2search.errors import DeviceError
from mnv2search.latency import runner

START = "from mnv2search.latency.runner.serve import start\nstart()\n"
# Zip files of equal contents are equal.
NO_DATE = (1980, 1, 1, 0, 0, 0)


class Package:
    """A zip file that Python runs, named by its hash."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.name = f"runner-{hashlib.sha256(content).hexdigest()[:16]}.pyz"


@lru_cache(maxsize=8)
def runner_package(engine: str) -> Package:
    """The runner with the module that loads artifacts of one runtime, ours or a plug-in's.

    Raises:
        DeviceError: there is no such module.
    """
    folder = Path(runner.__file__).parent
    files = {f"mnv2search/latency/runner/{p.name}": p.read_text(encoding="utf-8") for p in folder.glob("*.py")}
    files |= {"__main__.py": START}
    module = importlib.util.find_spec(engine)
    if module is None or module.origin is None:
        raise DeviceError(f"the engine {engine} has no file that could be sent to another machine")
    files[f"{engine.replace('.', '/')}.py"] = Path(module.origin).read_text(encoding="utf-8")
    for name in list(files):
        for parent in list(Path(name).parents)[:-1]:
            files.setdefault(f"{parent.as_posix()}/__init__.py", "")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, NO_DATE), text)
    return Package(packed.getvalue())
