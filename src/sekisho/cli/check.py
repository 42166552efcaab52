"""`sekisho check`: is everything in place? Exit status 0 well, 1 warnings, 2 errors."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict

from .output import Commands, config_path, printable, show_json

MARKS = {"ok": "ok     ", "warning": "WARNING", "error": "ERROR  "}


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("check", parents=[common], help="look at configuration, certificate, ports, DNS")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--before-start", action="store_true", help="errors alone count, and DNS is not asked")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every finding."""
    from sekisho.supervise.check import check

    report = check(config_path(arguments), os.environ, before_start=arguments.before_start)
    if arguments.json:
        show_json({"status": report.status, "findings": [asdict(finding) for finding in report.findings]})
    else:
        for finding in report.findings:
            stream = sys.stderr if finding.grade == "error" else sys.stdout
            print(f"{MARKS[finding.grade]} {finding.subject}: {printable(finding.text)}", file=stream)
            if finding.remedy:
                print(f"        → {printable(finding.remedy)}", file=stream)
    if arguments.before_start:
        return 2 if report.status == 2 else 0
    return report.status
