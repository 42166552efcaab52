"""Thunderbird's own account set-up finds the settings in what `sekisho autoconfig write` wrote.

Thunderbird runs as it is, in a window of its own; its remote control (Marionette, in every build) opens the account
set-up, which then looks for settings by itself. It reaches the documents through a proxy, as it would in an office: the
proxy stands for the web server of each name that a client could ask, with certificates of our authority, over HTTPS.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sekisho.cli.main import main
from sekisho.supervise.init import Answers, initialize

from .certificates import Authority
from .fixtures import NewPlace
from .processes import Daemon, free_port, run, wait_for, wait_for_port
from .programs import need
from .thunderbird import PREFERENCES

DOMAIN = "home.test"
TLS, STARTTLS, NORMAL_PASSWORD = 3, 2, 3  # nsMsgSocketType, nsMsgAuthMethod

SEARCH = """
  const { FindConfig } = ChromeUtils.importESModule("resource:///modules/accountcreation/FindConfig.sys.mjs");
  const search = FindConfig.parallelAutoDiscovery(args[0], args[1], new AbortController().signal);
  return JSON.parse(JSON.stringify((await search.next()).value));
"""

DIALOG = """
  const window = Services.wm.getMostRecentWindow("mail:3pane");
  const wait = async (look) => {
    for (let tries = 0; tries < 300; tries++) {
      const found = look();
      if (found) return found;
      await new Promise(resolve => window.setTimeout(resolve, 100));
    }
    throw new Error("waited for " + look);
  };
  await wait(() => window.openAccountHub && window.document.readyState == "complete");
  await window.openAccountHub("MAIL");
  const hub = window.document.querySelector("account-hub-container");
  const root = hub.shadowRoot ?? hub;
  const form = await wait(() => root.querySelector("email-auto-form"));
  const type = (id, text) => {
    const field = form.querySelector(id);
    field.value = text;
    field.dispatchEvent(new window.Event("input", { bubbles: true }));
  };
  type("#realName", args[0]);
  type("#email", args[1]);
  const shown = (selector) => [...root.querySelectorAll(selector)].find(each => each.checkVisibility());
  const forward = await wait(() => shown("#forward:not([disabled])"));
  forward.click();
  const step = await wait(() => shown("email-config-found"));
  await wait(() => step.querySelector("#incomingHost").textContent);
  const read = (id) => step.querySelector(id).textContent.trim();
  return ["#incomingHost", "#incomingPort", "#outgoingHost", "#outgoingPort"].map(read);
"""

NAMES = (f"autoconfig.{DOMAIN}", DOMAIN)


class WebServers:
    """A proxy that is every web server of the domain; other names cannot be reached through it."""

    def __init__(self, root: Path, authority: Authority) -> None:
        self.asked: list[str] = []
        contexts = {}
        for name in NAMES:
            pair = authority.issue(name)
            contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            contexts[name].load_cert_chain(pair.certificate, pair.key)
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            host = ""

            def do_CONNECT(self) -> None:
                self.host = self.path.rpartition(":")[0]
                if self.host not in contexts:
                    return self.send_error(502)
                self.send_response(200)
                self.end_headers()
                plain = self.rfile, self.wfile
                with contextlib.ExitStack() as stack:
                    tls = stack.enter_context(contexts[self.host].wrap_socket(self.connection, server_side=True))
                    self.rfile = stack.enter_context(tls.makefile("rb"))
                    self.wfile = stack.enter_context(tls.makefile("wb"))
                    self.handle_one_request()
                self.rfile, self.wfile = plain
                self.close_connection = True
                return None

            def do_GET(self) -> None:
                path = self.path.partition("?")[0].lstrip("/")
                file = root / path
                if not self.host or not file.is_file():
                    return self.send_error(404)
                asked.append(f"https://{self.host}/{path}")
                octets = file.read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", "text/xml; charset=utf-8")
                self.send_header("Content-Length", str(len(octets)))
                self.end_headers()
                self.wfile.write(octets)
                return None

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Marionette:
    """Thunderbird's remote control: numbered commands as JSON, each with its length before it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._file = self._socket.makefile("rb")
        self._number = 0
        self._receive()
        self.ask("WebDriver:NewSession", {"capabilities": {}})
        self.ask("Marionette:SetContext", {"value": "chrome"})
        self.ask("WebDriver:SetTimeouts", {"script": 45_000})

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, command: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        octets = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(str(len(octets)).encode() + b":" + octets)
        _, _, error, result = self._receive()
        assert error is None, error
        return result

    def run(self, script: str, *arguments: object) -> Any:
        """Run *script* as the body of an asynchronous function with Thunderbird's own rights."""
        body = f"const done = arguments[arguments.length - 1]; (async (...args) => {{ {script} }})(...arguments)"
        body += ".then(value => done({value}), error => done({error: String(error) + '\\n' + error?.stack}));"
        parameters = {"script": body, "args": list(arguments), "newSandbox": True, "sandbox": "system"}
        answer = self.ask("WebDriver:ExecuteAsyncScript", parameters)["value"]
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def _receive(self) -> Any:
        length = b""
        while (octet := self._file.read(1)) != b":":
            assert octet, "Thunderbird closed its remote control"
            length += octet
        return json.loads(self._file.read(int(length)))


@pytest.fixture
def web(scratch: Path, authority: Authority) -> Iterator[WebServers]:
    config = scratch / "sekisho.toml"
    changes = {
        "incoming.imap": f'"imap.{DOMAIN}"',
        "incoming.pop3": f'"pop.{DOMAIN}"',
        "autoconfig.name": '"家のプロバイダー"',
    }
    initialize(Answers(config, f"mail.{DOMAIN}", DOMAIN, "data", changes), None)
    assert main(["autoconfig", "write", str(scratch / "web"), "--config", str(config)]) == 0
    servers = WebServers(scratch / "web" / DOMAIN, authority)
    yield servers
    servers.stop()


@pytest.fixture
def thunderbird(new_place: NewPlace, authority: Authority, web: WebServers) -> Iterator[Marionette]:
    programs = {name: need(name) for name in ("thunderbird", "Xvfb", "certutil")}
    place = new_place("thunderbird")
    profile = place / "profile"
    profile.mkdir()
    port = free_port()
    accounts = ("mail.account.", "mail.accountmanager.", "mail.server.", "mail.identity.", "mail.smtp")
    preferences = {name: value for name, value in PREFERENCES.items() if not name.startswith(accounts)} | {
        "marionette.port": port,
        "network.proxy.type": 1,
        "network.proxy.http": "127.0.0.1",
        "network.proxy.http_port": web.port,
        "network.proxy.ssl": "127.0.0.1",
        "network.proxy.ssl_port": web.port,
        "network.proxy.no_proxies_on": "",
        "mailnews.auto_config_url": "",  # the public database is not asked
        "mailnews.mx_service_url": "",
    }
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
    (profile / "user.js").write_text("".join(lines))
    store = f"sql:{profile}"
    for command in (
        [programs["certutil"], "-N", "-d", store, "--empty-password"],
        [programs["certutil"], "-A", "-d", store, "-n", "interop", "-t", "C,,", "-i", str(authority.certificate)],
    ):
        done = run(command)
        assert done.returncode == 0, done.stderr.decode()
    number = place / "display"
    serve_x = 'exec "$0" -displayfd 3 -noreset -screen 0 1024x768x24 -nolisten tcp 3>"$1"'
    with contextlib.ExitStack() as stack:
        screen = Daemon(["sh", "-c", serve_x, programs["Xvfb"], number], place / "screen.log")
        stack.callback(screen.stop)
        display = wait_for("Xvfb", lambda: number.exists() and number.read_text().strip())
        env = {
            "DISPLAY": f":{display}",
            "HOME": str(place),
            "LC_ALL": "C.UTF-8",
            "MOZ_CRASHREPORTER_DISABLE": "1",
            "MOZ_DISABLE_CONTENT_SANDBOX": "1",
            "MOZ_ENABLE_WAYLAND": "0",
            "NO_AT_BRIDGE": "1",
        }
        client = Daemon(
            [
                programs["thunderbird"],
                "--no-remote",
                "--marionette",
                "-remote-allow-system-access",
                "--profile",
                profile,
            ],
            place / "thunderbird.log",
            env=env,
        )
        stack.callback(client.kill)
        wait_for_port(port, seconds=60)
        yield stack.enter_context(contextlib.closing(Marionette(port)))


def test_the_search_takes_our_document_over_https(thunderbird: Marionette, web: WebServers) -> None:
    """All four sources and Autodiscover are asked, as when somebody types an address."""
    found = thunderbird.run(SEARCH, DOMAIN, f"rin@{DOMAIN}")
    assert (found["source"], found["subSource"]) == ("xml", "xml-from-isp-https")
    assert (found["id"], found["displayName"]) == (DOMAIN, "家のプロバイダー")
    assert [reach(server) for server in (found["incoming"], *found["incomingAlternatives"])] == [
        ("imap", f"imap.{DOMAIN}", 993, TLS),
        ("pop3", f"pop.{DOMAIN}", 995, TLS),
    ]
    assert [reach(server) for server in (found["outgoing"], *found["outgoingAlternatives"])] == [
        ("smtp", f"mail.{DOMAIN}", 465, TLS),
        ("smtp", f"mail.{DOMAIN}", 587, STARTTLS),
    ]
    assert {found[way]["auth"] for way in ("incoming", "outgoing")} == {NORMAL_PASSWORD}
    assert f"https://autoconfig.{DOMAIN}/mail/config-v1.1.xml" in web.asked


def test_the_dialog_shows_our_servers(thunderbird: Marionette, web: WebServers) -> None:
    """A name and an address typed into the set-up, and "Continue" pressed."""
    shown = thunderbird.run(DIALOG, "Rin", f"rin@{DOMAIN}")
    assert shown == [f"imap.{DOMAIN}", "993", f"mail.{DOMAIN}", "465"]


def reach(server: dict[str, Any]) -> tuple[str, str, int, int]:
    return server["type"], server["hostname"], server["port"], server["socketType"]
