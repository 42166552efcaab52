"""The whole service, as `sekisho demo --once` shows it: the main job, end to end."""

from __future__ import annotations

import subprocess
import sys


def test_the_demonstration_sends_two_messages_and_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sekisho", "demo", "--once"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.count("arrived: ") == 2
    assert "with ESMTPSA" in done.stdout
    assert "both messages arrived" in done.stdout
