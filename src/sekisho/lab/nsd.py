"""nsd, which answers for the lab's one zone."""

from __future__ import annotations

from .place import Place
from .topology import BY_NAME, zone

CONFIGURATION = """\
server:
  server-count: 1
  ip-address: {four}
  ip-address: {six}
  username: ""
  chroot: ""
  zonesdir: "{d}"
  database: ""
  zonelistfile: "{d}/nsd.zones"
  xfrdfile: "{d}/nsd.xfrd"
  xfrdir: "{d}"
  pidfile: "{d}/nsd.pid"
  verbosity: 1
remote-control:
  control-enable: no
zone:
  name: example
  zonefile: example.zone
"""


class Nsd:
    """The name server."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def start(self) -> None:
        """Start it; it is ready when this returns."""
        place, host = self._place, BY_NAME[self._place.node]
        place.directory.mkdir(parents=True, exist_ok=True)
        (place.directory / "example.zone").write_text(zone())
        (place.directory / "nsd.conf").write_text(CONFIGURATION.format(d=place.directory, four=host.four, six=host.six))
        place.start("nsd", ["nsd", "-d", "-c", place.directory / "nsd.conf"])
        place.wait_until_it_listens("nsd", 53, table="udp")
