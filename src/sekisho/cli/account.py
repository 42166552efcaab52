"""`sekisho account`: who may log in and send, and under which addresses. Changes count at once, without a reload."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import account_access
from .output import Commands, UsageError, load_settings, printable, read_password, show_json, table, utc_time

if TYPE_CHECKING:
    from sekisho.accounts import Account
    from sekisho.supervise.sections import Places, Settings


def declare(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the subcommand and its verbs."""
    parser = commands.add_parser("account", parents=[common], help="add, list, change accounts")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    add = verbs.add_parser("add", parents=[common], help="add an account; the password is asked for")
    add.add_argument("login", help="address, or local-part in the default domain")
    add.add_argument("--identity", action="append", default=[], help="further address it may send as, or @domain")
    _declare_password(add)
    _declare_properties(add)
    add.set_defaults(run=run_add)

    passwd = verbs.add_parser("passwd", parents=[common], help="set a new password; every verifier is renewed")
    passwd.add_argument("login")
    _declare_password(passwd)
    passwd.set_defaults(run=run_passwd)

    listing = verbs.add_parser("list", parents=[common], help="list the accounts")
    listing.add_argument("--needing-renewal", action="store_true", help="only those that need a new password")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=run_list)

    show = verbs.add_parser("show", parents=[common], help="show one account")
    show.add_argument("login")
    show.add_argument("--json", action="store_true")
    show.set_defaults(run=run_show)

    change = verbs.add_parser("change", parents=[common], help="change limits, language, rights")
    change.add_argument("login")
    change.add_argument(
        "--operator", action=argparse.BooleanOptionalAction, help="may open the operator's pages of the portal"
    )
    _declare_properties(change)
    change.set_defaults(run=run_change)

    suspend = verbs.add_parser("suspend", parents=[common], help="refuse its logins; mail is kept")
    suspend.add_argument("login")
    suspend.add_argument("--reason", default="", help="for the other operators; the person is not told")
    suspend.set_defaults(run=run_suspend)

    for name, function, words in (
        ("resume", run_resume, "end a suspension"),
        ("delete", run_delete, "delete the account; mail in the queue is still delivered"),
        ("card", run_card, "print what to type into a mail client"),
    ):
        verb = verbs.add_parser(name, parents=[common], help=words)
        verb.add_argument("login")
        verb.set_defaults(run=function)

    account_access.declare(verbs, common)

    identity = verbs.add_parser("identity", parents=[common], help="addresses it may send as")
    identity.add_argument("action", choices=("add", "remove"))
    identity.add_argument("login")
    identity.add_argument("identity", help="address, or @domain for all of a domain")
    identity.set_defaults(run=run_identity)


def _declare_password(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--generate", action="store_true", help="make up a password and print it")
    parser.add_argument("--cram-md5", action="store_true", default=None, help="keep it in a form that CRAM-MD5 can use")


def _declare_properties(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--smarthost", action=argparse.BooleanOptionalAction, help="a server that also sends bounces (<>)"
    )
    for what in ("messages", "recipients"):
        parser.add_argument(
            f"--{what}-per-hour",
            type=_limit,
            default=argparse.SUPPRESS,
            metavar="N",
            help='limit of its own; 0: none; "default": that of the policy again',
        )
    parser.add_argument("--language", choices=("ja", "en"), help="language of DSNs to it")


def _limit(text: str) -> int | None:
    if text == "default":
        return None
    if not text.isdecimal() or not text.isascii():
        raise argparse.ArgumentTypeError(f'{text!r} is neither a number from 0 up nor "default"')
    return int(text)


def add_account(settings: Settings, where: Places, login: str, password: str) -> Account:
    """Add an account with nothing but a password; `sekisho init` uses it, too."""
    from sekisho.supervise.stores import open_accounts

    with open_accounts(settings, where) as store:
        return store.add(login, password)


def run_add(arguments: argparse.Namespace) -> int:
    """Add an account."""
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        if (known := store.get(arguments.login)) is not None:
            raise UsageError(f"there is an account {known.login} already; `sekisho account passwd` sets its password")
        password, generated = read_password(arguments)
        account = store.add(
            arguments.login,
            password,
            identities=arguments.identity,
            smarthost=bool(arguments.smarthost),
            cram_md5=bool(arguments.cram_md5),
            messages_per_hour=getattr(arguments, "messages_per_hour", None),
            recipients_per_hour=getattr(arguments, "recipients_per_hour", None),
            language=arguments.language,
        )
    print(f"{printable(account.login)} added" + (f", password: {password}" if generated else ""))
    return 0


def run_passwd(arguments: argparse.Namespace) -> int:
    """Set a new password."""
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        store.show(arguments.login)  # an unknown account is said before the password is asked for
        password, generated = read_password(arguments)
        account = store.set_password(arguments.login, password, cram_md5=arguments.cram_md5)
        account_access.tell(settings, where, "account.password_set", account.login)
    print(f"{printable(account.login)}: new password set" + (f": {password}" if generated else ""))
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """List the accounts."""
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        accounts = [each for each in store.list() if each.renewal or not arguments.needing_renewal]
    if arguments.json:
        show_json([_plain(account) for account in accounts])
        return 0
    rows = [(account.login, ", ".join(account.identities), _state(account)) for account in accounts]
    table(("LOGIN", "ALSO SENDS AS", "STATE"), rows)
    return 0


def _state(account: Account) -> str:
    states = ["suspended" if account.suspended else "active"]
    states += ["needs renewal"] if account.renewal else []
    states += ["second factor"] if account.second_factor else []
    states += ["operator"] if account.operator else []
    return ", ".join(states)


def run_show(arguments: argparse.Namespace) -> int:
    """Show one account."""
    from sekisho.accounts import AppPasswords
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        details = store.show(arguments.login)
        app_passwords = len(AppPasswords(store).list(details.account.login))
    facts = _plain(details.account) | {
        "verifiers": list(details.mechanisms),
        "app_passwords": app_passwords,
        "created": utc_time(details.created),
        "changed": utc_time(details.changed),
        "last_login": utc_time(details.last_login),
    }
    if arguments.json:
        show_json(facts)
        return 0
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):20} {_shown(value)}")
    return 0


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return "-" if value in (None, "") else printable(value)


def _plain(account: Account) -> dict[str, object]:
    return {
        "login": account.login,
        "identities": list(account.identities),
        "suspended": account.suspended,
        "suspension": account.suspension,
        "smarthost": account.smarthost,
        "messages_per_hour": account.messages_per_hour,
        "recipients_per_hour": account.recipients_per_hour,
        "language": account.language,
        "operator": account.operator,
        "second_factor": account.second_factor,
        "renewal": account.renewal or None,
    }


def run_change(arguments: argparse.Namespace) -> int:
    """Change what was given."""
    from sekisho.accounts import UNCHANGED
    from sekisho.supervise.stores import open_accounts

    changes = {
        "operator": UNCHANGED if arguments.operator is None else arguments.operator,
        "smarthost": UNCHANGED if arguments.smarthost is None else arguments.smarthost,
        "messages_per_hour": getattr(arguments, "messages_per_hour", UNCHANGED),
        "recipients_per_hour": getattr(arguments, "recipients_per_hour", UNCHANGED),
        "language": UNCHANGED if arguments.language is None else arguments.language,
    }
    if all(value is UNCHANGED for value in changes.values()):
        raise UsageError("nothing to change was given; `sekisho account change --help` shows what can be")
    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        account = store.change(arguments.login, **changes)
    print(f"{printable(account.login)} changed")
    return 0


def run_suspend(arguments: argparse.Namespace) -> int:
    """Refuse its logins from now on."""
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        account = store.suspend(arguments.login, arguments.reason)
    print(f"{printable(account.login)} suspended: it cannot log in; mail to it still arrives")
    return 0


def run_resume(arguments: argparse.Namespace) -> int:
    """End a suspension."""
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        account = store.resume(arguments.login)
    print(f"{printable(account.login)} may log in again")
    return 0


def run_delete(arguments: argparse.Namespace) -> int:
    """Delete an account."""
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        account = store.delete(arguments.login)
    print(f"{printable(account.login)} deleted; its Maildir, if any, is left in {where.maildir}")
    return 0


def run_identity(arguments: argparse.Namespace) -> int:
    """Add or take away an address it may send as."""
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        if arguments.action == "add":
            account = store.add_identity(arguments.login, arguments.identity)
        else:
            account = store.remove_identity(arguments.login, arguments.identity)
    print(f"{printable(account.login)} may send as {', '.join((account.login, *account.identities))}")
    return 0


def run_card(arguments: argparse.Namespace) -> int:
    """Print the settings card of an account."""
    from sekisho.supervise.card import settings_card
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        account = store.show(arguments.login).account
    print(settings_card(settings, account.login, language=account.language))
    return 0
