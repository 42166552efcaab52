#!/bin/sh
set -eu
gobgp global rib add -a ipv4-flowspec match destination 192.0.2.40/32 source 203.0.113.0/24 protocol tcp destination-port '==25' then accept
gobgp global rib add -a ipv4-flowspec match destination 192.0.2.24/29 source 198.51.100.0/25 protocol tcp destination-port '==25' then accept
gobgp global rib add -a ipv4-flowspec match destination 192.0.2.240/28 source 198.51.100.0/25 protocol tcp destination-port '==25' then accept
gobgp global rib add -a ipv4-flowspec match destination 192.0.2.240/28 source 203.0.113.0/24 protocol tcp destination-port '==25' then accept
gobgp global rib add -a ipv4-flowspec match source 198.51.100.25/32 protocol tcp destination-port '==25' then accept
gobgp global rib add -a ipv4-flowspec match source 198.51.100.0/25 protocol tcp destination-port '==25' then discard
gobgp global rib add -a ipv4-flowspec match source 203.0.113.0/24 protocol tcp destination-port '==25' then discard
gobgp global rib add -a ipv6-flowspec match destination 2001:db8:0:40::25/128 source 2001:db8:400::/48 protocol tcp destination-port '==25' then accept
gobgp global rib add -a ipv6-flowspec match destination 2001:db8:0:25::/64 source 2001:db8:100::/40 protocol tcp destination-port '==25' then accept
gobgp global rib add -a ipv6-flowspec match source 2001:db8:100:2500::/56 protocol tcp destination-port '==25' then accept
gobgp global rib add -a ipv6-flowspec match source 2001:db8:400::/48 protocol tcp destination-port '==25' then discard
gobgp global rib add -a ipv6-flowspec match source 2001:db8:100::/40 protocol tcp destination-port '==25' then discard
