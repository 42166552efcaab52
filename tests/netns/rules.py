"""Small rulesets in the form that the compiler writes, to test the backend without it."""

from __future__ import annotations

from sekisho.edge.nftables import Candidate

SKELETON = """\
add table inet sekisho_edge
add set inet sekisho_edge exempt4 {{ type ipv4_addr; flags interval; auto-merge; }}
flush set inet sekisho_edge exempt4
add chain inet sekisho_edge edge_forward {{ type filter hook forward priority -150; policy accept; }}
flush chain inet sekisho_edge edge_forward
{elements}add rule inet sekisho_edge edge_forward tcp dport {port} ip saddr @exempt4 return
add rule inet sekisho_edge edge_forward tcp dport {port} {verdict}
add table inet sekisho_count
add set inet sekisho_count seen4 {{ type ipv4_addr . ipv4_addr; flags dynamic, timeout; size 65535; timeout 1h; }}
add chain inet sekisho_count count_forward {{ type filter hook forward priority -140; policy accept; }}
flush chain inet sekisho_count count_forward
add rule inet sekisho_count count_forward tcp dport {port} update @seen4 {{ ip saddr . ip daddr counter }}
"""


def candidate(
    *exempt: str, verdict: str = "drop", port: int = 25, more: str = "", day: str = "2027-01-01"
) -> Candidate:
    elements = f"add element inet sekisho_edge exempt4 {{ {', '.join(exempt)} }}\n" if exempt else ""
    return Candidate(SKELETON.format(elements=elements, verdict=verdict, port=port) + more, "test", 1, day)
