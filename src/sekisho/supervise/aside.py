"""Work done aside: in a process of its own, which takes along all that it had to load when it ends.

The supervisor lives as long as the service, and the workers grow from it: what is needed once is better not loaded.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)


def lines_from(what: str, work: Callable[[], Sequence[str]]) -> list[str]:
    """Return the lines that *work* returns, done in a child process. When it fails, a line on standard error says so,
    and there are none.

    Args:
        what: is done, in words for that line.

    Raises:
        OSError: there can be no further process now.
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
        except BaseException as error:  # one line: it is our own mistake, and whoever starts the service reads it
            log.error("%s failed: %s: %s", what, type(error).__name__, error)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        lines = file.read().splitlines()
    os.waitpid(pid, 0)
    return lines
