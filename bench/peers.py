"""How each peer is configured, started and stopped.

Every setting which differs from the peer's default has its reason beside it.
Variants of a configuration:

  relay         everything is relayed to the sink at once
  hold          mail is accepted durably, delivery is not tried
  backlog       as relay, the sink answers 451: messages become deferred, and
                the first retry is far away
  backlog-hold  the same spool; new mail is accepted, not delivered
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path


class Unsupported(Exception):
    pass


@dataclass
class Settings:
    work: Path
    sink_port: int
    smtp_port: int
    submission_port: int
    smtps_port: int
    cert: Path
    key: Path
    user: str
    password: str
    toml: str | None = None


def out(*cmd, **kw):
    return subprocess.run(
        [str(c) for c in cmd], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw
    ).stdout


class Peer:
    delivers = True  # it has a queue and relays
    strong_auth = False
    tls = True
    max_idle = 5000
    max_idle_why = ""
    load_options = []  # for every loadgen run

    def __init__(self, s):
        self.s, self.dir, self.procs = s, s.work, []
        self.dir.mkdir(parents=True, exist_ok=True)

    def ports(self):
        if not self.tls:
            return [self.s.smtp_port]
        return [self.s.smtp_port, self.s.submission_port, self.s.smtps_port]

    def wipe(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)

    def spawn(self, group, *cmd, **kw):
        log = open(self.dir / "output.log", "ab")
        p = subprocess.Popen(
            [str(c) for c in cmd],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=group.enter,
            start_new_session=True,
            **kw,
        )
        group.roots.append(p.pid)
        self.procs.append(p)
        return p

    def stop(self, group):
        for p in self.procs:
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for p in self.procs:
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.procs = []

    def pending(self):
        """Whether first attempts are still outstanding (backlog scenario)."""
        return False

    def put(self, name, text, mode=0o644):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path


# ------------------------------------------------------------------ postfix


class Postfix(Peer):
    """Debian's postfix, dovecot's auth service for SASL.

    Password scheme: {PLAIN} in a passwd-file (the fastest there is, so that the
    run shows the machinery); strong: {ARGON2ID} as doveadm makes it.
    """

    strong_auth = True

    def version(self):
        return (
            "postfix "
            + out("postconf", "-d", "-h", "mail_version").strip()
            + ", dovecot "
            + out("dovecot", "--version").split()[0]
        )

    def configure(self, variant, strong=False, idle=0):
        s, d = self.s, self.dir
        for sub in ("etc", "spool", "data", "log", "dovecot"):
            (d / sub).mkdir(parents=True, exist_ok=True)
        shutil.chown(d / "data", "postfix", "postfix")
        limit = max(100, idle + 50)
        main = f"""
compatibility_level = 3.6
queue_directory = {d}/spool
data_directory = {d}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
# log to a file by postlogd: no syslog daemon in the measurement
maillog_file = {d}/log/maillog
maillog_file_prefixes = {d}
myhostname = mx.bench.invalid
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject
# everything to the sink, by address: no DNS anywhere
relayhost = [127.0.0.1]:{s.sink_port}
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
# the default; it bounds smtpd and smtp together with master
default_process_limit = {limit}
# no artificial pause in cleanup when the queue manager lags (default 1s)
in_flow_delay = 0
# one destination only (the sink): let the queue manager use it fully at once
initial_destination_concurrency = 50
default_destination_concurrency_limit = 50
smtp_destination_concurrency_limit = 50
# the 25 MiB scenario (default 10 MB)
message_size_limit = 60000000
mailbox_size_limit = 0
smtpd_tls_cert_file = {s.cert}
smtpd_tls_key_file = {s.key}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_sasl_security_options = noanonymous
"""
        if variant in ("hold", "backlog-hold"):
            main += "smtpd_sender_restrictions = static:HOLD\n"
        if variant.startswith("backlog"):
            main += "# keep retries out of the measurement\nminimal_backoff_time = 4h\nmaximal_backoff_time = 8h\n"
        self.put("etc/main.cf", main)
        sasl = "\n  -o smtpd_sasl_auth_enable=yes\n  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject"
        self.put(
            "etc/master.cf",
            f"""
127.0.0.1:{s.smtp_port} inet n - n - - smtpd
127.0.0.1:{s.submission_port} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt{sasl}
127.0.0.1:{s.smtps_port} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes{sasl}
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
""",
        )
        password = "{PLAIN}" + s.password
        if strong:
            password = out("doveadm", "-O", "pw", "-s", "ARGON2ID", "-p", s.password).strip()
        self.put("dovecot/users", f"{s.user}:{password}::::::\n")
        self.put(
            "dovecot/dovecot.conf",
            f"""
base_dir = {d}/dovecot/run
state_dir = {d}/dovecot/state
log_path = {d}/log/dovecot.log
protocols =
ssl = no
auth_mechanisms = plain
auth_failure_delay = 2 secs
passdb {{
  driver = passwd-file
  args = {d}/dovecot/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
  client_limit = {limit * 3 + 1000}
  unix_listener {d}/spool/private/auth {{
    mode = 0666
  }}
}}
service anvil {{
  client_limit = {limit * 3 + 1000}
}}
service stats {{
  chroot =
}}
""",
        )

    def start(self, group):
        subprocess.run(
            ["postfix", "-c", self.dir / "etc", "start"],
            check=True,
            preexec_fn=group.enter,
            stdout=subprocess.DEVNULL,
            stderr=open(self.dir / "output.log", "ab"),
        )
        self.spawn(group, "dovecot", "-F", "-c", self.dir / "dovecot/dovecot.conf")
        deadline = time.monotonic() + 10
        while not (self.dir / "spool/private/auth").exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def stop(self, group):
        subprocess.run(
            ["postfix", "-c", self.dir / "etc", "stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        super().stop(group)

    def pending(self):
        for q in ("incoming", "active", "maildrop"):
            for _, _, files in os.walk(self.dir / "spool" / q):
                if files:
                    return True
        return False


# --------------------------------------------------- described by a TOML file


class Toml(Peer):
    """A server described by a small TOML file, for example

        name = "sekisho"
        version = ["sekisho", "--version"]
        command = ["sekisho", "serve", "--config", "{dir}/sekisho.toml"]
        cwd = "."                    # relative to the TOML file; optional
        delivers = true
        strong_auth = true
        tls = true                   # false: only the plain port, no S3, S4, S5
        max_idle = 5000
        pending = ["sekisho", "queue", "--untried"]   # optional: output "0" means none
        [files]                      # written before each start
        "sekisho.toml" = '''...{smtp_port} {hold}...'''
        [variants.hold]              # values for placeholders, by variant
        hold = "true"
        [variants.default]
        hold = "false"
        [variants.strong]            # added when the strong password run is on
        [variants.strong-repeated]   # added when logins of one account may be remembered

    Placeholders: {dir} {smtp_port} {submission_port} {smtps_port} {sink_port}
    {cert} {key} {user} {password} {idle} {variant} and those of [variants].
    A literal brace is doubled.
    """

    def __init__(self, s):
        super().__init__(s)
        self.file = Path(s.toml).resolve()
        self.t = tomllib.loads(self.file.read_text())
        self.delivers = self.t.get("delivers", True)
        self.strong_auth = self.t.get("strong_auth", False)
        self.tls = self.t.get("tls", True)
        self.max_idle = self.t.get("max_idle", 5000)
        self.max_idle_why = "limit in the TOML file"
        self.values = {}

    def fill(self, words):
        return [w.format_map(self.values) for w in words]

    def cwd(self):
        return self.file.parent / self.t.get("cwd", ".")

    def version(self):
        return out(*self.t["version"], cwd=self.cwd()).strip() if "version" in self.t else ""

    def configure(self, variant, strong=False, idle=0):
        s = self.s
        variants = self.t.get("variants", {})
        self.values = {
            "dir": self.dir,
            "smtp_port": s.smtp_port,
            "submission_port": s.submission_port,
            "smtps_port": s.smtps_port,
            "sink_port": s.sink_port,
            "cert": s.cert,
            "key": s.key,
            "user": s.user,
            "password": s.password,
            "idle": idle,
            "variant": variant,
            **variants.get("default", {}),
            **variants.get(variant, {}),
            **(variants.get({True: "strong", "repeated": "strong-repeated"}[strong], {}) if strong else {}),
        }
        for name, text in self.t.get("files", {}).items():
            self.put(name, text.format_map(self.values))

    def start(self, group):
        self.spawn(group, *self.fill(self.t["command"]), cwd=self.cwd())

    def pending(self):
        if "pending" not in self.t:
            return False
        return out(*self.fill(self.t["pending"]), cwd=self.cwd()).strip() != "0"


KINDS = {"postfix": Postfix}


def make(name, settings):
    if settings.toml:
        return Toml(settings)
    if name not in KINDS:
        sys.exit(f"unknown peer {name}: give --toml")
    return KINDS[name](settings)
