"""Reads what pickles hold of lists, tuples, dicts, numbers and numpy arrays, and nothing else: no pickle can
run code here.

Python's own unpickler calls whatever a file names. This one is an interpreter of its own for the part of the
pickle language that lists of arrays need, protocols 0 to 5. What a file names is compared with a short list
of numpy's constructors and never imported; each of those is a function below that builds an array from bytes.
There is no recursion, and every step makes at most a small object or a slice of the file, so memory stays
proportional to the file's size whatever it says.
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections.abc import Callable
from typing import Any

from sac_dist.formats.pickled_numpy import ALLOWED, NAMES, Array, DType, Name, Refused, build_array, shortened

DEEPEST = 1000  # levels of marks
LONGEST_NUMBER = 40  # characters of a number written as text


def loads(data: bytes) -> list[Any]:
    """The objects that were pickled one behind the other: lists, tuples, dicts by text, numbers, strings and
    Arrays. Raises Refused, with the reason.
    """
    interpreter = _Interpreter(data)
    found = [interpreter.run()]
    while interpreter.place < len(data):
        found.append(interpreter.run())
    return found


class _Interpreter:
    """Pickle's stack machine: a stack, marks in it, and a memo of what was put aside."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.place = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []  # lengths of the stack
        self.floor = 0  # the last mark: values below it are out of reach
        self.memo: dict[int, Any] = {}
        self.objects = (
            1024 + len(data) // 2
        )  # that may still be made: a byte of the file must not cost a hundred
        self.copies = 1024 + 2 * len(data)  # characters of strings that may still be turned into bytes

    def run(self) -> Any:
        """The next object; what it may cost is what those before it have left."""
        data, table = self.data, TABLE
        self.stack, self.memo = [], {}
        try:
            while True:
                code = data[self.place]
                self.place += 1
                if code == STOP:
                    if len(self.stack) != 1 or self.marks:
                        raise Refused(
                            f"is no pickle: it stops at byte {self.place} with {len(self.stack)} values"
                        )
                    return self.stack[0]
                step = table[code]
                if step is None:
                    name = UNREAD.get(code)
                    raise Refused(
                        f"holds {MEANING.get(name, 'something else')} (pickle's {name}): {ALLOWED}"
                        if name
                        else f"is no pickle: byte {self.place - 1} is no opcode"
                    )
                step(self)
        except (IndexError, struct.error):
            at_end = self.place >= len(data)
            raise Refused(
                "ends in the middle of a pickle: it is cut off"
                if at_end
                else f"is damaged at byte {self.place}"
            ) from None
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            if isinstance(error, Refused):
                raise
            raise Refused(f"is damaged before byte {self.place}") from None

    # What the steps are made of

    def take(self, count: int) -> bytes:
        start = self.place
        self.place = end = start + count
        if count < 0 or end > self.size:
            self.place = self.size
            raise IndexError
        return self.data[start:end]

    def sized(self, form: struct.Struct) -> bytes:
        """The bytes behind their count."""
        return self.take(form.unpack(self.take(form.size))[0])

    def made(self) -> None:
        self.objects -= 1
        if self.objects < 0:
            raise Refused("unfolds into far more objects than demonstrations of its size have")

    def charge(self, values: tuple[Any, ...]) -> None:
        """Each call may copy its strings, and the memo can repeat a call for a few bytes."""
        self.made()
        for value in values:
            if type(value) is str:
                self.copies -= len(value)
        if self.copies < 0:
            raise Refused("unfolds into far more bytes than it has")

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.place)
        if end < 0:
            self.place = len(self.data)
            raise IndexError
        start, self.place = self.place, end + 1
        return self.data[start:end]

    def number(self) -> str:
        text = self.line()
        if len(text) > LONGEST_NUMBER:
            raise Refused(f"holds a number of {len(text)} characters")
        return text.decode("ascii")

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        self.floor = self.marks[-1] if self.marks else 0
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def pop(self) -> Any:
        if len(self.stack) <= self.floor:
            raise ValueError
        return self.stack.pop()

    def name(self, module: str, name: str) -> None:
        known = NAMES.get((module, name))
        if known is None:
            raise Refused(f"names {shortened(f'{module}.{name}')}: {ALLOWED}")
        self.stack.append(known)

    # Steps

    def step_name(self) -> None:
        module = self.line().decode("utf-8", "replace")
        self.name(module, self.line().decode("utf-8", "replace"))

    def step_instance(self) -> None:
        self.step_name()
        raise Refused(f"holds an object of a class (pickle's INST): {ALLOWED}")

    def step_stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise Refused(f"names something without a name: {ALLOWED}")
        self.name(module, name)

    def step_call(self) -> None:
        arguments, name = self.pop(), self.pop()
        if type(name) is not Name or name.build is None or type(arguments) is not tuple:
            raise Refused(f"calls something: {ALLOWED}")
        self.charge(arguments)
        self.stack.append(name.build(*arguments))

    def step_build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if type(state) is not tuple:
            raise Refused(f"sets the state of something: {ALLOWED}")
        self.charge(state)
        if type(target) is Array:
            _, shape, dtype, fortran, data = state
            target.value = build_array(shape, dtype, fortran, data)
        elif type(target) is DType:
            target.set_state(state)
        else:
            raise Refused(f"sets the state of something: {ALLOWED}")

    def step_mark(self) -> None:
        if len(self.marks) > DEEPEST:
            raise Refused(f"nests deeper than {DEEPEST} levels")
        self.floor = len(self.stack)
        self.marks.append(self.floor)

    def step_list(self) -> None:
        self.made()
        self.stack.append(self.since_mark())

    def step_empty_list(self) -> None:
        self.made()
        self.stack.append([])

    def step_append(self) -> None:
        value = self.pop()
        self.top_list().append(value)

    def step_appends(self) -> None:
        values = self.since_mark()
        self.top_list().extend(values)

    def top_list(self) -> list[Any]:
        if len(self.stack) <= self.floor or type(self.stack[-1]) is not list:
            raise ValueError
        found: list[Any] = self.stack[-1]
        return found

    def step_dict(self) -> None:
        values = self.since_mark()
        self.made()
        self.stack.append({})
        self.set_items(values)

    def step_empty_dict(self) -> None:
        self.made()
        self.stack.append({})

    def step_set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def step_set_items(self) -> None:
        self.set_items(self.since_mark())

    def set_items(self, values: list[Any]) -> None:
        """Keys are texts alone: hashing or comparing others can take as long as a file likes."""
        if len(self.stack) <= self.floor or type(self.stack[-1]) is not dict or len(values) % 2:
            raise ValueError
        for key, value in zip(values[::2], values[1::2], strict=True):
            text = key.decode("latin-1") if type(key) is bytes else key
            if type(text) is not str:
                raise Refused("holds a dict whose keys are not all names: only texts are read as keys")
            self.charge((text,))
            self.stack[-1][text] = value

    def step_tuple(self) -> None:
        self.made()
        self.stack.append(tuple(self.since_mark()))

    def short_tuple(self, count: int) -> None:
        start = len(self.stack) - count
        if start < self.floor:
            raise ValueError
        self.made()
        self.stack[start:] = (tuple(self.stack[start:]),)

    def step_integer(self) -> None:
        text = self.number()
        self.stack.append(
            bool(int(text)) if text in ("00", "01") else int(text)
        )  # protocols 0 and 1 write bools so

    def long(self, data: bytes) -> None:
        if len(data) > LONGEST_NUMBER:
            raise Refused(f"holds a whole number of {len(data)} bytes")
        self.stack.append(int.from_bytes(data, "little", signed=True))

    def step_quoted(self) -> None:
        text = self.line()
        if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
            raise ValueError
        self.stack.append(codecs.escape_decode(text[1:-1])[0])

    def step_pop(self) -> None:
        if len(self.stack) > self.floor:
            self.stack.pop()
        else:
            self.since_mark()

    def step_pop_mark(self) -> None:
        self.since_mark()

    def step_frame(self) -> None:
        self.take(8)

    def step_protocol(self) -> None:
        if self.take(1)[0] > 5:
            raise Refused("is no pickle of the protocols 0 to 5")

    def keep(self, index: int) -> None:
        self.objects -= 1
        if self.objects < 0 or len(self.stack) <= self.floor:
            self.made()
            raise ValueError
        self.memo[index] = self.stack[-1]

    def keep_next(self) -> None:
        self.keep(len(self.memo))

    def keep_byte(self) -> None:
        self.keep(self.data[self.place])
        self.place += 1

    def push_byte(self) -> None:
        self.stack.append(self.data[self.place])
        self.place += 1

    def recall_byte(self) -> None:
        self.stack.append(self.memo[self.data[self.place]])
        self.place += 1


BYTE, TWO, FOUR, EIGHT, SIGNED, REAL = (struct.Struct(form) for form in ("<B", "<H", "<I", "<Q", "<i", ">d"))
STOP = pickle.STOP[0]


Step = Callable[[_Interpreter], None]


def _push(read: Callable[[_Interpreter], Any]) -> Step:
    return lambda it: it.stack.append(read(it))


def _number(form: struct.Struct) -> Callable[[_Interpreter], Any]:
    return lambda it: form.unpack(it.take(form.size))[0]


def _text(form: struct.Struct) -> Step:
    return _push(lambda it: it.sized(form).decode("utf-8", "surrogatepass"))


def _keep(index: Callable[[_Interpreter], int]) -> Step:
    return lambda it: it.keep(index(it))


def _recall(index: Callable[[_Interpreter], int]) -> Step:
    return lambda it: it.stack.append(it.memo[index(it)])


# Python 2's strings are left as bytes: that is what an array's data are in its pickles.
STEPS: dict[bytes, Step] = {
    pickle.PROTO: _Interpreter.step_protocol,
    pickle.FRAME: _Interpreter.step_frame,
    pickle.MARK: _Interpreter.step_mark,
    pickle.POP: _Interpreter.step_pop,
    pickle.POP_MARK: _Interpreter.step_pop_mark,
    pickle.NONE: _push(lambda it: None),
    pickle.NEWTRUE: _push(lambda it: True),
    pickle.NEWFALSE: _push(lambda it: False),
    pickle.INT: _Interpreter.step_integer,
    pickle.BININT: _push(_number(SIGNED)),
    pickle.BININT1: _Interpreter.push_byte,
    pickle.BININT2: _push(_number(TWO)),
    pickle.LONG: _push(lambda it: int(it.number().rstrip("L"))),
    pickle.LONG1: lambda it: it.long(it.sized(BYTE)),
    pickle.LONG4: lambda it: it.long(it.sized(SIGNED)),
    pickle.FLOAT: _push(lambda it: float(it.number())),
    pickle.BINFLOAT: _push(_number(REAL)),
    pickle.STRING: _Interpreter.step_quoted,
    pickle.BINSTRING: _push(lambda it: it.sized(SIGNED)),
    pickle.SHORT_BINSTRING: _push(lambda it: it.sized(BYTE)),
    pickle.SHORT_BINBYTES: _push(lambda it: it.sized(BYTE)),
    pickle.BINBYTES: _push(lambda it: it.sized(FOUR)),
    pickle.BINBYTES8: _push(lambda it: it.sized(EIGHT)),
    pickle.BYTEARRAY8: _push(lambda it: it.sized(EIGHT)),
    pickle.UNICODE: _push(lambda it: it.line().decode("raw-unicode-escape")),
    pickle.SHORT_BINUNICODE: _text(BYTE),
    pickle.BINUNICODE: _text(FOUR),
    pickle.BINUNICODE8: _text(EIGHT),
    pickle.LIST: _Interpreter.step_list,
    pickle.EMPTY_LIST: _Interpreter.step_empty_list,
    pickle.APPEND: _Interpreter.step_append,
    pickle.APPENDS: _Interpreter.step_appends,
    pickle.DICT: _Interpreter.step_dict,
    pickle.EMPTY_DICT: _Interpreter.step_empty_dict,
    pickle.SETITEM: _Interpreter.step_set_item,
    pickle.SETITEMS: _Interpreter.step_set_items,
    pickle.TUPLE: _Interpreter.step_tuple,
    pickle.EMPTY_TUPLE: _push(lambda it: ()),
    pickle.TUPLE1: lambda it: it.short_tuple(1),
    pickle.TUPLE2: lambda it: it.short_tuple(2),
    pickle.TUPLE3: lambda it: it.short_tuple(3),
    pickle.GLOBAL: _Interpreter.step_name,
    pickle.INST: _Interpreter.step_instance,
    pickle.STACK_GLOBAL: _Interpreter.step_stack_name,
    pickle.REDUCE: _Interpreter.step_call,
    pickle.BUILD: _Interpreter.step_build,
    pickle.PUT: _keep(lambda it: int(it.number())),
    pickle.BINPUT: _Interpreter.keep_byte,
    pickle.LONG_BINPUT: _keep(_number(FOUR)),
    pickle.MEMOIZE: _Interpreter.keep_next,
    pickle.GET: _recall(lambda it: int(it.number())),
    pickle.BINGET: _Interpreter.recall_byte,
    pickle.LONG_BINGET: _recall(_number(FOUR)),
}
TABLE = [STEPS.get(bytes([code])) for code in range(256)]
# What Python's unpickler knows and this one does not, for the message
UNREAD = {
    code[0]: name
    for name, code in vars(pickle).items()
    if name.isupper() and isinstance(code, bytes) and len(code) == 1 and code not in STEPS
}
_OBJECT, _SET, _OUTSIDE = "an object of a class", "a set", "something that lies outside the file"
MEANING: dict[str | None, str] = {
    **dict.fromkeys(("OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"), _OBJECT),
    **dict.fromkeys(("EMPTY_SET", "ADDITEMS", "FROZENSET"), _SET),
    **dict.fromkeys(("PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"), _OUTSIDE),
}
