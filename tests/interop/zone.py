"""DNS for the tests: nsd answers for a zone of ours, unbound before it resolves, as an installation has it."""

from __future__ import annotations

from pathlib import Path

from .processes import Daemon, free_port, run, wait_for
from .programs import need

__all__ = ["Dns"]

NSD = """\
server:
  server-count: 1
  ip-address: 127.0.0.1@{port}
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
  name: test
  zonefile: test.zone
"""

UNBOUND = """\
server:
  interface: 127.0.0.1
  port: {port}
  username: ""
  chroot: ""
  directory: "{d}"
  pidfile: "{d}/unbound.pid"
  use-syslog: no
  logfile: ""
  do-daemonize: no
  num-threads: 1
  module-config: "iterator"
  do-not-query-localhost: no
  local-zone: "test." nodefault
  cache-max-negative-ttl: 1
remote-control:
  control-enable: no
stub-zone:
  name: "test."
  stub-addr: 127.0.0.1@{authority}
"""

HEAD = """\
$ORIGIN test.
$TTL 60
@ SOA ns.test. hostmaster.test. 1 3600 600 86400 60
@ NS ns.test.
ns A 127.0.0.1
"""


class Dns:
    """The zone ``test.``: `port` is where to ask (unbound), `authority_port` where the truth is (nsd)."""

    def __init__(self, directory: Path, records: str) -> None:
        self._nsd, self._unbound = need("nsd"), need("unbound")
        self._directory = directory
        self.port = free_port()
        self.authority_port = free_port()
        (directory / "test.zone").write_text(HEAD + records)
        (directory / "nsd.conf").write_text(NSD.format(d=directory, port=self.authority_port))
        (directory / "unbound.conf").write_text(
            UNBOUND.format(d=directory, port=self.port, authority=self.authority_port)
        )
        checked = run([need("nsd-checkzone"), "test", directory / "test.zone"])
        assert checked.returncode == 0, checked.stdout.decode() + checked.stderr.decode()

    def start(self) -> None:
        d = self._directory
        self._daemons = [Daemon([self._nsd, "-d", "-c", d / "nsd.conf"], d / "nsd.log")]
        wait_for("nsd to answer", lambda: self._answers(self.authority_port))
        self._daemons.append(Daemon([self._unbound, "-d", "-c", d / "unbound.conf"], d / "unbound.log"))
        wait_for("unbound to answer", lambda: self._answers(self.port))

    def stop(self) -> None:
        for daemon in self._daemons:
            daemon.stop()

    def _answers(self, port: int) -> bool:
        import dns.exception
        import dns.message
        import dns.query

        try:
            answer = dns.query.udp(dns.message.make_query("ns.test.", "A"), "127.0.0.1", port=port, timeout=0.5)
        except (dns.exception.DNSException, OSError):
            return False
        return bool(answer.answer)
