"""The witness's counters are read by source and destination."""

from __future__ import annotations

from sekisho.lab.witness import read

LISTING = """{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family": "inet", "name": "four", "elem": [
{"elem": {"val": {"concat": ["198.51.100.72", "203.0.113.130"]}, "counter": {"packets": 6, "bytes": 300}}},
{"elem": {"val": {"concat": ["198.51.100.72", "203.0.113.25"]}, "counter": {"packets": 2, "bytes": 100}}}]}},
{"set": {"family": "inet", "name": "six", "elem": [
{"elem": {"val": {"concat": ["2001:db8:100:300::2", "2001:db8:f0ff::2"]}, "counter": {"packets": 5, "bytes": 400}}}
]}}]}"""


def test_packets_are_summed_over_what_was_asked() -> None:
    seen = read(LISTING)
    assert seen.count("198.51.100.72") == 8
    assert seen.count("198.51.100.72", "203.0.113.128/25") == 6
    assert seen.count("198.51.100.72 2001:db8:100:300::/56") == 13
    assert seen.count("198.51.100.70") == 0


def test_a_table_that_has_seen_nothing_is_read() -> None:
    assert read('{"nftables": [{"set": {"family": "inet", "name": "four"}}]}').count("198.51.100.72") == 0
