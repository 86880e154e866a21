"""A pickle read without running it: its opcodes are followed, and what they would call is noted.

Nothing is imported, called, hashed or compared. Whatever a file names becomes an inert record of
its name, its arguments and its state, so that no file can run anything, and what a record means
is decided by who reads it. All opcodes of protocols 0 to 5 are followed
(https://docs.python.org/3/library/pickletools.html), but for those of a registry or of buffers that
a file does not bring with it.

Reading takes time and memory in proportion to the pickle's opcodes, of which there are at most
`MOST_OPCODES`. Values may refer to each other in any way, also in circles: who walks over them has
to count its steps.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

MOST_OPCODES = 2_000_000
MOST_BYTES = 1 << 26
_MOST_MARKS = 1000
TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # with which files of torch's older format begin

# No training script leaves a call of one of these: a file that does attacks those who unpickle it.
_ATTACKS = re.compile(
    r"(os|posix|nt|subprocess|sys|socket|shutil|pty|ctypes|runpy|code|importlib|webbrowser|"
    r"multiprocessing|platform|asyncio|commands|pdb|bdb|timeit|_posixsubprocess)(\.\w+)*\.\w+"
    r"|(builtins|__builtin__)\.(eval|exec|execfile|compile|open|__import__|input|breakpoint)"
    r"|(io|_io|pathlib)\.open\w*|torch\.hub\.\w+|(cloudpickle|dill)\.\w+\.loads"
)

Value = object  # None, bool, int, float, str, bytes, or one of the nodes below


class PickleRefused(ValueError):
    """A pickle that costs too much, or that no pickler writes."""


@dataclass(eq=False, slots=True)
class Node:
    """An object with others in it."""


@dataclass(eq=False, slots=True)
class Items(Node):
    """A list, a tuple, a set or a frozenset; is_set: of the last two, which have no order."""

    values: list[Value] = field(default_factory=list)
    is_tuple: bool = False
    is_set: bool = False


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
    """What a call would have made.

    name: of what is called, "" for what has none (the result of another call). state: what it would
    be given then. items, pairs: what would be appended to it, and set in it.
    """

    name: str = ""
    arguments: tuple[Value, ...] = ()
    state: Value = None
    items: list[Value] = field(default_factory=list)
    pairs: list[tuple[Value, Value]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Stored(Node):
    """A tensor's storage: "torch.FloatStorage", its key in the file, and its elements."""

    kind: str = ""
    key: str = ""
    elements: int = 0


@dataclass(eq=False, slots=True)
class Read:
    """A pickle's value, the storages that it refers to by their keys, and all that it names."""

    value: Value
    stored: dict[str, Stored]
    names: frozenset[str]

    @property
    def attacks(self) -> list[str]:
        """The names that no honest file has, in the order of the alphabet."""
        return sorted(name[:200] for name in self.names if _ATTACKS.fullmatch(name))


def read_pickle(stream: IO[bytes]) -> Read:
    """The pickle that begins here, up to its STOP.

    Raises PickleRefused, or what damaged bytes raise in `pickletools`.
    """
    machine = _Machine()
    value = machine.read(stream)
    return Read(value, machine.stored, frozenset(machine.names))


_CONSTANTS: dict[str, Value] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_ARGUMENTS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NAMES = frozenset({"copyreg._reconstructor", "copy_reg._reconstructor"})
_NEW = frozenset({"copyreg.__newobj__", "copyreg.__newobj_ex__"})


class _Machine:
    """The stack, the marks and the memo of an unpickler."""

    def __init__(self) -> None:
        self._stack: list[Value] = []
        self._marks: list[list[Value]] = []
        self._memo: dict[int, Value] = {}
        self.stored: dict[str, Stored] = {}
        self.names: set[str] = set()

    def read(self, stream: IO[bytes]) -> Value:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
            if count > MOST_OPCODES or (position or 0) > MOST_BYTES:
                raise PickleRefused("it has too many steps")
            if opcode.name == "STOP":
                return self._pop()
            self._step(opcode.name, argument)
        raise PickleRefused("it does not end")

    def _step(self, name: str, argument: object) -> None:
        if name in _ARGUMENTS:
            self.push(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif name in {"BINGET", "LONG_BINGET", "GET"}:
            self.push(self._memo[int(str(argument))])
        elif name in {"BINPUT", "LONG_BINPUT", "PUT"}:
            self._memo[int(str(argument))] = self._top()
        elif name in _CONSTANTS:
            self.push(_CONSTANTS[name])
        elif name in _TUPLES:
            values = [self._pop() for _ in range(_TUPLES[name])][::-1]
            self.push(Items(values, is_tuple=True))
        elif name == "GLOBAL":
            self.push(self._named(str(argument).replace(" ", ".", 1)))
        elif name == "INST":
            named = self._named(str(argument).replace(" ", ".", 1))
            self.push(Call(named.name, tuple(self._since_mark())))
        else:
            act = _ACTS.get(name)
            if act is None:
                raise PickleRefused(f"opcode {name} refers to something that it does not hold")
            act(self)

    def push(self, value: Value) -> None:
        """A value onto the stack."""
        self._stack.append(value)

    def _named(self, name: str) -> Global:
        self.names.add(name)
        return Global(name)

    def _pop(self) -> Value:
        if not self._stack:
            raise PickleRefused("its stack is empty")
        return self._stack.pop()

    def _top(self) -> Value:
        if not self._stack:
            raise PickleRefused("its stack is empty")
        return self._stack[-1]

    def pop(self) -> None:
        """Forget the topmost value, or the mark that is there in its place."""
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def duplicate(self) -> None:
        """The topmost value once more."""
        self.push(self._top())

    def memoize(self) -> None:
        """Keep the topmost value under the next number."""
        self._memo[len(self._memo)] = self._top()

    def named(self) -> None:
        """A name of a module and one in it."""
        name, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleRefused("it names what is no text")
        self.push(self._named(f"{module}.{name}"))

    def append(self) -> None:
        """One value to a list."""
        value = self._pop()
        self._append([value])

    def appends(self) -> None:
        """Values since the mark to a list or a set."""
        self._append(self._since_mark())

    def set_item(self) -> None:
        """One entry into a dict."""
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def set_items(self) -> None:
        """Entries since the mark into a dict."""
        self._set(self._since_mark())

    def values_since_mark(self) -> None:
        """Values since the mark as a list."""
        self.push(Items(self._since_mark()))

    def set_since_mark(self) -> None:
        """Values since the mark as a set."""
        self.push(Items(self._since_mark(), is_set=True))

    def tuple_since_mark(self) -> None:
        """Values since the mark as a tuple."""
        self.push(Items(self._since_mark(), is_tuple=True))

    def dict_since_mark(self) -> None:
        """Entries since the mark as a dict."""
        values = self._since_mark()
        self.push(Pairs())
        self._set(values)

    def mark(self) -> None:
        """What comes now is put together later."""
        self._marks.append(self._stack)
        self._stack = []
        if len(self._marks) > _MOST_MARKS:
            raise PickleRefused("objects in it are too deeply nested")

    def since_mark_forgotten(self) -> None:
        """Forget what came since the mark."""
        self._since_mark()

    def _since_mark(self) -> list[Value]:
        if not self._marks:
            raise PickleRefused("it has no mark")
        values, self._stack = self._stack, self._marks.pop()
        return values

    def _append(self, values: list[Value]) -> None:
        match self._top():
            case Items(is_tuple=False) as target:
                target.values += values
            case Call() as target:
                target.items += values
            case _:
                raise PickleRefused("it appends to what is no list")

    def _set(self, values: list[Value]) -> None:
        target = self._top()
        if not isinstance(target, Pairs | Call) or len(values) % 2:
            raise PickleRefused("it sets entries of what is no dict")
        target.pairs += zip(values[::2], values[1::2], strict=True)

    def call(self) -> None:
        """Note what would be called."""
        arguments, function = self._pop(), self._pop()
        if not isinstance(arguments, Items):
            raise PickleRefused("it calls something with what are no arguments")
        self.push(_call(function, arguments.values))

    def call_with_names(self) -> None:
        """Note what would be made with arguments by position and by name."""
        by_name, arguments, function = self._pop(), self._pop(), self._pop()
        if not isinstance(arguments, Items) or not isinstance(by_name, Pairs):
            raise PickleRefused("it calls something with what are no arguments")
        made = _call(function, arguments.values)
        made.pairs += by_name.pairs
        self.push(made)

    def call_since_mark(self) -> None:
        """Note what would be made of the first value since the mark, with the others."""
        values = self._since_mark()
        if not values:
            raise PickleRefused("it calls nothing")
        self.push(_call(values[0], values[1:]))

    def build(self) -> None:
        """Note what state an object would be given."""
        state, target = self._pop(), self._top()
        if isinstance(target, Call):
            target.state = state
        elif not isinstance(target, Node):
            raise PickleRefused("it gives a state to what it did not make")

    def persistent(self) -> None:
        """Note a tensor's storage, or a class of modules."""
        match self._pop():
            case Items(
                values=["storage", Global(name=kind), str(key), _, int(elements)]
                | ["storage", Global(name=kind), str(key), _, int(elements), None]
            ):
                self.stored[key] = Stored(kind, key, elements)
                self.push(self.stored[key])
            case Items(values=["module", Global() as named, *_]):  # with its source, in old files
                self.push(named)
            case _:
                raise PickleRefused("it refers to something outside that is no storage")


def _call(function: Value, arguments: list[Value]) -> Call:
    name = function.name if isinstance(function, Global) else ""
    if name in _NAMES | _NEW and arguments and isinstance(arguments[0], Global):
        # How older protocols write "an object of that class": its state comes later.
        return Call(arguments[0].name, tuple(arguments[1:]) if name in _NEW else ())
    return Call(name, tuple(arguments))


def _nothing(_machine: _Machine) -> None:
    return


_ACTS: dict[str, Callable[[_Machine], None]] = {
    "PROTO": _nothing,
    "FRAME": _nothing,
    "EMPTY_TUPLE": lambda machine: machine.push(Items(is_tuple=True)),
    "EMPTY_LIST": lambda machine: machine.push(Items()),
    "EMPTY_DICT": lambda machine: machine.push(Pairs()),
    "EMPTY_SET": lambda machine: machine.push(Items(is_set=True)),
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.since_mark_forgotten,
    "DUP": _Machine.duplicate,
    "MEMOIZE": _Machine.memoize,
    "STACK_GLOBAL": _Machine.named,
    "TUPLE": _Machine.tuple_since_mark,
    "LIST": _Machine.values_since_mark,
    "FROZENSET": _Machine.set_since_mark,
    "DICT": _Machine.dict_since_mark,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "ADDITEMS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_names,
    "OBJ": _Machine.call_since_mark,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
