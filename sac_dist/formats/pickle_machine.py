"""Pickle's stack machine for lists, tuples, dicts, numbers and numpy's arrays; pickle_reader.py says what its
opcodes do.
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections.abc import Callable, Sequence
from typing import Any

from sac_dist.formats.pickled_numpy import ALLOWED, NAMES, Array, DType, Name, Refused, build_array, shortened

DEEPEST = 1000  # levels of marks
LONGEST_NUMBER = 40  # characters of a number written as text
STOP = pickle.STOP[0]

# What Python's unpickler knows and this one does not, for the message
OPCODES = {
    code[0]: name
    for name, code in vars(pickle).items()
    if name.isupper() and isinstance(code, bytes) and len(code) == 1
}
MEANING = {
    **dict.fromkeys(("OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"), "an object of a class"),
    **dict.fromkeys(("EMPTY_SET", "ADDITEMS", "FROZENSET"), "a set"),
    **dict.fromkeys(
        ("PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"), "something that lies outside the file"
    ),
}


def _refusal(code: int, place: int) -> str:
    if code not in OPCODES:
        return f"is no pickle: byte {place} is no opcode"
    return f"holds {MEANING.get(OPCODES[code], 'something else')} (pickle's {OPCODES[code]}): {ALLOWED}"


class Machine:
    """Pickle's stack machine: a stack, marks in it, and a memo of what was put aside."""

    def __init__(self, data: bytes, table: Sequence[Callable[[Machine], None] | None]) -> None:
        """``table``: what each of the 256 opcodes does; None: nothing, it is refused."""
        self.data, self.table = data, table
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
        data, table = self.data, self.table
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
                    raise Refused(_refusal(code, self.place - 1))
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
