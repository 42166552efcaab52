"""The port to the `nft` program: text in, text out, and words for what it refuses.

nft is run with text on standard input and never through a shell. One call of `nft -f` is one transaction of the kernel:
an error in its last line leaves nothing of it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from typing import BinaryIO, Final, Protocol

from .state import EdgeError

__all__ = ["Absent", "KernelLacks", "Nft", "NftError", "NftMissing", "NoPrivilege", "Run"]

PLACES: Final = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft", "/run/current-system/sw/bin/nft")
PATIENCE: Final = 60.0  # seconds; 50,000 prefixes take half a second
MAX_TOLD: Final = 2000  # characters of nft's own words

UNTOUCHED: Final = "The rules in the kernel are as they were."

MODULES: Final = (  # what a rule or chain speaks of, and the module that knows it
    (r"\blog\b", "nft_log nfnetlink_log"),
    (r"\bredirect\b", "nft_redir nft_chain_nat"),
    (r"\b(dnat|snat|masquerade|type nat)\b", "nft_chain_nat nft_nat"),
    (r"\breject\b", "nft_reject_inet"),
    (r"\bfib\b", "nft_fib_inet"),
    (r"\blimit\b", "nft_limit"),
    (r"\bqueue\b", "nft_queue"),
    (r"\bct\b", "nft_ct nf_conntrack"),
    (r"", "nf_tables"),
)


class NftError(EdgeError):
    """nft or the kernel refused; `str()` says what, and what to do."""


class NftMissing(NftError):
    """The program is not installed."""


class Absent(NftError):
    """What was to be listed is not there."""


class NoPrivilege(NftError):
    """CAP_NET_ADMIN is missing."""


class KernelLacks(NftError):
    """A kernel module is missing."""


class Run(Protocol):
    """How nft is run: its arguments and standard input, its standard output back."""

    def __call__(self, arguments: Sequence[str], text: str = "", /) -> str:
        """Run nft.

        Raises:
            NftError: it ended with an error; nothing was changed.
        """


class Nft:
    """Runs the installed nft."""

    def __init__(self, places: Sequence[str] = PLACES) -> None:
        """*places* are looked at in order."""
        self._places = places
        self._found = ""

    def __call__(self, arguments: Sequence[str], text: str = "", /) -> str:
        """Run nft with *arguments*, and *text* on standard input."""
        command = [self._program(), *arguments]
        try:
            with _given(text) as given:
                done = subprocess.run(
                    command,
                    stdin=given,
                    capture_output=True,
                    timeout=PATIENCE,
                    check=False,
                    env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C"},
                )
        except subprocess.TimeoutExpired as error:
            raise NftError(f"{command[0]} did not end within {PATIENCE:.0f} seconds\nRemedy: try again.") from error
        except OSError as error:
            raise NftError(f"{command[0]}: {error.strerror}\n{UNTOUCHED}") from error
        if done.returncode != 0:
            raise explained(done.stderr.decode(errors="replace"), text)
        return done.stdout.decode(errors="replace")

    def _program(self) -> str:
        if not self._found:
            self._found = next((place for place in self._places if os.access(place, os.X_OK)), "")
        if not self._found:
            raise NftMissing(
                f"nft is not installed\n{UNTOUCHED}\nRemedy: install nftables (Debian: apt install nftables)."
            )
        return self._found


def _given(text: str) -> BinaryIO:
    """Return a file in memory with *text*: a pipe would be filled in crumbs, thousands for a megabyte."""
    file = open(os.memfd_create("rules", os.MFD_CLOEXEC), "wb+")  # noqa: SIM115 - the caller closes it
    file.write(text.encode())
    file.seek(0)
    return file


def explained(words: str, text: str = "") -> NftError:
    """Turn what nft wrote to standard error into the matching exception.

    Args:
        text: what nft was given, to name the line it refused.
    """
    told = words.strip()[:MAX_TOLD] or "nft failed without a word"
    if "Operation not permitted" in words or "must be root" in words:
        return NoPrivilege(
            f"no privilege to change packet filter rules (CAP_NET_ADMIN)\n{UNTOUCHED}\n"
            "Remedy: run as root, or let the helper do it: docs/operate/edge-rollout.md, section 1."
        )
    if "Could not process rule" not in words and "Error: No such file or directory" in words:
        return Absent(f"there is no such table: {told}")
    lacking = re.search(
        r"Protocol not supported|Could not process rule: (No such file or directory|Operation not supported"
        r"|Protocol not available)",
        words,
    )
    if lacking:
        refused = _refused_line(words, text)
        module = next(module for pattern, module in MODULES if re.search(pattern, refused))
        return KernelLacks(
            f"the kernel lacks what this rule needs: {refused or told}\n{UNTOUCHED}\n"
            f"Remedy: modprobe {module.split()[0]} (this rule needs: {module}); it comes with the kernel, "
            "for small cloud kernels as a package apart."
        )
    return NftError(f"nft refused the rules: {told}\n{UNTOUCHED}")


def _refused_line(words: str, text: str) -> str:
    at = re.search(r"^(?:/dev/stdin|-):(\d+):", words, re.MULTILINE)
    lines = text.splitlines()
    if at and 0 < int(at[1]) <= len(lines):
        return lines[int(at[1]) - 1].strip()[:300]
    return ""
