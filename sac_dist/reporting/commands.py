"""Commands for the user to paste."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def command(*arguments: str | Path) -> str:
    """``sac-dist`` with these arguments, as it starts from the shell and the folder that this process was
    started from.
    """
    python = Path(sys.executable)
    on_path = shutil.which(python.name)
    same = on_path is not None and os.path.samefile(on_path, python)
    return shlex.join([python.name if same else str(python), "-m", "sac_dist", *map(str, arguments)])
