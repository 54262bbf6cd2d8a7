"""Printing to a reader who may stop reading."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO


def show(text: str) -> None:
    """Print a command's result; see :func:`tell`."""
    tell(text, sys.stdout)


def warn(text: str) -> None:
    """Print what is not the command's result; see :func:`tell`."""
    tell(text, sys.stderr)


def tell(text: str, stream: TextIO | None) -> None:
    """Print what may be piped into a program that reads its first lines alone, or to a full disk: the command
    goes on, and what it prints from then on is dropped.
    """
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        assert stream is not None
        with open(os.devnull, "w") as nowhere, contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere.fileno(), stream.fileno())  # the interpreter flushes it once more at its end
        if not isinstance(error, BrokenPipeError) and stream is not sys.stderr:
            warn(f"sac-dist: nothing more can be printed: {error.strerror}")
