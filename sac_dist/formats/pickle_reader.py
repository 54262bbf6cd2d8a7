"""Reads what pickles hold of lists, tuples, dicts, numbers and numpy arrays, and nothing else: no pickle can
run code here.

Python's own unpickler calls whatever a file names. This one is an interpreter of its own for the part of the
pickle language that lists of arrays need, protocols 0 to 5. What a file names is compared with a short list
of numpy's constructors and never imported; each of those is a function that builds an array from bytes.
There is no recursion, and every step makes at most a small object or a slice of the file, so memory stays
proportional to the file's size whatever it says.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

from sac_dist.formats.pickle_machine import Machine


def loads(data: bytes) -> list[Any]:
    """The objects that were pickled one behind the other: lists, tuples, dicts by text, numbers, strings and
    Arrays. Raises Refused, with the reason.
    """
    interpreter = Machine(data, TABLE)
    found = [interpreter.run()]
    while interpreter.place < len(data):
        found.append(interpreter.run())
    return found


BYTE, TWO, FOUR, EIGHT, SIGNED, REAL = (struct.Struct(form) for form in ("<B", "<H", "<I", "<Q", "<i", ">d"))


Step = Callable[[Machine], None]


def _push(read: Callable[[Machine], Any]) -> Step:
    return lambda it: it.stack.append(read(it))


def _number(form: struct.Struct) -> Callable[[Machine], Any]:
    return lambda it: form.unpack(it.take(form.size))[0]


def _text(form: struct.Struct) -> Step:
    return _push(lambda it: it.sized(form).decode("utf-8", "surrogatepass"))


def _keep(index: Callable[[Machine], int]) -> Step:
    return lambda it: it.keep(index(it))


def _recall(index: Callable[[Machine], int]) -> Step:
    return lambda it: it.stack.append(it.memo[index(it)])


# Python 2's strings are left as bytes: that is what an array's data are in its pickles.
STEPS: dict[bytes, Step] = {
    pickle.PROTO: Machine.step_protocol,
    pickle.FRAME: Machine.step_frame,
    pickle.MARK: Machine.step_mark,
    pickle.POP: Machine.step_pop,
    pickle.POP_MARK: Machine.step_pop_mark,
    pickle.NONE: _push(lambda it: None),
    pickle.NEWTRUE: _push(lambda it: True),
    pickle.NEWFALSE: _push(lambda it: False),
    pickle.INT: Machine.step_integer,
    pickle.BININT: _push(_number(SIGNED)),
    pickle.BININT1: Machine.push_byte,
    pickle.BININT2: _push(_number(TWO)),
    pickle.LONG: _push(lambda it: int(it.number().rstrip("L"))),
    pickle.LONG1: lambda it: it.long(it.sized(BYTE)),
    pickle.LONG4: lambda it: it.long(it.sized(SIGNED)),
    pickle.FLOAT: _push(lambda it: float(it.number())),
    pickle.BINFLOAT: _push(_number(REAL)),
    pickle.STRING: Machine.step_quoted,
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
    pickle.LIST: Machine.step_list,
    pickle.EMPTY_LIST: Machine.step_empty_list,
    pickle.APPEND: Machine.step_append,
    pickle.APPENDS: Machine.step_appends,
    pickle.DICT: Machine.step_dict,
    pickle.EMPTY_DICT: Machine.step_empty_dict,
    pickle.SETITEM: Machine.step_set_item,
    pickle.SETITEMS: Machine.step_set_items,
    pickle.TUPLE: Machine.step_tuple,
    pickle.EMPTY_TUPLE: _push(lambda it: ()),
    pickle.TUPLE1: lambda it: it.short_tuple(1),
    pickle.TUPLE2: lambda it: it.short_tuple(2),
    pickle.TUPLE3: lambda it: it.short_tuple(3),
    pickle.GLOBAL: Machine.step_name,
    pickle.INST: Machine.step_instance,
    pickle.STACK_GLOBAL: Machine.step_stack_name,
    pickle.REDUCE: Machine.step_call,
    pickle.BUILD: Machine.step_build,
    pickle.PUT: _keep(lambda it: int(it.number())),
    pickle.BINPUT: Machine.keep_byte,
    pickle.LONG_BINPUT: _keep(_number(FOUR)),
    pickle.MEMOIZE: Machine.keep_next,
    pickle.GET: _recall(lambda it: int(it.number())),
    pickle.BINGET: Machine.recall_byte,
    pickle.LONG_BINGET: _recall(_number(FOUR)),
}
TABLE = [STEPS.get(bytes([code])) for code in range(256)]
