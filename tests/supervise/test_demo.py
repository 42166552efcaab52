"""The whole service, as `sekisho demo --once` shows it: the main job, end to end."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from sekisho.supervise.demo import running


def test_the_demonstration_sends_two_messages_and_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sekisho", "demo", "--once"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.count("arrived: ") == 2
    assert "with ESMTPSA" in done.stdout
    assert "both messages arrived" in done.stdout


def test_the_demonstration_shows_its_pages(tmp_path: Path) -> None:
    with running(tmp_path, lambda: "correct horse battery") as instance:
        assert instance.portal is not None
        assert instance.portal.startswith("http://localhost:")
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"{instance.portal}en/", timeout=5) as page:
                    assert "Example Network" in page.read().decode()
                    return
            except OSError:  # the portal is up a moment after mail is
                time.sleep(0.05)
        raise AssertionError("the portal did not answer")
