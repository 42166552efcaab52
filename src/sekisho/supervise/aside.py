"""Work done aside: in a process of its own, which takes along all that it had to load when it ends.

The supervisor lives as long as the service, and the workers grow from it: what is needed once is better not loaded.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence


def lines_from(work: Callable[[], Sequence[str]]) -> list[str]:
    """Return the lines that *work* returns, done in a child process. When it fails, the traceback is written and
    there are none.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            with open(writing, "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in work())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        lines = file.read().splitlines()
    os.waitpid(pid, 0)
    return lines
