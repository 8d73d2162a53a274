"""A restricted pickle reader for plain data and tensors, which imports and calls nothing that a pickle names.

A pickle is a program for a stack machine. This machine executes the instructions that create numbers, text, lists,
tuples, dicts and sets. It never looks up the classes and functions that a pickle names; it recognises the few names
whose call creates a tensor or a dict, and refuses every other call.

Source: Python, Lib/pickletools.py; torch 2.13, _weights_only_unpickler.py and _utils.py.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from torch import Tensor

from mnv2search.model.weights.stored_tensor import UnreadTensor, strided_tensor
from mnv2search.untrusted import UnsafeFileError

T = TypeVar("T")
LoadStorage = Callable[[object], Tensor]
"""Loads the storage of a torch persistent id, as a tensor with one axis."""

LITERALS = frozenset(
    {
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING"),
    }
)
MADE: Mapping[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": set,
}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# Instruction -> the container that it fills, and the number of values (None: all above the mark).
FILLED: Mapping[str, tuple[type, int | None]] = {
    "SETITEM": (dict, 2),
    "SETITEMS": (dict, None),
    "APPEND": (list, 1),
    "APPENDS": (list, None),
    "ADDITEMS": (set, None),
}
WITHOUT_EFFECT = frozenset({"PROTO", "FRAME", "STOP"})
UNREAD_TENSORS = {
    "torch._utils._rebuild_qtensor": "quantized",
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_sparse_csr_tensor": "sparse",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_meta_tensor_no_storage": "without values (meta)",
    "torch._utils._rebuild_device_tensor_from_numpy": "of another device",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "of another device",
    "torch._utils._rebuild_wrapper_subclass": "of a subclass",
    "torch._tensor._rebuild_from_type_v2": "of a subclass",
}


@dataclass(frozen=True, slots=True)
class GlobalName:
    """A class or function named in a pickle; never looked up."""

    name: str


def read_pickle(file: BinaryIO, load_storage: LoadStorage | None = None) -> object:
    """The value of the pickle at the current position of a file, which is then just after the pickle.

    The length of the file bounds time and memory. Persistent ids are refused without a `load_storage` for them.

    Raises:
        UnsafeFileError: the file is not a pickle, is damaged, or contains more than data and tensors.
    """
    machine = _Machine(load_storage)
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except UnsafeFileError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        # instructions that do not match the stack, or data that cannot be decoded
        raise UnsafeFileError(f"it is cut off or damaged ({type(error).__name__})") from None


class _Machine:
    """The stack and the memo of a pickle; a mark saves the current stack and starts a new one."""

    def __init__(self, load_storage: LoadStorage | None) -> None:
        self.stack: list[object] = []
        self._below: list[list[object]] = []
        self._memo: dict[object, object] = {}
        self._load_storage = load_storage

    def step(self, name: str, argument: object) -> None:
        if name in LITERALS:
            self.stack.append(argument)
        elif name in MADE:
            self.stack.append(MADE[name]())
        elif name in TUPLES:
            self.stack.append(self._popped(TUPLES[name]))
        elif name == "MARK":
            self._below.append(self.stack)
            self.stack = []
        elif name == "TUPLE":
            items = self._popped_to_mark()
            self.stack.append(tuple(items))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self._memo[argument])
        elif name in FILLED:
            self._fill(*FILLED[name])
        elif name not in WITHOUT_EFFECT:
            self._name_or_call(name, argument)

    def _fill(self, kind: type, count: int | None) -> None:
        items = self._popped_to_mark() if count is None else self._popped(count)
        container: object = _of_type(self.stack[-1], kind)
        if isinstance(container, dict):
            container.update(_dict(zip(items[::2], items[1::2], strict=True)))
        elif isinstance(container, list):
            container.extend(items)
        elif isinstance(container, set):
            container.update(_dict((item, None) for item in items))

    def _name_or_call(self, name: str, argument: object) -> None:
        """Execute an instruction that names a class or function, or calls one."""
        if name == "GLOBAL":
            self.stack.append(GlobalName(_of_type(argument, str).replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            self.stack.append(GlobalName(".".join(_of_type(part, str) for part in self._popped(2))))
        elif name == "BINPERSID" and self._load_storage is not None:
            self.stack.append(self._load_storage(self.stack.pop()))
        elif name == "REDUCE":
            function, arguments = self._popped(2)
            self.stack.append(_called(function, _of_type(arguments, tuple)))
        elif name == "BUILD":  # such as the layer versions, which torch stores as an attribute of a state dict
            self._popped(1)
            if not isinstance(self.stack[-1], dict | Tensor | UnreadTensor):
                raise _refused(self.stack[-1])
        else:
            raise _refused(self.stack[-2] if name == "NEWOBJ" else GlobalName(name))

    def _popped(self, count: int) -> tuple[object, ...]:
        at = len(self.stack) - count
        if at < 0:
            raise IndexError
        taken = tuple(self.stack[at:])
        del self.stack[at:]
        return taken

    def _popped_to_mark(self) -> list[object]:
        taken, self.stack = self.stack, self._below.pop()
        return taken


def _of_type(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _dict(pairs: Iterable[tuple[object, object]]) -> dict[object, object]:
    """A dict with plain keys only, because hashing deeply nested tuples has no recursion limit."""
    found: dict[object, object] = {}
    for key, value in pairs:
        if not isinstance(key, str | int | float | bytes | GlobalName | None):
            raise TypeError
        found[key] = value
    return found


def _called(function: object, arguments: tuple[object, ...]) -> object:
    """The result of a recognised call, which creates a tensor or plain data."""
    name = function.name if isinstance(function, GlobalName) else ""
    if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
        storage, offset, sizes, strides, *_ = arguments
        return strided_tensor(storage, sizes, strides, offset)
    if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
        return arguments[0]
    if name in UNREAD_TENSORS:
        return UnreadTensor(UNREAD_TENSORS[name])
    if name in ("collections.OrderedDict", "collections.Counter"):
        given = arguments[0] if arguments else {}
        return _dict(given.items() if isinstance(given, dict) else _of_type(given, list))
    if name == "_codecs.encode":  # bytes, before protocol 3
        return _of_type(arguments[0], str).encode("latin-1")
    if name in ("torch.Size", "torch.device", "torch.serialization._get_layout"):
        return arguments
    raise _refused(function)


def _refused(value: object) -> UnsafeFileError:
    what = value.name[:100] if isinstance(value, GlobalName) else type(value).__name__
    return UnsafeFileError(f"it holds objects that cannot be read without running code ({what})")
