"""The rehearsed provider as data: who is there, under which addresses, behind which router.

Every line is a point-to-point link, as PPPoE and IPoE lines are: the router knows the subscriber's address and
delegated prefix by the interface. All addresses are of the ranges set aside for documentation and for address sharing,
and exist only inside the lab's namespaces.
"""

from __future__ import annotations

from dataclasses import dataclass

EDGE, WORLD = "edge", "world"
"""The two routers: the provider's edge, and everybody else's network behind its uplink."""

UPLINK = "uplink"
"""The edge's interface towards the world."""

EDGE_ADDRESSES = "198.51.100.1", "2001:db8:1::1"
WORLD_ADDRESSES = "203.0.113.1", "2001:db8:f000::1"
WITNESS_TABLE = "sklab_witness"
WITNESS = f"""\
table inet {WITNESS_TABLE} {{
  set four {{ type ipv4_addr . ipv4_addr; flags dynamic; size 65535; counter; }}
  set six {{ type ipv6_addr . ipv6_addr; flags dynamic; size 65535; counter; }}
  chain arrived {{
    type filter hook forward priority 0; policy accept;
    iifname "isp" tcp dport 25 update @four {{ ip saddr . ip daddr }}
    iifname "isp" tcp dport 25 update @six {{ ip6 saddr . ip6 daddr }}
  }}
}}
"""
"""Beyond the edge stands a witness that counts what really came through, by source and destination."""

OWN_SPACE = "198.51.100.0/24", "2001:db8::/36"
REST_OF_OWN_SPACE = "100.64.7.0/24", "192.0.2.0/25"
DOMAIN, FOREIGN_DOMAIN, HOSTING_DOMAIN, OFFICE_DOMAIN = (
    "isp.example",
    "foreign.example",
    "hosting.example",
    "office.example",
)
CAMPUS_DOMAIN = "campus.example"
AOI, RIN = f"aoi@{HOSTING_DOMAIN}", f"rin@{DOMAIN}"
"""The two mail accounts: one at the hosting company, one at the provider."""

CROWD = "203.0.113.128/25", "2001:db8:f0ff::/48"
"""A hundred mail servers of strangers: one namespace answers for all of these addresses."""


@dataclass(frozen=True, slots=True)
class Host:
    """One namespace at the end of a link.

    Fields:
        name: its name.
        network: what kind of line it has; the access networks of the policy have these names.
        router: whom it hangs on.
        four, six: its addresses.
        prefix: what the router sends to it besides: delegated IPv6 prefix, or networks it answers for.
        words: who it is, for the status listing.
    """

    name: str
    network: str
    router: str
    four: str
    six: str
    prefix: tuple[str, ...]
    words: str

    @property
    def interface(self) -> str:
        """The router's interface towards it."""
        return f"{self.network}-{self.name}"

    def address(self, family: int) -> str:
        """Return its address of *family* 4 or 6."""
        return self.four if family == 4 else self.six


ROUTERS = {
    EDGE: (" ".join(EDGE_ADDRESSES), "the provider's edge router, where the gate is"),
    WORLD: (" ".join(WORLD_ADDRESSES), "the rest of the world, with the witness"),
}

HOSTS = (
    Host("aoi", "home", EDGE, "198.51.100.70", "2001:db8:100:100::2", ("2001:db8:100:100::/56",),
         "subscriber whose mail client still says: server of the hosting company, port 25"),
    Host("rin", "home", EDGE, "198.51.100.71", "2001:db8:100:200::2", ("2001:db8:100:200::/56",),
         "subscriber with the settings that the provider recommends"),
    Host("worm", "home", EDGE, "198.51.100.72", "2001:db8:100:300::2", ("2001:db8:100:300::/56",),
         "subscriber whose machine is infected"),
    Host("ken", "mobile", EDGE, "100.64.7.20", "2001:db8:200:100::2", ("2001:db8:200:100::/56",),
         "mobile subscriber of the second wave, client set to port 25"),
    Host("office", "business", EDGE, "198.51.100.130", "2001:db8:300:100::2", ("2001:db8:300:100::/56",),
         "fixed-address customer with a mail server of its own (Postfix)"),
    Host("desk", "campus", EDGE, "192.0.2.40", "2001:db8:400:100::2", ("2001:db8:400:100::/56",),
         "desk in the campus network"),
    Host("faculty", "campus", EDGE, "192.0.2.25", "2001:db8:400:200::2", ("2001:db8:400:200::/56",),
         "registered mail server in the campus network"),
    Host("mail", "servers", EDGE, "198.51.100.25", "2001:db8:1::25", ("2001:db8:1::25/128",),
         "the provider's mail server (Sekisho)"),
    Host("dns", "servers", EDGE, "198.51.100.53", "2001:db8:1::53", ("2001:db8:1::53/128",),
         "name server (nsd)"),
    Host("mx", "foreign", WORLD, "203.0.113.25", "2001:db8:f000:25::25", ("2001:db8:f000:25::/64",),
         "somebody else's MX (Postfix)"),
    Host("msa", "foreign", WORLD, "203.0.113.87", "2001:db8:f000:87::87", ("2001:db8:f000:87::/64",),
         "hosting company: submission, POP and IMAP (Postfix, Dovecot)"),
    Host("crowd", "foreign", WORLD, "203.0.113.129", "2001:db8:f0ff::1", CROWD,
         "mail servers of a hundred strangers"),
)  # fmt: skip

BY_NAME = {host.name: host for host in HOSTS}

NODES = (EDGE, WORLD, *BY_NAME)
"""Every namespace of the lab."""

SERVER_NAMES = {
    "mail": f"mail.{DOMAIN}",
    "mx": f"mx.{FOREIGN_DOMAIN}",
    "msa": f"smtp.{HOSTING_DOMAIN}",
    "office": f"mail.{OFFICE_DOMAIN}",
    "faculty": f"mail.{CAMPUS_DOMAIN}",
}


def zone() -> str:
    """Return the zone ``example.``, with which the lab's name server answers."""
    lines = [
        "$ORIGIN example.",
        "$TTL 60",
        "@ SOA ns.isp.example. hostmaster.isp.example. 1 3600 600 86400 60",
        "@ NS ns.isp.example.",
        *_addresses("ns.isp", BY_NAME["dns"]),
    ]
    for name, server in SERVER_NAMES.items():
        domain = server.partition(".")[2]
        lines.append(f"{domain}. MX 10 {server}.")
        lines += _addresses(f"{server}.", BY_NAME[name])
    return "\n".join(lines) + "\n"


def _addresses(owner: str, host: Host) -> list[str]:
    return [f"{owner} A {host.four}", f"{owner} AAAA {host.six}"]


def link_commands(host: Host, namespace: str, router_namespace: str) -> tuple[list[str], list[str], list[str]]:
    """Return the lines for ``ip -batch`` that lay the line of *host*: to make it, on the router, on the host."""
    four, six = EDGE_ADDRESSES if host.router == EDGE else WORLD_ADDRESSES
    made = [f"link add {host.interface} netns {router_namespace} type veth peer name wan netns {namespace}"]
    router = [
        *_link(host.interface, "fe80::1"),
        f"address add {four}/32 dev {host.interface}",
        f"address add {six}/128 dev {host.interface} nodad",
        f"route add {host.four}/32 dev {host.interface}",
        f"route add {host.six}/128 via fe80::2 dev {host.interface}",
        *(
            f"route add {prefix} via {'fe80::2' if ':' in prefix else host.four} dev {host.interface}"
            for prefix in host.prefix
            if prefix != f"{host.six}/128"
        ),
    ]
    end = [
        *_link("wan", "fe80::2"),
        "link set lo up",
        f"address add {host.four}/32 dev wan",
        f"address add {host.six}/128 dev wan nodad",
        f"route add {four}/32 dev wan",
        f"route add default via {four} dev wan",
        "route add default via fe80::1 dev wan",
    ]
    if host.name == "crowd":
        end += [f"route add local {prefix} dev lo" for prefix in CROWD]
    return made, router, end


def uplink_commands(edge: str, world: str) -> tuple[list[str], list[str], list[str]]:
    """Return the same for the link between the two routers."""
    made = [f"link add {UPLINK} netns {edge} type veth peer name isp netns {world}"]
    edge_four, edge_six = EDGE_ADDRESSES
    world_four, world_six = WORLD_ADDRESSES
    on_edge = [
        "link set lo up",
        *_link(UPLINK, "fe80::1"),
        f"address add {edge_four}/32 dev {UPLINK}",
        f"address add {edge_six}/128 dev {UPLINK} nodad",
        f"route add {world_four}/32 dev {UPLINK}",
        f"route add default via {world_four} dev {UPLINK}",
        f"route add default via fe80::2 dev {UPLINK}",
    ]
    on_world = [
        "link set lo up",
        *_link("isp", "fe80::2"),
        f"address add {world_four}/32 dev isp",
        f"address add {world_six}/128 dev isp nodad",
        f"route add {edge_four}/32 dev isp",
        *(
            f"route add {prefix} via {'fe80::1' if ':' in prefix else edge_four} dev isp"
            for prefix in (*OWN_SPACE, *REST_OF_OWN_SPACE)
        ),
    ]
    return made, on_edge, on_world


def _link(interface: str, link_local: str) -> list[str]:
    return [
        f"link set {interface} addrgenmode none",
        f"link set {interface} up",
        f"address add {link_local}/64 dev {interface} nodad",
    ]
