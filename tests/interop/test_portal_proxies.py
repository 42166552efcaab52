"""The portal behind real web servers, set up by the very examples of docs/operate/portal.md."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.interop.certificates import Authority, Pair
from tests.interop.instance import Instance
from tests.interop.processes import Daemon, free_port, wait_for

PAGE = Path(__file__).parent.parent.parent / "docs" / "operate" / "portal.md"
VISITOR = "127.0.0.9"
MODULES = ("mpm_event", "authz_core", "ssl", "proxy", "proxy_http", "headers", "socache_shmcb")
WHOLE = {
    "nginx": "daemon off; pid {here}/pid; error_log stderr;\nevents {{}}\n"
    "http {{ access_log off; {temporary}\n{example} }}",
    "apache2": "ServerRoot {here}\nServerName mail.home.test\nPidFile {here}/pid\nErrorLog {here}/log\n"
    "Listen 127.0.0.1:{port}\n{modules}\n{example}",
    "caddy": "{{\n admin off\n auto_https off\n}}\n{example}",
}


def example(begins: str) -> str:
    """Return the block of the page whose first line begins so."""
    found = re.search(rf"^    ({re.escape(begins)}.*\n(?:(?:    .*)?\n)+)", PAGE.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return re.sub(r"^    ", "", found[1], flags=re.MULTILINE)


def configuration(program: str, here: Path, port: int, portal: int, pair: Pair) -> str:
    begins = {"nginx": "server {", "apache2": "<VirtualHost", "caddy": "mail.example.jp,"}[program]
    own = example(begins).replace("127.0.0.1:8080", f"127.0.0.1:{portal}").replace("example.jp", "home.test")
    own = re.sub(r"/etc/ssl/\S+/fullchain.pem", str(pair.certificate), own)
    own = re.sub(r"/etc/ssl/\S+/key.pem", str(pair.key), own)
    own = own.replace("listen 443", f"listen 127.0.0.1:{port}").replace("*:443", f"*:{port}")
    if program == "caddy":  # what it gets by ACME on the net, it is given here
        own = re.sub(r"([a-z.]+\.home\.test)(?=[, ])", rf"https://\1:{port}", own)
        own = own.replace("{\n", f"{{\n    bind 127.0.0.1\n    tls {pair.certificate} {pair.key}\n", 1)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {here}/{kind};" for kind in kinds)
    library = "/usr/lib/apache2/modules/mod_"
    modules = "\n".join(f"LoadModule {name}_module {library}{name}.so" for name in MODULES)
    return WHOLE[program].format(here=here, port=port, example=own, temporary=temporary, modules=modules)


def _listens(port: int, server: Daemon) -> bool:
    assert server.is_running(), server.output()
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


@pytest.fixture
def behind(
    request: pytest.FixtureRequest, new_place: Callable[[str], Path], authority: Authority
) -> Iterator[tuple[httpx.Client, Instance]]:
    """Start the service and the web server named by the parameter, and give a browser in front of both."""
    program: str = request.param
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    pair = authority.issue("mail.home.test", "autoconfig.home.test", "127.0.0.1")
    portal, port, here = free_port(), free_port(), new_place(program)
    own = {"addresses": [f"127.0.0.1:{portal}"], "trusted_proxies": ["127.0.0.1/32", "::1/128"]}
    changes = {"portal": own | {"requests_per_minute": 10}, "incoming": {"imap": "imap.home.test"}}
    instance = Instance(new_place("portal"), pair, authority.certificate, changes=changes)
    instance.initialize()
    instance.start()
    config = here / "config"
    config.write_text(configuration(program, here, port, portal, pair))
    command: dict[str, list[str | Path]] = {
        "nginx": ["nginx", "-p", here, "-e", "stderr", "-c", config],
        "apache2": ["apache2", "-D", "FOREGROUND", "-f", config],
        "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", config],
    }
    home = {"HOME": str(here), "XDG_DATA_HOME": str(here), "XDG_CONFIG_HOME": str(here), "PATH": "/usr/sbin:/usr/bin"}
    server = Daemon(command[program], here / "output", env=home, cwd=here)
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    base = f"https://127.0.0.1:{port}"
    try:
        wait_for(f"{program} to listen", lambda: _listens(port, server))
        way = httpx.HTTPTransport(verify=trusting, local_address=VISITOR)
        with httpx.Client(base_url=base, transport=way, headers={"host": "mail.home.test"}) as browser:
            sni = {"sni_hostname": "mail.home.test"}
            browser.event_hooks = {"request": [lambda each: each.extensions.update(sni)]}
            wait_for("the portal to answer", lambda: browser.get("/health").status_code == 200)
            yield browser, instance
    finally:
        server.kill()
        instance.stop()


@pytest.mark.parametrize("behind", ["nginx", "apache2", "caddy"], indirect=True)
def test_the_documented_set_up_tells_the_portal_what_it_must_know(behind: tuple[httpx.Client, Instance]) -> None:
    browser, instance = behind
    page = browser.get("/en/nothing")
    assert page.status_code == 404
    assert "There is no such page" in page.text, "the portal's own page, not the web server's"
    assert page.headers["strict-transport-security"], "the portal knows that the visitor speaks https"
    config = browser.get("/mail/config-v1.1.xml?emailaddress=rin%40home.test", headers={"host": "autoconfig.home.test"})
    assert config.content == instance.cli("autoconfig", "show", "thunderbird").stdout
    forged = {"x-forwarded-for": "203.0.113.77", "forwarded": "for=203.0.113.78"}
    statuses = [browser.get("/en/x", headers=forged).status_code for _ in range(12)]
    assert 429 in statuses
    event = instance.wait_for_event(event="portal.limited")
    assert event["client"] == VISITOR, "the browser's own address, whatever it wrote itself"
