"""`sekisho edge`: the gate for port 25. Each verb loads the policy and calls one function of the `edge` package."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import Commands, UsageError, config_path, printable, show_json, table

if TYPE_CHECKING:
    from sekisho.edge import Policy
    from sekisho.edge.client import HelperClient, Request
    from sekisho.edge.sightings import Sighting
    from sekisho.edge.watcher import Verdict, WatcherSettings

POLICY = Path("/etc/sekisho/edge.toml")
STATE = Path("/var/lib/sekisho-edge/gate")
SHOWN_ELEMENTS = 10
SHOWN_RULES = 60
SHOWN_COUNTS = 5


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand and its verbs."""
    parser = commands.add_parser("edge", parents=[common], help="the gate: block port 25, rehearsed and reversible")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    places = argparse.ArgumentParser(add_help=False)
    places.add_argument("--policy", type=Path, metavar="FILE", help=f"the policy (default: $SEKISHO_EDGE, {POLICY})")
    places.add_argument("--state", type=Path, default=STATE, metavar="DIR", help=f"what is remembered ({STATE})")
    places.add_argument("--json", action="store_true")
    above = [common, places]

    plan = verbs.add_parser("plan", parents=above, help="show what an apply would change; changes nothing")
    plan.add_argument("--on", type=_day, metavar="DATE", help="as of that day, such as 2027-04-01, instead of today")
    plan.add_argument("--force", action="store_true", help="allow enforce without an announcement")
    plan.set_defaults(run=run_plan)

    apply = verbs.add_parser("apply", parents=above, help="put the policy into force")
    apply.add_argument(
        "--confirm-within",
        type=_duration,
        metavar="TIME",
        help="undo it after this long, such as 5m, unless `sekisho edge confirm` is given: the way to work from afar",
    )
    apply.add_argument("--force", action="store_true", help="enforce without an announcement")
    apply.add_argument("--force-drift", action="store_true", help="overwrite what others changed in our tables")
    apply.set_defaults(run=run_apply)

    for name, words, run in (
        ("confirm", "let the change on trial hold", run_confirm),
        ("rollback", "undo the change on trial, or go back one version", run_rollback),
        ("restore", "put the rules that should hold into the kernel again, as after a reboot", run_restore),
        ("status", "show what holds, what is on trial, who did what", run_status),
    ):
        verbs.add_parser(name, parents=above, help=words).set_defaults(run=run)

    verify = verbs.add_parser(
        "verify", parents=above, help="compare the kernel with the policy; status 1 when it differs"
    )
    verify.add_argument("--applied", action="store_true", help="compare with what was applied, without the policy file")
    verify.set_defaults(run=run_verify)

    export = verbs.add_parser("export", parents=above, help="write the policy for other routers")
    export.add_argument("format", metavar="FORMAT", nargs="?", help="without it, the formats are listed")
    export.add_argument("--directory", type=Path, metavar="DIR", help="write files here instead of printing them")
    export.add_argument("--on", type=_day, metavar="DATE", help="as of that day instead of today")
    export.set_defaults(run=run_export)

    report = verbs.add_parser("report", parents=above, help="who would be hit, and where they send to")
    report.add_argument("--csv", action="store_true", help="print CSV")
    report.add_argument("--hit", action="store_true", help="only those whom the blocking would hit")
    report.add_argument("--network", action="append", default=[], metavar="NAME", help="of these access networks")
    report.add_argument("--recorded", type=Path, metavar="DIR", help="from what `watch --record` kept, not the kernel")
    report.add_argument("--language", choices=("ja", "en"), default="en")
    report.add_argument("--limit", type=int, default=50, metavar="N", help="lines of text at most (default: 50)")
    report.set_defaults(run=run_report)

    watch = verbs.add_parser("watch", parents=above, help="tell which lines look infected, until stopped")
    watch.add_argument("--every", type=_duration, default=10.0, metavar="TIME", help="read counters so often (10s)")
    watch.add_argument("--record", type=Path, metavar="DIR", help="keep what was seen, for `report --recorded`")
    watch.add_argument("--metrics", type=Path, metavar="FILE", help="keep metrics for Prometheus' text file collector")
    watch.add_argument("--webhook", metavar="URL", help="send each changed verdict there")
    watch.add_argument("--webhook-secret", type=Path, metavar="FILE", help="file with the key of the signature")
    watch.add_argument("--language", choices=("ja", "en"), default="en")
    watch.set_defaults(run=run_watch)

    _declare_quarantine(verbs, above)

    explainer = verbs.add_parser("explainer", parents=above, help="answer lines in the explain phase, until stopped")
    explainer.add_argument("--hostname", metavar="NAME", help="name in the greeting (default: the configuration's)")
    explainer.add_argument("--link", default="", metavar="URL", help="beginning of the personal link")
    explainer.add_argument("--user", metavar="NAME", help='become this user once the ports are bound ("sekisho")')
    explainer.add_argument(
        "--directory", type=Path, metavar="DIR", help="its files (default: explainer beside --state)"
    )
    explainer.set_defaults(run=run_explainer)


def _declare_quarantine(verbs: Commands, above: list[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("quarantine", help="lines that look infected: limited, or in a garden")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    actions.add_parser("list", parents=above, help="show who is held").set_defaults(run=run_quarantine_list)

    add = actions.add_parser("add", parents=above, help="hold lines for a while")
    add.add_argument("--for", dest="seconds", type=_duration, default=3600.0, metavar="TIME", help="so long (1h)")
    add.set_defaults(run=run_quarantine_add)

    release = actions.add_parser("release", parents=above, help="let lines go")
    release.add_argument(
        "--spare", type=_duration, default=86400.0, metavar="TIME", help="the watcher may not hold them again (1d)"
    )
    release.set_defaults(run=run_quarantine_release)
    for verb in (add, release):
        verb.add_argument(
            "lines", metavar="LINE", nargs="+", help="192.0.2.7, 2001:db8:0:100::/56, 192.0.2.9:1024-2047"
        )

    follow = actions.add_parser("follow", parents=above, help="hold and release what `watch` proposes, until stopped")
    follow.add_argument("--every", type=_duration, default=10.0, metavar="TIME", help="look so often (10s)")
    follow.set_defaults(run=run_quarantine_follow)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2027-04-01") from None


def _duration(text: str) -> float:
    from sekisho.config import parse_duration

    try:
        return float(text) if text.replace(".", "", 1).isdigit() else float(parse_duration(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _policy_path(arguments: argparse.Namespace) -> Path:
    found: Path = arguments.policy or Path(os.environ.get("SEKISHO_EDGE") or POLICY)
    return found


def _policy(arguments: argparse.Namespace, today: date | None = None, *, force: bool = True) -> Policy:
    """Read the policy. Whether users were told is asked of those who change rules alone, without *force*."""
    from sekisho.edge import load_policy

    return load_policy(_policy_path(arguments), today=today or date.today(), force=force)


def _client(arguments: argparse.Namespace) -> HelperClient:
    from sekisho.edge.client import HelperClient

    return HelperClient(arguments.state)


def _ask(arguments: argparse.Namespace, request: Request, policy: Policy | None = None) -> dict[str, Any]:
    return _client(arguments).ask(request, policy)


def _request(verb: str, **fields: Any) -> Request:
    from sekisho.edge.client import Request

    return Request(verb, **fields)


def run_plan(arguments: argparse.Namespace) -> int:
    """Show the difference between what holds and the policy."""
    with _client(arguments).begin() as client:
        policy = _policy(arguments, arguments.on, force=arguments.force)
        plan: dict[str, Any] = client.ask(_request("plan", on=arguments.on, force=arguments.force), policy)
    if arguments.json:
        show_json(plan)
        return 0
    if not plan["changes"]:
        print(f"nothing to do: version {plan['old']} is what the policy says")
        return 0
    print(f"{'first apply' if plan['first'] else 'from version ' + plan['old']}, to version {plan['new']}")
    for change in plan["sets"]:
        print(f"{change['table']} {change['name']}: {len(change['added'])} more, {len(change['removed'])} less")
        for sign, elements in (("+", change["added"]), ("-", change["removed"])):
            for element in elements[:SHOWN_ELEMENTS]:
                print(f"    {sign} {printable(element)}")
            if len(elements) > SHOWN_ELEMENTS:
                print(f"    {sign} and {len(elements) - SHOWN_ELEMENTS} others")
    for line in plan["rules"][:SHOWN_RULES]:
        print(f"    {printable(line.expandtabs(4))}")
    if len(plan["rules"]) > SHOWN_RULES:
        print(f"    and {len(plan['rules']) - SHOWN_RULES} lines more; --json has them all")
    for line in plan["drift"]:
        print(f"DRIFT   {printable(line)}")
    change_day = policy.next_change(arguments.on or date.today())
    if change_day is not None:
        print(f"on {change_day} a wave comes or an exemption ends; apply again then")
    return 0


def run_apply(arguments: argparse.Namespace) -> int:
    """Put the policy into force."""
    request = _request(
        "apply",
        confirm_within=arguments.confirm_within,
        force=arguments.force,
        force_drift=arguments.force_drift,
    )
    with _client(arguments).begin() as client:
        done: dict[str, Any] = client.ask(request, _policy(arguments, force=arguments.force))
    if arguments.json:
        show_json(done)
        return 0
    if not done["changed"]:
        print(f"version {done['id']} holds already")
        return 0
    print(f"version {done['id']} is in force after {done['seconds']:.2f} s")
    for note in done["notes"]:
        print(f"note: {printable(note)}")
    if done["deadline"] is not None:
        print(f"on trial: it is undone at {_when(done['deadline'])} unless you give `sekisho edge confirm`")
    return 0


def run_confirm(arguments: argparse.Namespace) -> int:
    """Let the change on trial hold."""
    return _told(arguments, _ask(arguments, _request("confirm")), "version {id} holds from now on")


def run_rollback(arguments: argparse.Namespace) -> int:
    """Go back."""
    version = _ask(arguments, _request("rollback"))
    words = "version {id} of {made} holds again" if version["id"] else "no rules of ours hold any more"
    return _told(arguments, version, words)


def run_restore(arguments: argparse.Namespace) -> int:
    """Put the rules that should hold into the kernel again."""
    return _told(arguments, _ask(arguments, _request("restore")), "version {id} is in the kernel")


def _told(arguments: argparse.Namespace, version: Mapping[str, Any], words: str) -> int:
    if arguments.json:
        show_json(version)
    else:
        print(words.format(id=version["id"], made=_when(version["made"])))
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Compare; exit status 1 when the kernel does not do what the policy says, or something bypasses it."""
    with _client(arguments).begin() as client:
        policy = None if arguments.applied else _policy(arguments)
        found: dict[str, Any] = client.ask(_request("verify", force=True), policy)
    if arguments.json:
        show_json(found)
        return 0 if found["ok"] else 1
    print("the kernel does what the policy says" if not found["differences"] else "the kernel differs from the policy:")
    for line in found["differences"]:
        print(f"    {printable(line)}")
    for one in found["foreign"]:
        print(f"{'BYPASS' if one['bypasses'] else 'note'}: {printable(one['where'])}: {printable(one['text'])}")
    for note in found["notes"]:
        print(f"note: {printable(note)}")
    return 0 if found["ok"] else 1


def run_status(arguments: argparse.Namespace) -> int:
    """Show how the gate stands."""
    status = _ask(arguments, _request("status"))
    if arguments.json:
        show_json(status)
        return 0
    current, pending = status["current"], status["pending"]
    if current["id"]:
        print(f"in force    version {current['id']}, policy {printable(current['policy'])} as of {current['day']}")
        print(f"            applied {_when(status['applied'])} by {printable(current['who'])}")
    else:
        print("in force    no rules of ours")
    if pending is not None:
        print(f"on trial    version {pending['new']} by {printable(pending['who'])}", end="")
        print("" if pending["deadline"] is None else f" until {_when(pending['deadline'])}", end="")
        print("" if status["guard"] else "; NO GUARD: confirm or rollback now")
    print(f"kernel      {_held(status['held'])}", end="")
    print("; tables were changed since, by somebody: see `verify`" if status["changed_since"] else "")
    _show_beside("strays", "packets with sources that belong elsewhere", status["strays"])
    _show_beside("answers", "answers from port 25 that nobody here may have asked for", status["returned"])
    if status["before"]:
        print(f"before      {', '.join(version['id'] for version in status['before'])} (rollback goes there)")
    print()
    table(
        ("WHEN", "WHAT", "VERSION", "WHO"),
        [(_when(row["t"]), row["what"], row.get("version", ""), row.get("who", "")) for row in status["history"]],
    )
    return 0


def _show_beside(name: str, words: str, counts: Mapping[str, int]) -> None:
    if counts:
        most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN_COUNTS]
        more = ", ..." if len(counts) > len(most) else ""
        told = ", ".join(f"{printable(where)} {count}" for where, count in most)
        print(f"{name:<11} {sum(counts.values())} {words} in the last day: {told}{more}")


def _held(version: str | None) -> str:
    if version is None:
        return "holds no table of ours"
    return "holds tables of ours that name no version" if version == "?" else f"holds version {version}"


def run_export(arguments: argparse.Namespace) -> int:
    """Write the policy for another router."""
    from sekisho.edge.exporters import EXPORTERS

    if arguments.format is None:
        print("\n".join(sorted(EXPORTERS)))
        return 0
    if arguments.format not in EXPORTERS:
        raise UsageError(f"{arguments.format!r} is not a format; there are {', '.join(sorted(EXPORTERS))}")
    today = arguments.on or date.today()
    made = EXPORTERS[arguments.format](_policy(arguments, today), today)
    if arguments.json:
        show_json({"files": dict(made.files), "limits": list(made.limits)})
        return 0
    if arguments.directory is not None:
        arguments.directory.mkdir(parents=True, exist_ok=True)
    for name, text in made.files.items():
        if arguments.directory is None:
            sys.stdout.write(text)
        else:
            (arguments.directory / name).write_text(text, encoding="utf-8")
            print(arguments.directory / name)
    for limit in made.limits:
        print(f"limit: {printable(limit)}", file=sys.stderr)
    return 0


def run_report(arguments: argparse.Namespace) -> int:
    """Say who would be hit."""
    from sekisho.edge.counters import Differences
    from sekisho.edge.report import Reporter

    policy = _policy(arguments)
    reporter = Reporter(policy)
    if arguments.recorded is not None:
        for sighting in _recorded(arguments.recorded):
            reporter.saw(sighting)
    else:
        listings = _ask(arguments, _request("counters"))["documents"]
        for sighting in Differences(from_zero=True).read(listings, policy, time.time()):
            reporter.saw(sighting)
    report = reporter.report()
    if arguments.hit or arguments.network:
        report = report.hit(arguments.network)
    if arguments.json:
        print(report.json())
    else:
        sys.stdout.write(report.csv() if arguments.csv else report.text(arguments.language, limit=arguments.limit))
    return 0


def _recorded(directory: Path) -> list[Sighting]:
    from sekisho.edge.sightings import Sighting, SightingError

    found = []
    for path in sorted(directory.glob("sightings-*.jsonl")):
        with path.open("rb") as lines:
            for line in lines:
                with contextlib.suppress(SightingError):  # torn by a crash
                    found.append(Sighting.from_json(line))
    return found


def run_watch(arguments: argparse.Namespace) -> int:
    """Watch until stopped; one line, with --json one object, for each changed verdict."""
    import asyncio

    from sekisho.edge.follow import proposals_path
    from sekisho.edge.lookout import Lookout
    from sekisho.edge.nft import Nft
    from sekisho.edge.outputs import WebhookSender, payload
    from sekisho.edge.watcher import Watcher
    from sekisho.telemetry import EventLog, LogSettings

    logging.basicConfig(format="sekisho: %(message)s", level=logging.WARNING)
    arguments.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    events = EventLog(arguments.state / "log", LogSettings(), 0)
    for directory in filter(None, (arguments.record, _explainer_directory(arguments))):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    senders: list[WebhookSender] = []

    def on_verdict(verdict: Verdict) -> None:
        body = payload(verdict, now=time.time(), language=arguments.language)
        print(_shown(verdict, arguments), flush=True)
        events.emit(
            "edge.verdict",
            line=verdict.line,
            network=verdict.network,
            kind=verdict.kind.value,
            previous=verdict.previous.value,
            evidence=[f"{finding.name}={finding.value}" for finding in verdict.evidence],
        )
        for sender in senders:
            sender.send(body)

    async def watch() -> None:
        if arguments.webhook:
            senders.append(WebhookSender(_webhook(arguments), emit=events.emit))
            senders[0].start()
        try:
            await lookout.run()
        finally:
            for sender in senders:
                await sender.close()

    lookout = Lookout(
        load=lambda: _policy(arguments),
        run_nft=Nft(),
        watcher=Watcher(_watcher_settings(arguments)),
        on_verdict=on_verdict,
        read_every=arguments.every,
        feed=_explainer_directory(arguments) / "watcher.sock",
        memory=arguments.state / "watcher.jsonl",
        record=arguments.record,
        metrics_file=arguments.metrics,
        proposals=proposals_path(arguments.state),
    )
    try:
        asyncio.run(watch())
    finally:
        events.close()
    return 0


def _watcher_settings(arguments: argparse.Namespace) -> WatcherSettings:
    from sekisho.config import Duration
    from sekisho.edge.policy import QuarantineAction
    from sekisho.edge.watcher import Measure, WatcherSettings

    told = _policy(arguments).quarantine
    return WatcherSettings(
        quarantine_after=Duration(told.after),
        quarantine_limit=told.most_lines,
        quarantine_measure=Measure.WALLED_GARDEN if told.action is QuarantineAction.GARDEN else Measure.RATE_LIMIT,
    )


def _shown(verdict: Verdict, arguments: argparse.Namespace) -> str:
    import json

    from sekisho.edge.outputs import explain

    if not arguments.json:
        return explain(verdict, arguments.language)
    return json.dumps(
        {
            "t": round(time.time(), 3),
            "line": verdict.line,
            "network": verdict.network,
            "kind": verdict.kind.value,
            "previous": verdict.previous.value,
            "since": round(verdict.since, 3),
            "evidence": {finding.name: finding.value for finding in verdict.evidence},
        }
    )


def _webhook(arguments: argparse.Namespace) -> Any:
    from sekisho.config import Secret
    from sekisho.edge.outputs import WebhookSettings

    if not arguments.webhook.startswith(("https://", "http://")):
        raise UsageError("--webhook is an address such as https://desk.example.jp/hooks/sekisho")
    secret = arguments.webhook_secret
    return WebhookSettings(
        url=arguments.webhook, secret=None if secret is None else Secret(secret.read_text(encoding="utf-8").strip())
    )


def _explainer_directory(arguments: argparse.Namespace) -> Path:
    """The explainer's files, apart from the state of the rules, which it must not reach."""
    named: Path | None = getattr(arguments, "directory", None)
    return named or arguments.state.absolute().parent / "explainer"


def run_quarantine_list(arguments: argparse.Namespace) -> int:
    """Show who is held, since when, until when, and by whom."""
    listed = _ask(arguments, _request("quarantined"))
    if arguments.json:
        show_json(listed)
        return 0
    table(
        ("LINE", "NETWORK", "SINCE", "UNTIL", "BY"),
        [(row["line"], row["network"], _when(row["since"]), _when(row["until"]), row["who"]) for row in listed["held"]],
    )
    for line, until in listed["spared"].items():
        print(f"spared from the watcher until {_when(until)}: {printable(line)}")
    if not listed["agrees"]:
        print(
            "the kernel holds others: a change was killed, or somebody edited the table; the next change puts it right"
        )
    return 0


def run_quarantine_add(arguments: argparse.Namespace) -> int:
    """Hold lines."""
    return _quarantine(arguments, add=tuple((line, arguments.seconds) for line in arguments.lines))


def run_quarantine_release(arguments: argparse.Namespace) -> int:
    """Let lines go."""
    return _quarantine(arguments, release=tuple(arguments.lines), spare=arguments.spare)


def _quarantine(arguments: argparse.Namespace, **fields: Any) -> int:
    """Status 1 when a line was refused; the others are done nevertheless."""
    with _client(arguments).begin() as client:
        done: dict[str, Any] = client.ask(_request("quarantine", force=True, **fields), _policy(arguments))
    if arguments.json:
        show_json(done)
    else:
        for words in ("added", "renewed", "released"):
            for line in done[words]:
                print(f"{words} {printable(line)}")
    for _, words in done["refused"]:
        print(f"sekisho: {printable(words)}", file=sys.stderr)
    return 1 if done["refused"] else 0


def run_quarantine_follow(arguments: argparse.Namespace) -> int:
    """Hold and release what the watcher proposes, until stopped."""
    from sekisho.edge.follow import Follower, proposals_path

    logging.basicConfig(format="sekisho: %(message)s", level=logging.WARNING)
    follower = Follower(
        proposals_path(arguments.state), load=lambda: _policy(arguments), ask=_client(arguments).ask, tell=_tell_at_once
    )
    try:
        follower.run(every=arguments.every)
    except KeyboardInterrupt:
        return 0
    return 0


def _tell_at_once(words: str) -> None:
    print(printable(words), flush=True)


def run_explainer(arguments: argparse.Namespace) -> int:
    """Be the explainer until stopped."""
    from sekisho.edge.explainer import ExplainerSettings
    from sekisho.edge.explainer import run_explainer as explain
    from sekisho.edge.privileges import drop_all
    from sekisho.supervise.errors import PrivilegeError
    from sekisho.supervise.privileges import drop, look_up
    from sekisho.telemetry import EventLog, LogSettings

    logging.basicConfig(format="sekisho: %(message)s", level=logging.WARNING)
    directory = _explainer_directory(arguments)
    (directory / "log").mkdir(mode=0o750, parents=True, exist_ok=True)
    give_up: Callable[[], None] = lambda: None  # noqa: E731
    try:
        identity = look_up(arguments.user, None)
    except PrivilegeError:
        if arguments.user is not None:
            raise
        print("sekisho: there is no user sekisho to become: staying root without its rights", file=sys.stderr)
        give_up = drop_all
    else:
        if identity is not None:
            for path in (directory, directory / "log", *directory.iterdir()):
                os.chown(path, identity.uid, identity.gid)
            give_up = _becoming(drop, identity)
    settings = ExplainerSettings(
        hostname=arguments.hostname or _hostname(arguments), link=arguments.link, feed=directory / "watcher.sock"
    )
    events = EventLog(directory / "log", LogSettings(), 0)
    try:
        return explain(settings, load=lambda: _policy(arguments), directory=directory, events=events, drop=give_up)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _becoming(drop: Callable[[Any], None], identity: object) -> Callable[[], None]:
    return lambda: drop(identity)


def _hostname(arguments: argparse.Namespace) -> str:
    """The service's name when it is configured here, else the machine's."""
    if config_path(arguments).exists():
        from .output import load_settings

        return load_settings(arguments)[0].hostname
    return platform.node() or "localhost"


def _when(epoch: float | None) -> str:
    return "" if epoch is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))
