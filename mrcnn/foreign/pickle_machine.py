"""Read pickles without Python's unpickler: the opcodes are carried out here, on stand-ins, and nothing else can be."""

import pickletools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO

from mrcnn.foreign.pickle_names import Known, hashable, known
from mrcnn.foreign.stand_ins import Array, ArrayType, Opaque, RefusedError, Tensor, Unsupported

OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
LATEST = 5  # protocol of pickle
LONGEST_NAME = 1000
MOST_PASSED = 10_000_000  # arguments, and entries of lists among them, of all calls together
# Opcodes that push their argument, a number or a text
VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


def read_pickle(
    file: BinaryIO,
    persistent: Callable[[Any], Any] | None = None,
    functions: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
) -> Any:
    """Return what a pickle holds; arrays, tensors and objects as stand-ins, sets as lists, strings of Python 2 as text.

    Args:
        file: in memory; afterwards it stands behind the pickle.
        persistent: returns what stands for something outside of the pickle, given how the pickle calls it; None: there
            is nothing.
        functions: what stands for more functions than `pickle_names` knows, by their names.

    Raises:
        RefusedError: the pickle would run code.
        ValueError: the pickle is damaged; so are IndexError, KeyError, TypeError and the like.
    """
    return _Machine(file, persistent, functions).run()


class _Machine:
    """The stack and the memo of a pickle that is being read."""

    def __init__(
        self, file: BinaryIO, persistent: Callable[[Any], Any] | None, functions: Mapping[str, Callable[..., Any]]
    ) -> None:
        self.file = file
        self.functions = functions
        self.persistent = persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks below the marks
        self.memo: dict[int, Any] = {}
        self.passed = 0  # to calls

    def run(self) -> Any:
        """Carry out all opcodes up to STOP and return the result."""
        while True:
            code = self.file.read(1)
            if code not in OPCODES:
                raise ValueError(f"its pickle has the byte {code!r} in place of an opcode" if code else "it ends early")
            opcode = OPCODES[code]
            if opcode.name == "STOP":
                return self.stack.pop()
            argument = None
            if opcode.name == "STRING":
                argument = _string(self.file.readline())
            elif opcode.arg is not None:
                argument = opcode.arg.reader(self.file)
            self.carry_out(opcode.name, argument)

    def carry_out(self, name: str, argument: Any) -> None:
        """Carry out one opcode."""
        if name in VALUES:
            self.push(argument)
        elif name in CONSTANTS:
            self.push(CONSTANTS[name])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.push(self.memo[argument])
        elif name in HANDLERS:
            HANDLERS[name](self, argument)
        else:
            raise RefusedError(f"its pickle uses the opcode {name}, which no file of weights does; export it again")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def items(self) -> list[Any]:
        """Return what is on the stack above the last mark, and remove it with the mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def call(self, function: Any, arguments: Any, keywords: Any = None) -> None:
        """Push what stands for the result of a call."""
        if not isinstance(function, Known) or not isinstance(arguments, tuple | list) or keywords:
            raise RefusedError("its pickle calls something that is no function; export the weights again")
        self.passed += len(arguments) + sum(len(item) for item in arguments if isinstance(item, list | tuple))
        if self.passed > MOST_PASSED:
            raise RefusedError("its pickle copies more than any file of weights does; export the weights again")
        try:
            self.push(function.call(*arguments))
        except TypeError as error:
            raise ValueError(f"it calls {function.name} with the wrong arguments") from error

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top of the stack, which may be a set."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise ValueError("its pickle appends to something that is no list")

    def update(self, items: list[Any]) -> None:
        """Set entries of the dictionary on top of the stack."""
        target = self.stack[-1]
        if len(items) % 2 or not isinstance(target, dict | Opaque):
            raise ValueError("its pickle sets entries of something that is no dictionary")
        if isinstance(target, dict):
            target.update(zip(map(hashable, items[::2]), items[1::2], strict=True))

    def build(self, state: Any) -> None:
        """Give the array on top of the stack its state; the state of any other object is ignored."""
        target = self.stack[-1]
        if isinstance(target, Array):
            target.fill(state)
        elif isinstance(target, ArrayType):
            if not isinstance(state, tuple) or len(state) < 2:
                raise ValueError("it has an array type whose state is not one of numpy")
            target.order = state[1]
        elif not isinstance(target, dict | Opaque | Tensor | Unsupported):
            raise RefusedError("its pickle changes something that has no state; export the weights again")

    def mark(self) -> None:
        """Begin a new stack above a mark."""
        self.below.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        """Remove the top of the stack, which may be a mark."""
        if self.stack:
            self.stack.pop()
        else:
            self.items()

    def last(self, count: int) -> tuple[Any, ...]:
        """Remove and return the top of the stack."""
        if len(self.stack) < count:
            raise ValueError("its pickle takes more from the stack than there is")
        taken = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return taken

    def push_known(self, module: Any, name: Any) -> None:
        """Push what stands for a function or class."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("its pickle names a function with something that is no text")
        if len(module) + len(name) > LONGEST_NAME:
            raise ValueError("its pickle names a function with thousands of letters")
        full = f"{module}.{name}"
        self.push(Known(full, self.functions[full]) if full in self.functions else known(module, name))

    def push_persistent(self, named: Any) -> None:
        """Push what stands for something outside of the pickle."""
        if self.persistent is None:
            raise RefusedError("its pickle refers to data outside of it; save the weights with torch.save")
        self.push(self.persistent(named))

    def push_instance(self, module: str, name: str) -> None:
        """Push what stands for an instance of a class; the arguments are above the last mark."""
        arguments = self.items()
        self.push_known(module, name)
        self.call(self.stack.pop(), arguments)


def _string(line: bytes) -> str:
    """Return a string of protocol 0, which is written as a literal of Python 2."""
    text = line.strip()
    if not line.endswith(b"\n") or len(text) < 2 or text[:1] not in (b"'", b'"') or text[-1:] != text[:1]:
        raise ValueError("its pickle has a string without its quotes")
    return text[1:-1].decode("unicode_escape").encode("latin-1").decode("latin-1")


def _class_from_stack(machine: _Machine) -> None:
    function, *arguments = machine.items()
    machine.call(function, arguments)


def _dictionary(machine: _Machine, items: list[Any]) -> None:
    machine.push({})
    machine.update(items)


def _protocol(_: _Machine, number: int) -> None:
    if number > LATEST:
        raise ValueError(f"its pickle has protocol {number}, which does not exist")


# What carries out an opcode, given its argument; results are ignored
HANDLERS: dict[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": _protocol,
    "FRAME": lambda machine, _: None,
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.items(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "MEMOIZE": lambda machine, _: machine.memo.update({len(machine.memo): machine.stack[-1]}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_SET": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "LIST": lambda machine, _: machine.push(machine.items()),
    "FROZENSET": lambda machine, _: machine.push(machine.items()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.items())),
    "TUPLE1": lambda machine, _: machine.push(machine.last(1)),
    "TUPLE2": lambda machine, _: machine.push(machine.last(2)),
    "TUPLE3": lambda machine, _: machine.push(machine.last(3)),
    "DICT": lambda machine, _: _dictionary(machine, machine.items()),
    "APPEND": lambda machine, _: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.items()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.items()),
    "SETITEM": lambda machine, _: machine.update(list(machine.last(2))),
    "SETITEMS": lambda machine, _: machine.update(machine.items()),
    "BUILD": lambda machine, _: machine.build(machine.stack.pop()),
    "GLOBAL": lambda machine, argument: machine.push_known(*argument.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.push_known(*machine.last(2)),
    "REDUCE": lambda machine, _: machine.call(*machine.last(2)),
    "NEWOBJ": lambda machine, _: machine.call(*machine.last(2)),
    "NEWOBJ_EX": lambda machine, _: machine.call(*machine.last(3)),
    "OBJ": lambda machine, _: _class_from_stack(machine),
    "INST": lambda machine, argument: machine.push_instance(*argument.split(" ", 1)),
    "BINPERSID": lambda machine, _: machine.push_persistent(machine.stack.pop()),
    "PERSID": lambda machine, argument: machine.push_persistent(argument),
}
