"""The blocking day as data: who does what in which phase, and what that person has to experience.

A step changes the policy, acts, and measures. An act is said once for both address families: what holds for IPv4 has to
hold for IPv6 (facts: a filter for one family leaks through the other).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .rollout import Rollout
from .scorecard import DROPPED, EXPLAINED, REJECTED, WORKS, Wanted
from .topology import AOI, BY_NAME, FOREIGN_DOMAIN, OFFICE_DOMAIN, RIN, SERVER_NAMES

FRIEND = f"friend@{FOREIGN_DOMAIN}"
CLERK = f"clerk@{OFFICE_DOMAIN}"

PATIENCE = 2.5
"""Seconds until a connection without an answer counts as dropped: the kernel has repeated its request once by then."""

WELL = Wanted()
BOTH = (4, 6)
STRANGERS = tuple(f"203.0.113.{130 + n}" for n in range(100)), tuple(f"2001:db8:f0ff::{n + 2:x}" for n in range(100))
"""Addresses of the servers that a worm tries, by family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that an actor does: a kind of `actor.KINDS`.

    Fields:
        target: name of a host; "crowd" for all the strangers' servers, "stranger" for one of them, "self".
        login: account with which to log in; its password is filled in when the day is played.
        arguments: whatever else that kind takes.
    """

    kind: str
    target: str
    port: int
    seconds: float = PATIENCE
    login: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict)

    def task(self, family: int, token: str, password: str) -> dict[str, object]:
        """Return it as the actor's program wants it."""
        task: dict[str, object] = {"kind": self.kind, "port": self.port, "seconds": self.seconds, **self.arguments}
        if self.target == "crowd":
            task["addresses"] = list(STRANGERS[0] if family == 4 else STRANGERS[1])
        elif self.target == "stranger":
            task["address"] = STRANGERS[0][0] if family == 4 else STRANGERS[1][0]
        elif self.target == "self":
            task["address"] = "127.0.0.1" if family == 4 else "::1"
        else:
            task["address"] = BY_NAME[self.target].address(family)
        if self.kind == "forge":
            task["source"] = BY_NAME[str(task["source"])].address(family)
        if self.kind == "submit":
            task["token"] = token
        if self.login:
            task |= {"login": self.login, "password": password}
        return task


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What *actor* experiences when it does *act*, for each of *families*."""

    words: str
    actor: str
    act: Act
    wanted: Wanted = WELL
    families: tuple[int, ...] = BOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Something that the operator does or finds out: a name in `operator.MEASUREMENTS`, with its arguments."""

    words: str
    name: str
    wanted: Wanted = WELL
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A part of the day.

    Fields:
        before: measured first, one after the other; they may change the policy.
        meanwhile: begun then, and judged at the end of the step.
        acts: all at once.
        after: measured when the acts are done, one after the other, while *meanwhile* may still go on.
    """

    name: str
    before: tuple[Measurement, ...] = ()
    meanwhile: tuple[Expectation, ...] = ()
    acts: tuple[Expectation, ...] = ()
    after: tuple[Measurement, ...] = ()


def old_settings(actor: str, *outcomes: str, contains: tuple[str, ...] = ()) -> Expectation:
    """The client of *actor* still sends through the hosting company's server on port 25."""
    arrives = "mx" if outcomes == (WORKS,) else ""
    return Expectation(
        words=f"{actor}: mail through the hosting company's server, port 25",
        actor=actor,
        act=_submit("msa", 25, AOI, AOI, FRIEND, tls="starttls"),
        wanted=Wanted(outcomes=outcomes, contains=contains, arrives=arrives),
    )


def provider_works(actor: str) -> tuple[Expectation, ...]:
    """The provider's own server takes mail on 25, 587 and 465, and delivers it to somebody else's MX."""
    ways = ((25, "", "none"), (587, RIN, "starttls"), (465, RIN, "implicit"))
    return tuple(
        Expectation(
            words=f"{actor}: mail through the provider's server, port {port}",
            actor=actor,
            act=_submit("mail", port, login, RIN, FRIEND, tls=tls),
            wanted=Wanted(arrives="mx"),
        )
        for port, login, tls in ways
    )


def foreign_ports_work(actor: str) -> tuple[Expectation, ...]:
    """The hosting company's POP, IMAP and submission ports answer as ever."""
    host = {"host": SERVER_NAMES["msa"]}
    acts = (
        Act(kind="pop", target="msa", port=110, login=AOI),
        Act(kind="imap", target="msa", port=143, login=AOI),
        Act(kind="shake", target="msa", port=993, arguments=host),
        Act(kind="shake", target="msa", port=995, arguments=host),
        Act(kind="shake", target="msa", port=465, arguments=host),
    )
    listed = [
        Expectation(words=f"{actor}: the hosting company's port {act.port}", actor=actor, act=act) for act in acts
    ]
    submission = Expectation(
        words=f"{actor}: mail through the hosting company's server, port 587",
        actor=actor,
        act=_submit("msa", 587, AOI, AOI, FRIEND, tls="starttls"),
        wanted=Wanted(arrives="mx"),
    )
    return (*listed, submission)


def direct(actor: str, words: str, *outcomes: str) -> Expectation:
    """*actor* speaks to somebody else's MX itself."""
    return Expectation(
        words=f"{actor}: {words}",
        actor=actor,
        act=Act(kind="greet", target="mx", port=25),
        wanted=Wanted(outcomes=outcomes),
    )


def own_servers_work() -> tuple[Expectation, ...]:
    """Who has a right to port 25 uses it: the fixed-address customer in both directions, the campus's own server."""
    return (
        Expectation(
            words="office: its own server delivers to somebody else's MX",
            actor="office",
            act=_submit("self", 25, "", CLERK, FRIEND),
            wanted=Wanted(arrives="mx"),
            families=(4,),  # its Postfix chooses the family of the way on; the next line tries both
        ),
        direct("office", "its own server reaches somebody else's MX", WORKS),
        Expectation(
            words="mx: delivers to the server of the office, port 25 inbound",
            actor="mx",
            act=_submit("office", 25, "", FRIEND, CLERK),
            wanted=Wanted(arrives="office"),
        ),
        Expectation(
            words="mx: delivers to the provider's server, port 25 inbound",
            actor="mx",
            act=_submit("mail", 25, "", FRIEND, RIN),
            wanted=Wanted(arrives="mail"),
        ),
        direct("faculty", "the campus's registered server reaches somebody else's MX", WORKS),
    )


def _submit(target: str, port: int, login: str, sender: str, recipient: str, *, tls: str = "none") -> Act:
    host = SERVER_NAMES["office" if target == "self" else target]
    facts = {"host": host, "sender": sender, "recipient": recipient, "tls": tls}
    return Act(
        kind="submit", target=target, port=port, seconds=PATIENCE + 5 * (login != ""), login=login, arguments=facts
    )


ALWAYS = (*provider_works("rin"), *foreign_ports_work("aoi"), *own_servers_work())
"""What works before, during and after the blocking."""

WATCHED = 30.0
"""Seconds for which the infected host and the misconfigured client act under the watcher's eyes."""

INFECTED = Expectation(
    words="worm: sprays mail servers of strangers",
    actor="worm",
    act=Act(kind="spray", target="crowd", port=25, seconds=WATCHED, arguments={"per_second": 6.0}),
    wanted=Wanted(contains=(" 0 answered",)),
)
IMPATIENT = Expectation(
    words="aoi: the client tries its message again and again",
    actor="aoi",
    act=Act(kind="retry", target="msa", port=25, seconds=WATCHED, arguments={"every": 4.0}),
    wanted=Wanted(outcomes=(DROPPED,)),
)
FORGED = tuple(
    Expectation(
        words=f"worm: sends as {source} ({words})",
        actor="worm",
        act=Act(kind="forge", target="stranger", port=25, arguments={"source": source, "count": 5}),
    )
    for source, words in (("office", "fixed-address customer"), ("faculty", "exempt"), ("mail", "the provider"))
)


def stream(actor: str, words: str, outcome: str) -> Expectation:
    """*actor* connects to strangers' servers without pause while the rules are loaded again and again."""
    return Expectation(
        words=f"{actor}: {words}",
        actor=actor,
        act=Act(kind="stream", target="crowd", port=25, seconds=STREAMED, arguments={"per_second": 100.0}),
        wanted=Wanted(outcomes=(outcome,)),
    )


def apply(name: str, words: str) -> Measurement:
    """The operator puts the rollout *name* into force."""
    return Measurement(words=f"operator: {words}", name="apply", arguments=(name,))


STREAMED = 8.0
LINK = "https://"

ROLLOUTS = {
    "off": Rollout(),
    "observe": Rollout(phases={"home": "observe", "mobile": "observe", "campus": "observe", "business": "observe"}),
    "explain": Rollout(phases={"home": "explain", "mobile": "observe", "campus": "observe", "business": "observe"}),
    "unannounced": Rollout(phases={"home": "enforce", "mobile": "explain", "campus": "enforce", "business": "enforce"}),
    "first wave": Rollout(
        phases={"home": "enforce", "mobile": "explain", "campus": "enforce", "business": "enforce"},
        announced=("home", "campus", "mobile"),
        waves=(("mobile", "enforce", 1),),
    ),
    "second wave": Rollout(
        phases={"home": "enforce", "mobile": "explain", "campus": "enforce", "business": "enforce"},
        announced=("home", "campus", "mobile"),
        waves=(("mobile", "enforce", 0),),
    ),
}

DAY = (
    Step(
        name="1. off: the network as it was",
        before=(apply("off", "applies a policy with every network off"),),
        acts=(
            old_settings("aoi", WORKS),
            old_settings("ken", WORKS),
            direct("worm", "speaks to somebody else's MX", WORKS),
            direct("desk", "speaks to somebody else's MX", WORKS),
            *FORGED,
            *ALWAYS,
        ),
        after=(
            Measurement(
                words="witness: forged addresses do come through without the gate",
                name="seen",
                arguments=("stranger", "office", "faculty", "mail"),
            ),
        ),
    ),
    Step(
        name="2. observe: nobody notices, the operator learns who would be hit",
        before=(apply("observe", "applies the phase observe"),),
        acts=(
            old_settings("aoi", WORKS),
            old_settings("ken", WORKS),
            direct("worm", "speaks to somebody else's MX", WORKS),
            direct("desk", "speaks to somebody else's MX", WORKS),
            *ALWAYS,
        ),
        after=(
            Measurement(
                words="operator: the list for the announcement names exactly the lines that will be hit",
                name="report",
                arguments=("aoi", "ken", "worm", "desk"),
            ),
            Measurement(
                words="operator: blocking without an announcement is refused, with words, and changes nothing",
                name="refused",
                arguments=("unannounced", "told"),
            ),
        ),
    ),
    Step(
        name="3. explain: the first wave's clients get words instead of silence",
        before=(
            Measurement(words="operator: starts the explainer", name="explainer"),
            apply("explain", "applies the phase explain for the first wave"),
        ),
        acts=(
            old_settings("aoi", EXPLAINED, contains=(LINK,)),
            direct("rin", "tries somebody else's MX", EXPLAINED),
            old_settings("ken", WORKS),
            *ALWAYS,
        ),
        after=(
            Measurement(
                words="operator: the explainer recorded line and destination",
                name="explained",
                arguments=("aoi", "msa"),
            ),
        ),
    ),
    Step(
        name="4. enforce: the first wave is closed, the second is explained to",
        before=(
            apply("first wave", "applies the phase enforce for the first wave"),
            Measurement(words="operator: starts the watcher", name="watcher"),
        ),
        meanwhile=(INFECTED, IMPATIENT),
        acts=(
            old_settings("aoi", DROPPED),
            direct("rin", "tries somebody else's MX", DROPPED),
            direct("desk", "tries somebody else's MX", REJECTED),
            old_settings("ken", EXPLAINED, contains=(LINK,)),
            *FORGED,
            *ALWAYS,
        ),
        after=(
            Measurement(
                words="witness: nothing with a forged address came through",
                name="unseen",
                arguments=("stranger", "office", "faculty", "mail"),
            ),
            Measurement(
                words="watcher: the infected host is called worm-like",
                name="verdict",
                arguments=("worm", "worm-like"),
                wanted=Wanted(within=60.0),
            ),
            Measurement(
                words="watcher: the client set to port 25 is called a misconfigured client",
                name="verdict",
                arguments=("aoi", "misconfigured-client"),
                wanted=Wanted(within=60.0),
            ),
            Measurement(words="watcher: nobody else is called worm-like", name="only_worm", arguments=("worm",)),
        ),
    ),
    Step(
        name="5. reload: rules are replaced under a continuous sender",
        meanwhile=(
            stream("worm", "not one connection comes through during the reloads", DROPPED),
            stream("office", "not one connection of the fixed-address customer is lost", WORKS),
        ),
        after=(
            Measurement(
                words="operator: applies changed policies again and again", name="reload", arguments=("first wave",)
            ),
            Measurement(
                words="witness: not one packet of the worm came through", name="unseen", arguments=("crowd", "worm")
            ),
            Measurement(words="witness: the fixed-address customer's did", name="seen", arguments=("crowd", "office")),
        ),
    ),
    Step(
        name="6. the second wave, and back",
        before=(apply("second wave", "applies the policy on the day of the second wave"),),
        acts=(old_settings("ken", DROPPED), *provider_works("ken")),
        after=(
            Measurement(words="operator: the kernel does what the policy says", name="verify"),
            Measurement(
                words="operator: rolls back; the second wave is explained to again",
                name="rollback",
                arguments=("second wave", "ken", EXPLAINED, "1"),
                wanted=Wanted(within=1.0),
            ),
            Measurement(
                words="operator: a change that nobody confirms undoes itself",
                name="unconfirmed",
                arguments=("second wave", "ken", DROPPED, EXPLAINED),
            ),
            Measurement(
                words="operator: switches every network off; the old clients work again",
                name="away",
                arguments=("aoi", "ken"),
            ),
        ),
    ),
)
