"""Programs that submit mail, each driven as a person or a script would drive it.

Every driver takes the server, the letter, a scratch directory and whether to use implicit TLS; it verifies the server's
certificate, and fails with the program's own words when the program says that it did not send.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from urllib.parse import quote

from .letter import Letter, Submission
from .processes import run
from .programs import need, need_file, need_perl

__all__ = [
    "Driver",
    "curl",
    "git_send_email",
    "msmtp",
    "mutt",
    "net_smtp",
    "nodemailer",
    "python_smtplib",
    "s_nail",
    "swaks",
]

# server, letter, scratch directory, implicit TLS, mechanism (None: the program's own choice)
Driver = Callable[[Submission, Letter, Path, bool, str | None], None]


def swaks(server: Submission, letter: Letter, scratch: Path, implicit_tls: bool, mechanism: str | None) -> None:
    content = scratch / "letter"
    content.write_bytes(letter.octets())
    command: list[str | Path] = [need("swaks"), "--server", server.host, "--helo", "vm"]
    command += ["--port", str(server.port(implicit_tls=implicit_tls)), "--tls-on-connect" if implicit_tls else "--tls"]
    command += ["--tls-verify", "--tls-ca-path", server.authority]
    command += ["--auth"] + ([mechanism] if mechanism else [])
    command += ["--auth-user", server.login, "--auth-password", server.password]
    command += ["--from", letter.sender, "--to", letter.recipient, "--data", f"@{content}"]
    _sent(run(command))


def msmtp(server: Submission, letter: Letter, scratch: Path, implicit_tls: bool, mechanism: str | None) -> None:
    password = scratch / "password"
    password.write_text(server.password + "\n")
    command: list[str | Path] = [need("msmtp"), "--file=/dev/null", f"--host={server.host}"]
    command += [f"--port={server.port(implicit_tls=implicit_tls)}", "--tls=on", f"--tls-trust-file={server.authority}"]
    command += [f"--tls-starttls={'off' if implicit_tls else 'on'}", f"--auth={(mechanism or 'on').lower()}"]
    command += [f"--user={server.login}", f"--passwordeval=cat '{password}'"]
    command += [f"--from={letter.sender}", "--", letter.recipient]
    _sent(run(command, octets=letter.octets()))


def curl(server: Submission, letter: Letter, scratch: Path, implicit_tls: bool, mechanism: str | None) -> None:
    content = scratch / "letter"
    content.write_bytes(letter.wire())
    url = f"{'smtps' if implicit_tls else 'smtp'}://{server.host}:{server.port(implicit_tls=implicit_tls)}/vm"
    command: list[str | Path] = [need("curl"), "--disable", "--silent", "--show-error", "--url", url, "--ssl-reqd"]
    command += ["--cacert", server.authority, "--user", f"{server.login}:{server.password}", "--noproxy", "*"]
    command += ["--login-options", f"AUTH={mechanism}"] if mechanism else []
    command += ["--mail-from", letter.sender, "--mail-rcpt", letter.recipient, "--upload-file", content]
    _sent(run(command))


def mutt(server: Submission, letter: Letter, scratch: Path, implicit_tls: bool, mechanism: str | None) -> None:
    url = f"{quote(server.login, safe='')}@{server.host}:{server.port(implicit_tls=implicit_tls)}"
    settings = {
        "smtp_url": f"{'smtps' if implicit_tls else 'smtp'}://{url}/",
        "smtp_pass": server.password,
        "ssl_force_tls": "yes",
        "ssl_starttls": "yes",
        "ssl_ca_certificates_file": str(server.authority),
        "certificate_file": str(scratch / "accepted"),
        "from": letter.sender,
        "copy": "no",
        "charset": "utf-8",
    }
    if mechanism:
        settings["smtp_authenticators"] = mechanism.lower()
    muttrc = scratch / "muttrc"
    muttrc.write_text("".join(f'set {name}="{value}"\n' for name, value in settings.items()))
    command: list[str | Path] = [need("mutt"), "-n", "-F", muttrc, "-s", letter.subject, "--", letter.recipient]
    _sent(run(command, octets=letter.text.encode(), env={"HOME": str(scratch), "LC_ALL": "C.UTF-8"}))


def s_nail(server: Submission, letter: Letter, scratch: Path, implicit_tls: bool, mechanism: str | None) -> None:
    who = f"{quote(server.login, safe='')}:{quote(server.password, safe='')}"
    where = f"localhost:{server.port(implicit_tls=implicit_tls)}"  # it compares names only, never addresses
    settings = {
        "v15-compat": "yes",
        "mta": f"{'smtps' if implicit_tls else 'smtp'}://{who}@{where}",
        "smtp-auth": (mechanism or "plain").lower(),
        "tls-ca-file": str(server.authority),
        "tls-verify": "strict",
        "from": letter.sender,
        "ttycharset": "utf-8",
        "DEAD": str(scratch / "dead.letter"),
    }
    command: list[str | Path] = [need("s-nail"), "-:/", "-v"]
    command += [word for name, value in settings.items() for word in ("-S", f"{name}={value}")]
    command += [] if implicit_tls else ["-S", "smtp-use-starttls"]
    command += ["-s", letter.subject, letter.recipient]
    _sent(run(command, octets=letter.text.encode(), env={"HOME": str(scratch), "LC_ALL": "C.UTF-8"}))


def python_smtplib(
    server: Submission, letter: Letter, scratch: Path, implicit_tls: bool, mechanism: str | None
) -> None:
    trust = ssl.create_default_context(cafile=str(server.authority))
    client: smtplib.SMTP
    if implicit_tls:
        client = smtplib.SMTP_SSL(server.host, server.submissions_port, timeout=20, context=trust)
    else:
        client = smtplib.SMTP(server.host, server.submission_port, timeout=20)
        client.starttls(context=trust)
    with client:
        if mechanism is None:
            client.login(server.login, server.password)
        else:
            client.ehlo()
            client.user, client.password = server.login, server.password
            client.auth(mechanism, getattr(client, "auth_" + mechanism.lower().replace("-", "_")))
        refused = client.sendmail(letter.sender, [letter.recipient], letter.wire())
    assert refused == {}


NET_SMTP = """
use strict; use warnings; use Net::SMTP;
my ($host, $port, $implicit, $ca, $user, $password, $mechanism, $from, $to) = @ARGV;
my $smtp = Net::SMTP->new($host, Port => $port, SSL => $implicit, Timeout => 20, SSL_ca_file => $ca)
    or die "connect: $@";
$implicit or $smtp->starttls(SSL_ca_file => $ca) or die "starttls: " . $smtp->message;
my $credentials = $user;
if ($mechanism) {
    require Authen::SASL;
    my $answers = {user => $user, pass => $password, authname => $user};
    $credentials = Authen::SASL->new(mechanism => $mechanism, callback => $answers);
}
$smtp->auth($credentials, $password) or die "auth: " . $smtp->message;
$smtp->mail($from) or die "mail: " . $smtp->message;
$smtp->to($to) or die "to: " . $smtp->message;
$smtp->data(<STDIN>) or die "data: " . $smtp->message;
$smtp->quit;
"""


def net_smtp(server: Submission, letter: Letter, scratch: Path, implicit_tls: bool, mechanism: str | None) -> None:
    for module in ("Net::SMTP", "IO::Socket::SSL", "Authen::SASL"):
        need_perl(module)
    script = scratch / "send.pl"
    script.write_text(NET_SMTP)
    command: list[str | Path] = [need("perl"), script, server.host, str(server.port(implicit_tls=implicit_tls))]
    command += ["1" if implicit_tls else "0", server.authority, server.login, server.password, mechanism or ""]
    _sent(run([*command, letter.sender, letter.recipient], octets=letter.octets()))


NODEMAILER = """
const [host, port, implicit, ca, user, pass, method, from, to] = process.argv.slice(2);
const fs = require('fs');
const transport = require('nodemailer').createTransport({
  host, port: Number(port), secure: implicit === '1', requireTLS: implicit !== '1',
  auth: {user, pass}, authMethod: method || undefined, tls: {ca: fs.readFileSync(ca)}, connectionTimeout: 20000,
});
transport.sendMail({envelope: {from, to}, raw: fs.readFileSync(0)})
  .then(() => transport.close(), (error) => { console.error(String(error)); process.exit(1); });
"""


def nodemailer(server: Submission, letter: Letter, scratch: Path, implicit_tls: bool, mechanism: str | None) -> None:
    need_file("/usr/share/nodejs/nodemailer")
    script = scratch / "send.js"
    script.write_text(NODEMAILER)
    command: list[str | Path] = [need("node"), script, server.host, str(server.port(implicit_tls=implicit_tls))]
    command += ["1" if implicit_tls else "0", server.authority, server.login, server.password, mechanism or ""]
    env = {"NODE_PATH": "/usr/share/nodejs"}
    _sent(run([*command, letter.sender, letter.recipient], octets=letter.wire(), env=env))


def git_send_email(
    server: Submission, letter: Letter, scratch: Path, implicit_tls: bool, mechanism: str | None
) -> None:
    git = need("git")
    need_file("/usr/lib/git-core/git-send-email")
    need_perl("Mail::Address")
    patch = scratch / "0001-letter.patch"
    patch.write_bytes(letter.octets())
    command: list[str | Path] = [git, "send-email", f"--smtp-server={server.host}", "--confirm=never", "--no-validate"]
    command += [f"--smtp-server-port={server.port(implicit_tls=implicit_tls)}"]
    command += [f"--smtp-encryption={'ssl' if implicit_tls else 'tls'}", f"--smtp-ssl-cert-path={server.authority}"]
    command += [f"--smtp-user={server.login}", f"--smtp-pass={server.password}"]
    command += [f"--smtp-auth={mechanism}"] if mechanism else []
    command += [
        f"--from=Rin <{letter.sender}>",
        f"--to={letter.recipient}",
        "--suppress-cc=all",
        "--8bit-encoding=UTF-8",
    ]
    env = {"HOME": str(scratch), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CEILING_DIRECTORIES": str(scratch)}
    _sent(run([*command, patch], env=env, cwd=scratch))


def _sent(done: CompletedProcess[bytes]) -> None:
    said = done.stdout.decode(errors="replace")[-3000:] + done.stderr.decode(errors="replace")[-3000:]
    assert done.returncode == 0, f"{done.args[0]} ended with {done.returncode}:\n{said}"
