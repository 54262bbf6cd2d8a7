"""Printing to a reader who may stop reading."""

from __future__ import annotations

import os
import sys


def show(text: str) -> None:
    """Print what may be piped into a program that reads its first lines alone."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the interpreter flushes it once more at its end
