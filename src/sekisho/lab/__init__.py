"""The rehearsal lab: a whole provider in network namespaces of one machine, and a blocking day acted out in it.

`sekisho lab` calls it, and so does the test that shows that the gate, the mail server and the watcher work together.
It needs root and real programs, and touches nothing but namespaces that it made itself.
"""

from .errors import LabError, LabFailed, LabMissing, LabState

__all__ = ["LabError", "LabFailed", "LabMissing", "LabState"]
