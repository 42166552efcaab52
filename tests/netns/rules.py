"""Small rulesets in the form that the compiler writes, to test the backend without it."""

from __future__ import annotations

from sekisho.edge.nftables import Candidate

SKELETON = """\
add table inet sekisho_edge
delete table inet sekisho_edge
table inet sekisho_edge {{
{sets}\tchain lines {{
{rules}\t\ttcp dport {port} {verdict}
\t}}
\tchain edge_forward {{
\t\ttype filter hook forward priority -150; policy accept;
\t\ttcp dport {port} goto lines
\t}}
{more}}}
add table inet sekisho_count
add set inet sekisho_count seen4 {{ type ipv4_addr . ipv4_addr; flags dynamic, timeout; size 65535; timeout 1h; }}
add chain inet sekisho_count count_forward {{ type filter hook forward priority -140; policy accept; }}
flush chain inet sekisho_count count_forward
add rule inet sekisho_count count_forward tcp dport {port} update @seen4 {{ ip saddr . ip daddr counter }}
"""
SET = """\
\tset exempt4 {{
\t\ttype ipv4_addr
\t\tflags interval
\t\tauto-merge
\t\telements = {{
{elements}\t\t}}
\t}}
"""


def candidate(
    *exempt: str, verdict: str = "drop", port: int = 25, more: str = "", day: str = "2027-01-01"
) -> Candidate:
    rows = "".join(f"\t\t\t{', '.join(exempt[at : at + 16])},\n" for at in range(0, len(exempt), 16))
    sets = SET.format(elements=rows) if exempt else ""
    rules = "\t\tip saddr @exempt4 return\n" if exempt else ""
    text = SKELETON.format(sets=sets, rules=rules, verdict=verdict, port=port, more=more)
    return Candidate(text, "test", 1, day)
