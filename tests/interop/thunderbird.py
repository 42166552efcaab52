"""Thunderbird, sending as a person would: its own window, its own profile, Ctrl+Return.

The profile holds what a person would have entered: the outgoing server, the password (encrypted in the profile's key
store), and trust in our authority. Nothing of the system's Thunderbird is changed.
"""

from __future__ import annotations

import base64
import ctypes
import json
import time
import uuid
from pathlib import Path

from .letter import Letter, Submission
from .processes import Daemon, run, wait_for
from .programs import lacking, need

__all__ = ["Thunderbird"]

PREFERENCES: dict[str, str | int | bool] = {
    # the account
    "mail.accountmanager.accounts": "account1,account2",
    "mail.accountmanager.defaultaccount": "account1",
    "mail.accountmanager.localfoldersserver": "server2",
    "mail.account.account1.server": "server1",
    "mail.account.account1.identities": "id1",
    "mail.account.account2.server": "server2",
    "mail.server.server1.type": "pop3",
    "mail.server.server1.hostname": "127.0.0.1",
    "mail.server.server1.port": 1,
    "mail.server.server1.name": "Interop",
    "mail.server.server1.login_at_startup": False,
    "mail.server.server1.check_new_mail": False,
    "mail.server.server1.directory-rel": "[ProfD]Mail/pop",
    "mail.server.server2.type": "none",
    "mail.server.server2.hostname": "Local Folders",
    "mail.server.server2.userName": "nobody",
    "mail.server.server2.name": "Local Folders",
    "mail.server.server2.directory-rel": "[ProfD]Mail/Local Folders",
    "mail.identity.id1.fullName": "Rin",
    "mail.identity.id1.smtpServer": "smtp1",
    "mail.identity.id1.valid": True,
    "mail.identity.id1.fcc": False,
    "mail.identity.id1.compose_html": False,
    "mail.smtpservers": "smtp1",
    "mail.smtp.defaultserver": "smtp1",
    "mail.smtpserver.smtp1.authMethod": 3,  # "Normal password"
    "mail.smtpserver.smtp1.description": "Interop",
    # no questions before or after sending
    "mail.warn_on_send_accel_key": False,
    "mail.collect_email_address_outgoing": False,
    "mail.compose.autosave": False,
    "mail.spellcheck.inline": False,
    "mailnews.send_plaintext_flowed": False,
    "mailnews.wraplength": 0,
    # nothing of its own on the network, no greeting pages
    "app.update.enabled": False,
    "app.donation.eoy.version.viewed": 999,
    "datareporting.healthreport.uploadEnabled": False,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "mail.inappnotifications.enabled": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.rights.version": 1,
    "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True,
    "mail.winsearch.firstRunDone": True,
    "mailnews.start_page.enabled": False,
    "mailnews.start_page_override.mstone": "ignore",
    "messenger.startup.action": 0,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disableIPv6": True,
    "offline.autoDetect": False,
    "network.manage-offline-status": False,
    "services.settings.server": "http://127.0.0.1:1/",
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "ui.prefersReducedMotion": 1,
}


class Thunderbird:
    """One profile and one X display of its own."""

    def __init__(self, directory: Path) -> None:
        self._programs = {name: need(name) for name in ("thunderbird", "Xvfb", "xdotool", "certutil")}
        self._directory = directory
        self._profile = directory / "profile"
        self._profile.mkdir()
        self._env: dict[str, str] = {}

    def set_up(self, server: Submission, sender: str, *, implicit_tls: bool = False) -> None:
        """Fill the profile with an account that sends through *server* as *sender*."""
        preferences = {
            **PREFERENCES,
            "mail.identity.id1.useremail": sender,
            "mail.server.server1.userName": server.login,
            "mail.smtpserver.smtp1.hostname": server.host,
            "mail.smtpserver.smtp1.port": server.port(implicit_tls=implicit_tls),
            "mail.smtpserver.smtp1.try_ssl": 3 if implicit_tls else 2,  # "SSL/TLS", "STARTTLS"
            "mail.smtpserver.smtp1.username": server.login,
        }
        (self._profile / "user.js").write_text(
            "".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items())
        )
        certutil, store = self._programs["certutil"], f"sql:{self._profile}"
        for command in (
            [certutil, "-N", "-d", store, "--empty-password"],
            [certutil, "-A", "-d", store, "-n", "interop", "-t", "C,,", "-i", str(server.authority)],
        ):
            done = run(command)
            assert done.returncode == 0, done.stderr.decode()
        (self._profile / "logins.json").write_text(json.dumps(_logins(self._profile, server)))

    def send(self, letter: Letter, *, seconds: float = 55.0) -> None:
        """Write the letter in the compose window, press Ctrl+Return, and wait until the window is gone.

        Raises:
            TimeoutError: no window came up, or it did not close: the letter was not sent. The text says which windows
                there are, for one of them has Thunderbird's reason in its title.
        """
        body = self._directory / "body.txt"
        body.write_text(letter.text)
        deadline = time.monotonic() + seconds
        number = self._directory / "display"
        # Xvfb takes a free display and writes its number once it serves it. Without -noreset it starts anew, deaf for
        # a moment, each time its last client goes, such as an xdotool that looked too early.
        serve_x = 'exec "$0" -displayfd 3 -noreset -screen 0 1024x768x24 -nolisten tcp 3>"$1"'
        command: list[str | Path] = ["sh", "-c", serve_x, self._programs["Xvfb"], number]
        screen = Daemon(command, self._directory / "screen.log")
        try:
            self._env = {
                "DISPLAY": ":" + wait_for("Xvfb", lambda: _line(number)),
                "HOME": str(self._directory),
                "LC_ALL": "C.UTF-8",
                "MOZ_CRASHREPORTER_DISABLE": "1",
                "MOZ_DISABLE_CONTENT_SANDBOX": "1",
                "MOZ_ENABLE_WAYLAND": "0",
                "NO_AT_BRIDGE": "1",
            }
            compose = f"to='{letter.recipient}',subject='{letter.subject}',format=2,message='{body}'"
            command = [self._programs["thunderbird"], "--no-remote", "--profile", self._profile, "-compose", compose]
            client = Daemon(command, self._directory / "thunderbird.log", env=self._env)
            try:
                window = wait_for(
                    "Thunderbird's window",
                    lambda: self._window(f"^Write: {letter.subject}"),
                    seconds=deadline - time.monotonic(),
                )
                self._press_send(window, deadline)
            except TimeoutError as error:
                raise TimeoutError(f"{error}; windows: {self._titles()}; {client.output()[-1000:]}") from None
            finally:
                client.kill()
        finally:
            screen.stop()

    def _press_send(self, window: str, deadline: float) -> None:
        while self._exists(window):
            if time.monotonic() > deadline:
                raise TimeoutError("the letter was not sent")
            # the window takes keys only once it is done with loading; one too many does no harm
            self._xdotool("windowfocus", window)
            self._xdotool("key", "--window", window, "ctrl+Return")
            time.sleep(1)

    def _window(self, title: str) -> str | None:
        return self._xdotool("search", "--name", title).partition("\n")[0] or None

    def _exists(self, window: str) -> bool:
        return bool(self._xdotool("getwindowname", window))

    def _titles(self) -> list[str]:
        windows = self._xdotool("search", "--name", ".").split()
        return [self._xdotool("getwindowname", window) for window in windows]

    def _xdotool(self, *words: str) -> str:
        return run([self._programs["xdotool"], *words], env=self._env).stdout.decode().strip()


def _line(file: Path) -> str | None:
    """Return the first line of *file* once it is whole."""
    line, end, _ = file.read_text().partition("\n") if file.exists() else ("", "", "")
    return line if end else None


def _logins(profile: Path, server: Submission) -> dict[str, object]:
    now = int(time.time() * 1000)
    login = {
        "id": 1,
        "hostname": f"smtp://{server.host}",
        "httpRealm": f"smtp://{server.host}",
        "formSubmitURL": None,
        "usernameField": "",
        "passwordField": "",
        "encryptedUsername": _encrypted(profile, server.login),
        "encryptedPassword": _encrypted(profile, server.password),
        "guid": f"{{{uuid.uuid4()}}}",
        "encType": 1,
        "timeCreated": now,
        "timeLastUsed": now,
        "timePasswordChanged": now,
        "timesUsed": 1,
    }
    return {"nextId": 2, "logins": [login], "version": 3}


class _Item(ctypes.Structure):
    """SECItem of NSS, the library that guards Thunderbird's passwords."""

    _fields_ = (("type", ctypes.c_uint), ("octets", ctypes.c_void_p), ("length", ctypes.c_uint))


def _encrypted(profile: Path, text: str) -> str:
    """Encrypt *text* for the password store of *profile*, as its "secret decoder ring" would."""
    try:
        nss = ctypes.CDLL("libnss3.so")
    except OSError:
        lacking("libnss3 is not installed")
    nss.PK11_GetInternalKeySlot.restype = ctypes.c_void_p
    nss.PK11_FreeSlot.argtypes = nss.PK11_NeedUserInit.argtypes = [ctypes.c_void_p]
    nss.PK11_InitPin.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    if nss.NSS_InitReadWrite(f"sql:{profile}".encode()) != 0:
        raise OSError("NSS does not open the profile")
    try:
        slot = nss.PK11_GetInternalKeySlot()
        if nss.PK11_NeedUserInit(slot):
            nss.PK11_InitPin(slot, None, None)
        nss.PK11_FreeSlot(slot)
        octets = text.encode()
        buffer = ctypes.create_string_buffer(octets, len(octets))
        plain, result, key = _Item(0, ctypes.addressof(buffer), len(octets)), _Item(), _Item()
        if nss.PK11SDR_Encrypt(ctypes.byref(key), ctypes.byref(plain), ctypes.byref(result), None) != 0:
            raise OSError("NSS does not encrypt")
        return base64.b64encode(ctypes.string_at(result.octets, result.length)).decode()
    finally:
        nss.NSS_Shutdown()
