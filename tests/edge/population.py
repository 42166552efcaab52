"""Lines as they are met: quiet ones, mail programs set wrong, honest mail servers, infected machines; by seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from sekisho.edge.sightings import Sighting

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
START = 1_767_225_600.0  # a midnight, UTC
NETWORK = "ftth"


def destination(number: int) -> IPv4Address:
    """A destination in a network of its own, for each *number*. Not a documentation range: those are too few."""
    return IPv4Address(0x2E000000 + (number % 0x10000) * 256 + number % 250 + 1)


def quiet(line: str, rng: random.Random, days: int) -> Iterator[Sighting]:
    """Nothing, or somebody who tries once or twice and gives up."""
    at = START + rng.uniform(0, days * DAY)
    for _ in range(rng.choice((0, 0, 1, 2))):
        yield Sighting(line, NETWORK, destination(rng.randrange(40)), at, packets=3)
        at += rng.uniform(1, 600)


def misconfigured(line: str, rng: random.Random, days: int) -> Iterator[Sighting]:
    """A mail program that tries one provider's servers every few minutes while its owner is awake."""
    servers = [destination(5000 + rng.randrange(1000) * 4 + n) for n in range(rng.choice((1, 1, 2, 4)))]
    for day in range(days):
        at = START + day * DAY + rng.uniform(7, 9) * HOUR
        while at < START + day * DAY + 22 * HOUR:
            for server in servers[: rng.choice((1, len(servers)))]:
                yield Sighting(line, NETWORK, server, at, packets=rng.choice((3, 7)))
            at += rng.uniform(3, 20) * MINUTE


def server(line: str, rng: random.Random, days: int, *, per_hour: int = 12) -> Iterator[Sighting]:
    """A small mail server, day and night, whose mail goes out at the first try."""
    at = START
    while at < START + days * DAY:
        at += rng.expovariate(per_hour / HOUR)
        yield Sighting(line, NETWORK, destination(min(int(rng.paretovariate(0.6)), 300)), at)


def list_server(line: str, rng: random.Random, days: int) -> Iterator[Sighting]:
    """The same, and once a day, from the third on, a mailing list to sixty destinations at once."""
    lists = (
        Sighting(line, NETWORK, destination(400 + n), START + day * DAY + 20 * HOUR + n * 0.4)
        for day in range(2, days)
        for n in range(60)
    )
    return heapq.merge(server(line, rng, days), lists, key=lambda sighting: sighting.at)


def blocked_server(line: str, rng: random.Random, days: int) -> Iterator[Sighting]:
    """A mail server whose port is closed: each message tried again after ever longer pauses, two addresses each."""
    tries: list[tuple[float, int]] = []
    for _ in range(days * 24):
        at, pause, number = START + rng.uniform(0, days * DAY), 300.0, rng.randrange(40)
        while at < START + days * DAY:
            tries += [(at, number), (at + 30, number + 100)]
            at += pause
            pause = min(pause * 2, 4000)
    for at, number in sorted(tries):
        yield Sighting(line, NETWORK, destination(number), at, packets=5)


def bot(
    line: str, rng: random.Random, begin: float, *, per_minute: float, targets: int = 60_000, seconds: float = 120
) -> Iterator[Sighting]:
    """An infected machine, from *begin* on."""
    at = begin
    while at < begin + seconds:
        yield Sighting(line, NETWORK, destination(10_000 + rng.randrange(targets)), at, packets=2)
        at += rng.expovariate(per_minute / MINUTE)


def bots(begin: float, rng: random.Random) -> dict[str, Iterator[Sighting]]:
    """Five kinds of infected machines, that begin at *begin*."""
    return {
        "192.0.2.1": bot("192.0.2.1", rng, begin, per_minute=40),
        "192.0.2.2": bot("192.0.2.2", rng, begin, per_minute=120),
        "192.0.2.3": bot("192.0.2.3", rng, begin, per_minute=900),
        "192.0.2.4": bot("192.0.2.4", rng, begin, per_minute=300, targets=12),  # large mail services only
        "2001:db8:0:500::/56": six(bot("2001:db8:0:500::/56", rng, begin, per_minute=60)),
    }


def six(sightings: Iterable[Sighting]) -> Iterator[Sighting]:
    """The same over IPv6."""
    for one in sightings:
        target = IPv6Address(0x20010DB8 << 96 | int(one.destination) << 64 | 25)
        yield Sighting(one.line, one.network, target, one.at, one.packets, one.attempts, one.kind)


def polled(sightings: Iterable[Sighting], every: float) -> Iterator[Sighting]:
    """The same as counters read every so often tell it: what came since, at the time of the reading."""
    batch: dict[tuple[str, object], Sighting] = {}
    until = 0.0
    for one in sightings:
        if one.at >= until:
            yield from batch.values()
            batch.clear()
            until = (one.at // every + 1) * every
        key = (one.line, one.destination)
        before = batch.get(key)
        packets, attempts = (before.packets, before.attempts) if before else (0, 0)
        batch[key] = Sighting(
            one.line, one.network, one.destination, until, packets + one.packets, attempts + one.attempts
        )
    yield from batch.values()


def crowd(seed: int, days: int, *, quiet_lines: int = 1000, clients: int = 20) -> tuple[list[Sighting], list[str]]:
    """A neighborhood over some days, in order of time, and the names of its three honest servers."""
    rng = random.Random(seed)
    servers = ["198.51.100.1", "198.51.100.2", "198.51.100.3"]
    lines: list[Iterator[Sighting]] = [
        server(servers[0], rng, days),
        list_server(servers[1], rng, days),
        blocked_server(servers[2], rng, days),
    ]
    lines += [misconfigured(f"203.0.113.{n}", rng, days) for n in range(clients)]
    lines += [quiet(f"100.64.{n >> 8}.{n & 255}", rng, days) for n in range(quiet_lines)]
    return sorted((one for line in lines for one in line), key=lambda sighting: sighting.at), servers
