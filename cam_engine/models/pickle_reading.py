"""A pickle read without running it: its opcodes are followed, and what they would call is noted.

Nothing is imported, called or hashed. So a few bytes that would cost an unpickler hours or all
memory are found first: an object that refers to another twice, which does so too, and so on, is
small to write and huge to hash, compare or print.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

MOST_OPCODES = 2_000_000
MOST_BYTES = 1 << 26
MOST_WORK = 20_000_000
LARGEST_OBJECT = 2_000_000
DEEPEST = 100
_CHARACTERS_A_STEP = 64  # of text; a step of work is about what one small object costs
_WIDEST_INTEGER = 1 << 63  # wider ones can be chosen to have one hash, which makes dicts slow
TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # with which files of torch's older format begin

# Names that a file may hold without being a program.
HARMLESS = re.compile(
    r"torch\.(\w*Storage|Size|Tensor|device|bool|[a-z]+\d\w*|per_\w+)|torch\._utils\._rebuild\w+|torch\.(_tensor|nn\.parameter|serialization)\.\w+"
    r"|torch\.storage\.(Untyped|Typed)Storage|collections\.(OrderedDict|Counter)|_codecs\.encode"
    r"|(builtins|__builtin__)\.(bytearray|set|complex)"
    r"|numpy\.(dtype|ndarray)|numpy\.(_core|core)\.multiarray\.(scalar|_reconstruct)"
    r"|argparse\.Namespace|pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path"
)

Value = object  # None, bool, int, float, str, bytes, or one of the nodes below


class PickleRefused(ValueError):
    """A pickle that costs too much, or that no pickler writes."""


class PickleForeign(ValueError):
    """A pickle with an opcode that is not read here, and not by torch either."""


@dataclass(eq=False, slots=True)
class Node:
    """An object with others in it.

    size: it and all in it, counted as often as they are referred to. used: it is in another one
    already, so that it may not grow any more.
    """

    size: int = 1
    depth: int = 1
    used: bool = False

    def hold(self, value: Value) -> None:
        """Count a value that comes into it. Raises PickleRefused."""
        if self.used:
            raise PickleRefused("an object in it changes after it was put into another one")
        size, depth = _extent(value)
        self.size += size
        self.depth = max(self.depth, depth + 1)
        if self.size > LARGEST_OBJECT or self.depth > DEEPEST:
            raise PickleRefused("objects in it are too large or too deeply nested")
        if isinstance(value, Node):
            value.used = True


@dataclass(eq=False, slots=True)
class Items(Node):
    """A list or a tuple."""

    values: list[Value] = field(default_factory=list)
    is_tuple: bool = False


@dataclass(eq=False, slots=True)
class Pairs(Node):
    """A dict."""

    pairs: list[tuple[Value, Value]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Global(Node):
    """What a pickle names: "module.name"."""

    name: str = ""


@dataclass(eq=False, slots=True)
class Call(Node):
    """What a call would have made; state: what it would be given then; pairs: entries set in it."""

    name: str = ""
    arguments: tuple[Value, ...] = ()
    state: Value = None
    pairs: list[tuple[Value, Value]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Stored(Node):
    """A tensor's storage: "torch.FloatStorage", its key in the file, and its elements."""

    kind: str = ""
    key: str = ""
    elements: int = 0


def read_pickle(stream: IO[bytes], stored: dict[str, Stored] | None = None) -> Value:
    """The pickle that begins here, up to its STOP.

    stored: is given the storages that it refers to, by their keys. Raises PickleRefused,
    PickleForeign, or what damaged bytes raise in `pickletools`.
    """
    machine = _Machine()
    value = machine.run(stream)
    if stored is not None:
        stored.update(machine.stored)
    return value


def key_is_plain(key: Value) -> bool:
    """Whether it may be hashed: text and numbers; not what could be chosen to hash slowly."""
    if isinstance(key, Call):
        return key.name.endswith(".multiarray.scalar") or key.name.startswith("pathlib.")
    return not isinstance(key, Node)


def _extent(value: Value) -> tuple[int, int]:
    """(size, depth)."""
    if isinstance(value, Node):
        return value.size, value.depth
    if isinstance(value, str | bytes):
        return 1 + len(value) // _CHARACTERS_A_STEP, 0
    return 1, 0


_CONSTANTS: dict[str, Value] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_ARGUMENTS = frozenset(
    {"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1"}
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PLAIN_ENCODINGS = frozenset({"latin1", "latin-1", "ascii", "utf-8", "utf8"})


class _Machine:
    """The stack, the marks and the memo of an unpickler."""

    def __init__(self) -> None:
        self._stack: list[Value] = []
        self._marks: list[list[Value]] = []
        self._memo: dict[int, Value] = {}
        self._work = 0
        self.stored: dict[str, Stored] = {}

    def run(self, stream: IO[bytes]) -> Value:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
            if count > MOST_OPCODES or (position or 0) > MOST_BYTES:
                raise PickleRefused("it has too many steps")
            if opcode.name == "STOP":
                return self._pop()
            self._step(opcode.name, argument)
        raise PickleRefused("it does not end")

    def _step(self, name: str, argument: object) -> None:
        if name in _ARGUMENTS:
            self.push(_checked(argument))
        elif name in {"BINGET", "LONG_BINGET"}:
            self.push(self._memo[int(str(argument))])
        elif name in {"BINPUT", "LONG_BINPUT"}:
            self._memo[int(str(argument))] = self._stack[-1]
        elif name in _CONSTANTS:
            self.push(_CONSTANTS[name])
        elif name in _TUPLES:
            self.push(_items([self._pop() for _ in range(_TUPLES[name])][::-1], is_tuple=True))
        elif name == "GLOBAL":
            named = str(argument).replace(" ", ".", 1)
            if not HARMLESS.fullmatch(named):
                raise PickleForeign(named[:200])
            self.push(Global(name=named))
        else:
            act = _ACTS.get(name)
            if act is None:
                raise PickleForeign(f"opcode {name}")
            act(self)

    def push(self, value: Value) -> None:
        """A value onto the stack."""
        self._spend(_extent(value)[0])
        self._stack.append(value)

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > MOST_WORK:
            raise PickleRefused("it would take too long to read")

    def _pop(self) -> Value:
        if not self._stack:
            raise PickleRefused("its stack is empty")
        return self._stack.pop()

    def _top(self) -> Value:
        if not self._stack:
            raise PickleRefused("its stack is empty")
        return self._stack[-1]

    def append(self) -> None:
        """One value to a list."""
        self._append([self._pop()])

    def appends(self) -> None:
        """Values since the mark to a list."""
        self._append(self._since_mark())

    def set_item(self) -> None:
        """One entry into a dict."""
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def set_items(self) -> None:
        """Entries since the mark into a dict."""
        self._set(self._since_mark())

    def tuple_since_mark(self) -> None:
        """Values since the mark as a tuple."""
        self.push(_items(self._since_mark(), is_tuple=True))

    def mark(self) -> None:
        """What comes now is put together later."""
        self._marks.append(self._stack)
        self._stack = []
        if len(self._marks) > DEEPEST:
            raise PickleRefused("objects in it are too deeply nested")

    def _since_mark(self) -> list[Value]:
        if not self._marks:
            raise PickleRefused("it has no mark")
        values, self._stack = self._stack, self._marks.pop()
        return values

    def _append(self, values: list[Value]) -> None:
        target = self._top()
        if not isinstance(target, Items) or target.is_tuple:
            raise PickleRefused("it appends to what is no list")
        for value in values:
            target.hold(value)
            target.values.append(value)
            self._spend(_extent(value)[0])

    def _set(self, values: list[Value]) -> None:
        target = self._top()
        if not isinstance(target, Pairs | Call) or len(values) % 2:
            raise PickleRefused("it sets entries of what is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not key_is_plain(key):
                raise PickleRefused("a key of a dict in it is neither text nor a number")
            target.hold(key)
            target.hold(value)
            target.pairs.append((key, value))
            self._spend(_extent(key)[0] + _extent(value)[0])

    def call(self) -> None:
        """Note what would be called."""
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Global) or not isinstance(arguments, Items):
            raise PickleRefused("it calls what has no name")
        call = Call(name=function.name, arguments=tuple(arguments.values))
        call.hold(arguments)
        _check_call(call)
        self.push(call)

    def build(self) -> None:
        """Note what state an object would be given."""
        state, target = self._pop(), self._top()
        if not isinstance(target, Call):
            raise PickleRefused("it gives a state to what it did not make")
        target.hold(state)
        target.state = state
        self._spend(_extent(state)[0])

    def persistent(self) -> None:
        """Note a tensor's storage."""
        match self._pop():
            case Items(values=["storage", Global(name=kind), str(key), _, int(elements), *_]):
                self.stored[key] = Stored(kind=kind, key=key, elements=elements)
                self.push(self.stored[key])
            case _:
                raise PickleRefused("it refers to something outside that is no storage")


_ACTS: dict[str, Callable[[_Machine], None]] = {
    "PROTO": lambda _machine: None,
    "EMPTY_TUPLE": lambda machine: machine.push(Items(is_tuple=True)),
    "EMPTY_LIST": lambda machine: machine.push(Items()),
    "EMPTY_DICT": lambda machine: machine.push(Pairs()),
    "EMPTY_SET": lambda machine: machine.push(Call(name="builtins.set")),
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple_since_mark,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}


def _items(values: list[Value], *, is_tuple: bool) -> Items:
    node = Items(is_tuple=is_tuple)
    for value in values:
        node.hold(value)
        node.values.append(value)
    return node


def _checked(argument: object) -> Value:
    wide = isinstance(argument, int) and not -_WIDEST_INTEGER <= argument < 2 * _WIDEST_INTEGER
    if wide and argument != TORCH_MAGIC:
        raise PickleRefused("an integer in it has more than 64 bits")
    return argument


def _check_call(call: Call) -> None:
    """What costs more than its arguments are large. Raises PickleRefused."""
    name, arguments = call.name.replace("__builtin__", "builtins"), call.arguments
    if name == "builtins.bytearray" and arguments and isinstance(arguments[0], int):
        raise PickleRefused("it would take memory that it does not fill")
    if name == "_codecs.encode" and not set(arguments[1:]) <= _PLAIN_ENCODINGS:
        raise PickleRefused("text in it has an encoding that is not plain")
    if name in {"builtins.set", "collections.Counter", "collections.OrderedDict"}:
        for argument in arguments:
            if not all(map(key_is_plain, _hashed(argument))):
                raise PickleRefused("an element of a set in it is neither text nor a number")


def _hashed(argument: Value) -> Iterator[Value]:
    """What a set, or a dict made of pairs, would hash of its argument."""
    if isinstance(argument, Pairs):
        yield from (key for key, _ in argument.pairs)
    elif isinstance(argument, Items):
        for value in argument.values:
            yield value.values[0] if isinstance(value, Items) and value.values else value
    else:
        yield argument
