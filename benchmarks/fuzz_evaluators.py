"""Fuzzer for evaluators: no program or function may hang, fill memory, cause a traceback or leave a process behind.

Each kind is evaluated in its own process, which may grow by `--megabytes`. The evaluation passes if it returns a
value or one of our errors within `--timeout-s` plus the time to kill a program, and if the message has no control
character. Processes left behind are found by the folder's name in their command line, even if they changed their
environment.

    python benchmarks/fuzz_evaluators.py
    python benchmarks/fuzz_evaluators.py --kinds session --timeout-s 3
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.errors import Mnv2SearchError
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.untrusted import escaped

SPEC = ModelSpec(name="hostile", blocks=(BlockSpec(channels=16),), resolution=32)
TIMEOUT_S = 1.0
MEGABYTES = 64
# Time to kill a program that resists: 5 s for its supervisor, and a margin for a busy machine.
END_S = 15.0
KIB = 1024
FAILURES = ("hang", "memory", "traceback", "left behind", "control character")

# What a program prints, as a Python expression of bytes.
PRINTED = {
    "nothing": "b''",
    "blank lines": "b'\\n' * 1000000",
    "NaN": "b'NaN'",
    "infinity": "b'-Infinity'",
    "beyond floats": "b'1e309'",
    "400 digits": "b'1' + b'0' * 400",
    "5000 digits": "b'1' + b'0' * 5000",
    "negative": "b'-0.1'",
    "percent": "b'71.8'",
    "a bit above one": "b'1.0000001'",
    "truth": "b'true'",
    "null": "b'null'",
    "list": "b'[0.5]'",
    "text": "b'\"0.5\"'",
    "empty object": "b'{}'",
    "unknown key": 'b\'{"value": 0.5, "\\x1b[2J": 1}\'',
    "escaped key": "b'{\"value\": 0.5, \"' + bytes([92]) + b'u001b[2J\": 1}'",
    "key of a megabyte": "b'{\"' + b'k' * 1000000 + b'\": 1}'",
    "value null": "b'{\"value\": null}'",
    "value text": 'b\'{"value": "0.5"}\'',
    "value object": 'b\'{"value": {"value": 0.5}}\'',
    "value NaN": "b'{\"value\": NaN}'",
    "value 400 digits": "b'{\"value\": 1' + b'0' * 400 + b'}'",
    "interval upside down": 'b\'{"value": 0.5, "low": 0.6, "high": 0.4}\'',
    "interval of truths": 'b\'{"value": 0.5, "low": false, "high": true}\'',
    "interval beyond": 'b\'{"value": 0.5, "low": -1, "high": 2}\'',
    "same key twice": 'b\'{"value": 0.5, "value": 7}\'',
    "deep list": "b'[' * 30000",
    "deep objects": "b'{\"value\":' * 6000",
    "deep and closed": "b'[' * 30000 + b']' * 30000",
    "NUL bytes": "b'0.5' + bytes(3)",
    "no UTF-8": "b'\\xff\\xfe0.5'",
    "byte-order mark": "b'\\xef\\xbb\\xbf0.5'",
    "UTF-16": "'0.5'.encode('utf-16')",
    "carriage returns": "b'0.1\\r0.5\\r'",
    "escape sequence": "b'\\x1b]52;c;AAAA\\x07'",
    "direction marks": "'\\u202e0.5'.encode()",
    "full-width digits": "'\\uff10.\\uff15'.encode()",
    "half a number": "b'0.'",
    "hexadecimal": "b'0x1p-1'",
    "comma": "b'0,5'",
    "line of 50 MB": "b'7' * 50000000",
    "a million lines": "b'epoch\\n' * 1000000",
    "lone surrogate": "b'\"' + bytes([92]) + b'ud800\"'",
}
# What a program does, as Python code; `sleeper` is a program that sleeps and has the folder in its command line.
DONE = {
    "exits with 3": "sys.exit(3)",
    "exits with 255": "os._exit(255)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "crashes": "os.kill(os.getpid(), signal.SIGSEGV)",
    "dies of a real-time signal": "os.kill(os.getpid(), 40)",
    "complains in escapes": "sys.stderr.write('\\x1b]52;c;AAAA\\x07' * 99); sys.exit(1)",
    "complains at length": "sys.stderr.write('e' * 30000000); sys.exit(1)",
    "complains in bytes": "os.write(2, bytes(range(256)) * 9); sys.exit(1)",
    "floods output": "while True: os.write(1, b'y' * 65536)",
    "floods lines": "while True: os.write(1, b'y\\n' * 32768)",
    "floods errors": "while True: os.write(2, b'y' * 65536)",
    "floods both": "while True: os.write(1, b'y' * 4096); os.write(2, b'n' * 4096)",
    "answers and floods": "print(0.5, flush=True)\nwhile True: os.write(1, b' ' * 65536)",
    "sleeps": "time.sleep(999)",
    "answers and sleeps": "print(0.5, flush=True); time.sleep(999)",
    "spins": "while True: pass",
    "ignores signals": "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 15)]; time.sleep(999)",
    "stops itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "stops its group": "os.killpg(0, signal.SIGSTOP)",
    "closes its output and goes on": "os.close(1); os.close(2); time.sleep(999)",
    "closes its output and ends": "os.close(1); os.close(2)",
    "reads input": "print(len(sys.stdin.read()))",
    "kills its group": "os.killpg(0, signal.SIGKILL)",
    "kills its parent": "os.kill(os.getppid(), signal.SIGKILL); time.sleep(999)",
    "kills its parent and answers": "os.kill(os.getppid(), signal.SIGKILL); print(0.5)",
    "kills its parent from a child": "sleep(); os.kill(os.getppid(), signal.SIGKILL); time.sleep(999)",
    "stops its parent": "os.kill(os.getppid(), signal.SIGSTOP); time.sleep(999)",
    "asks its parent to end": "[os.kill(os.getppid(), n) for n in (1, 2, 15)]; print(0.5)",
    "leaves a child": "sleep(); print(0.5)",
    "leaves a child in a session": "sleep(start_new_session=True); print(0.5)",
    "leaves a child in a session, and fails": "sleep(start_new_session=True); sys.exit(1)",
    "leaves a child in a session, and sleeps": "sleep(start_new_session=True); time.sleep(999)",
    "leaves a child without environment": "sleep(start_new_session=True, env={}); print(0.5)",
    "leaves a child without pipes": "sleep(start_new_session=True, stdout=-3, stderr=-3); print(0.5)",
    "leaves a daemon": "os.write(1, b'0.5'); part(); os.setsid(); part(); sleep()",
    "leaves a child that ignores signals": "signal.signal(15, signal.SIG_IGN); sleep(); print(0.5)",
    "leaves a stopped child": "os.kill(sleep(start_new_session=True).pid, signal.SIGSTOP); print(0.5)",
    "leaves 30 children": "[sleep(start_new_session=i % 2 == 0) for i in range(30)]; print(0.5)",
    "leaves zombies": "[os.fork() or os._exit(0) for i in range(30)]; print(0.5)",
    "answers from a child": "if os.fork(): os._exit(0)\ntime.sleep(0.1); print(0.5)",
    "hops from child to child": "os.write(1, b'1')\nfor i in range(3000): part(); time.sleep(0.001)",
    "removes its folder": "import shutil; shutil.rmtree(os.path.dirname(sys.argv[-1])); print(0.5)",
    "locks its folder": "os.chmod(os.path.dirname(sys.argv[-1]), 0); print(0.5)",
    "makes its spec a pipe": "os.unlink(sys.argv[-1]); os.mkfifo(sys.argv[-1]); print(0.5)",
    "fills its folder": "[open(f'{sys.argv[-1]}.{i}', 'w').close() for i in range(500)]; print(0.5)",
}
# Files that are executed directly.
FILES = {
    "no shebang": b"echo 0.5\n",
    "unknown interpreter": b"#!/no/such/interpreter\n",
    "empty": b"",
    "no program": bytes(range(256)),
}
# The body of `f(spec, seed)`.
CALLED = {
    "exits": "sys.exit(0)",
    "exits with words": "sys.exit('bye')",
    "raises a subclass of SystemExit": "raise type('Bye', (SystemExit,), {})(0)",
    "raises a base exception": "raise BaseException('odd')",
    "raises GeneratorExit": "raise GeneratorExit",
    "raises an unprintable": "raise Odd()",
    "raises escapes": "raise ValueError('\\x1b]52;c;AAAA\\x07')",
    "raises at length": "raise ValueError('e' * 10**7)",
    "recurses": "return f(spec, seed)",
    "runs out of memory": "raise MemoryError",
    "divides by zero": "return 1 / 0",
    "returns nothing": "return None",
    "returns a percent": "return 71.8",
    "returns NaN": "return float('nan')",
    "returns 400 digits": "return 10**400",
    "returns 5000 digits": "return 10**5000",
    "returns a truth": "return True",
    "returns text": "return '0.5'",
    "returns bytes": "return b'0.5'",
    "returns a complex number": "return 0.5j",
    "returns an array": "import numpy; return numpy.array([0.5, 0.6])",
    "returns a large array": "import numpy; return numpy.zeros(10**6)",
    "returns an empty array": "import numpy; return numpy.array([])",
    "returns a scalar": "import numpy; return numpy.float16(0.5)",
    "returns a fraction": "import fractions; return fractions.Fraction(1, 2)",
    "returns what is no number": "return Odd()",
    "returns a list of such": "return [Odd()]",
    "returns itself in a list": "a = []; a.append(a); return a",
    "returns deep lists": "a = []\n for i in range(10**5): a = [a]\n return a",
    "returns 7 as accuracy": "return Accuracy(value=7, low=7, high=7, metric='top1', kind='trained', dataset='')",
    "yields": "yield 0.5",
    "takes the output away": "sys.stdout = None; return 0.5",
}
# Whole modules.
IMPORTED = {
    "no syntax": b"def f(:\n",
    "no UTF-8": b"f = '\xff'\n",
    "NUL bytes": b"f = 1\0\n",
    "exits": b"raise SystemExit(0)\n",
    "divides by zero": b"1 / 0\n",
    "fails to import": b"import no_such_module_anywhere\n",
    "lacks an attribute": b"None.f\n",
    "raises a base exception": b"raise BaseException('odd')\n",
    "raises escapes": b"raise ImportError('\\x1b]52;c;AAAA\\x07')\n",
    "has no function": b"f = 3\n",
    "is empty": b"",
    "hides everything": b"def __getattr__(name): raise SystemExit(0)\n",
    "nests deeply": b"f = " + b"(" * 5000 + b")" * 5000,
    "takes no arguments": b"f = lambda: 0.5\n",
    "is a class": b"class f: pass\n",
}
HEAD = "import os, signal, subprocess, sys, time\n"
SLEEP = "def sleep(**options): return subprocess.Popen([{sleeper!r}, '999'], **options)\n"
PART = "def part(): os.fork() and os._exit(0)\n"
ODD = """
class Odd(Exception):
    def __float__(self): raise ZeroDivisionError("no number")
    def __repr__(self): raise SystemExit(0)
    __str__ = __repr__
"""


@dataclass(frozen=True)
class Kind:
    """One kind of hostile evaluator."""

    name: str
    content: bytes
    is_command: bool
    is_run_itself: bool = False

    def evaluator(self, folder: Path, timeout_s: float) -> str:
        """Write the files needed to a folder, and return the text that opens the evaluator."""
        path = folder / "hostile.py"
        path.write_bytes(self.content.replace(b"{sleeper!r}", repr(str(folder / "sleeper")).encode()))
        path.chmod(0o755)
        if not self.is_command:
            return f"python:{path}:f"
        words = [str(path)] if self.is_run_itself else [sys.executable, "-S", str(path)]
        return f"command:timeout_s={timeout_s:g},{shlex.join(words)} {{spec}}"


def kinds() -> list[Kind]:
    """All kinds, in a fixed order."""
    found = [
        Kind(f"prints: {n}", f"{HEAD}sys.stdout.buffer.write({code})".encode(), True) for n, code in PRINTED.items()
    ]
    found += [Kind(f"program: {name}", f"{HEAD}{SLEEP}{PART}{code}\n".encode(), True) for name, code in DONE.items()]
    found += [Kind(f"file: {name}", content, True, is_run_itself=True) for name, content in FILES.items()]
    body = f"import sys\nfrom mnv2search import Accuracy\n{ODD}\ndef f(spec, seed):\n "
    found += [Kind(f"function: {name}", f"{body}{code}\n".encode(), False) for name, code in CALLED.items()]
    found += [Kind(f"module: {name}", content, False) for name, content in IMPORTED.items()]
    return found


def failures(kind: Kind, *, timeout_s: float = TIMEOUT_S, megabytes: int = MEGABYTES) -> list[str]:
    """The failures of one kind in a forked process: entries of `FAILURES`, each with a detail."""
    with hostile_folder() as folder:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            try:
                os.write(writer, "\n".join(_evaluated(kind, folder, timeout_s, megabytes)).encode() + b"\nend")
            finally:
                os._exit(0)
        os.close(writer)
        told, hangs = _told(reader, timeout_s + END_S)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        left = running_in(folder)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    found = told.removesuffix("end").split("\n")
    ended = [] if told.endswith("end") else ["hang" if hangs else "traceback: the process ended"]
    return [f for f in (*found, *ended, f"left behind: {len(left)}" if left else "") if f]


@contextlib.contextmanager
def hostile_folder() -> Iterator[Path]:
    """A folder that contains only the program `sleeper`."""
    with tempfile.TemporaryDirectory(prefix="hostile-", ignore_cleanup_errors=True) as name:
        (Path(name) / "sleeper").symlink_to("/bin/sleep")
        yield Path(name)


def running_in(folder: Path) -> list[int]:
    """PIDs of processes with the folder in their command line, without zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def _evaluated(kind: Kind, folder: Path, timeout_s: float, megabytes: int) -> list[str]:
    """Failures of an evaluation within this process."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, message = [], ""
    try:
        open_evaluator(kind.evaluator(folder, timeout_s)).evaluate(SPEC, seed=0, report=lambda *_: None)
    except Mnv2SearchError as error:
        message = f"{error} {error.hint}"
    except BaseException as error:  # noqa: BLE001 - counted as a traceback
        found.append(f"traceback: {type(error).__name__}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / KIB
    found += [f"memory: {grown:.0f} MiB"] if grown > megabytes else []
    if escaped(message) != message:
        found.append("control character")
    return found


def _told(reader: int, patience_s: float) -> tuple[str, bool]:
    """The content of a pipe until it is closed, and whether that took too long."""
    ends, told = time.monotonic() + patience_s, b""
    os.set_blocking(reader, False)
    with open(reader, "rb", buffering=0) as pipe:
        while time.monotonic() < ends:
            chunk = pipe.read(1 << 16)
            if chunk == b"":
                return told.decode(), False
            told += chunk or b""
            time.sleep(0.005)
    return told.decode(), True


def main(words: Sequence[str] | None = None) -> int:
    """Print a table of counts; returns 1 if anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--kinds", default="", help="only kinds whose name contains this")
    parser.add_argument("--timeout-s", type=float, default=TIMEOUT_S)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES, help="memory that a process may grow by, in MiB")
    asked = parser.parse_args(words)
    chosen = [kind for kind in kinds() if asked.kinds in kind.name]
    counts: Counter[str] = Counter()
    for kind in chosen:
        for failure in failures(kind, timeout_s=asked.timeout_s, megabytes=asked.megabytes):
            counts[failure.partition(":")[0]] += 1
            print(f"{kind.name}: {failure}")
    print(f"{len(chosen)} kinds of hostile evaluators")
    for failure in FAILURES:
        print(f"  {failure:18} {counts[failure]}")
    return 1 if counts else 0


if __name__ == "__main__":
    sys.exit(main())
