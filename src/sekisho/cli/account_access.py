"""`sekisho account token|app-password|totp|renewal`: what stands beside an account's password."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .output import Commands, load_settings, local_time, printable, show_json, table, utc_time

if TYPE_CHECKING:
    from sekisho.supervise.sections import Places, Settings

MAX_HOURS = 24 * 14


def declare(verbs: Commands, common: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    token = verbs.add_parser(
        "token", parents=[common], help="print a code that sets a new password once, from anywhere"
    )
    token.add_argument("login")
    token.add_argument("--hours", type=_hours, default=24, help="how long it can be used (default: 24)")
    token.add_argument("--json", action="store_true")
    token.set_defaults(run=run_token)

    app_password = verbs.add_parser("app-password", parents=[common], help="passwords for single devices")
    actions = app_password.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser("add", parents=[common], help="make one and print it")
    add.add_argument("login")
    add.add_argument("label", help="the device, as its owner calls it")
    add.set_defaults(run=run_app_password_add)
    listing = actions.add_parser("list", parents=[common], help="list them, without the passwords")
    listing.add_argument("login")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=run_app_password_list)
    remove = actions.add_parser("remove", parents=[common], help="revoke one; the device can no longer send")
    remove.add_argument("login")
    remove.add_argument("number", type=int, help="as `list` shows it")
    remove.set_defaults(run=run_app_password_remove)

    totp = verbs.add_parser("totp", parents=[common], help="the second factor of the portal's login")
    actions = totp.add_subparsers(title="actions", metavar="ACTION", required=True)
    status = actions.add_parser("status", parents=[common], help="show whether it is on")
    status.add_argument("login")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=run_totp_status)
    off = actions.add_parser("off", parents=[common], help="switch it off, for somebody who has lost the device")
    off.add_argument("login")
    off.set_defaults(run=run_totp_off)

    renewal = verbs.add_parser("renewal", parents=[common], help="ask for a new password")
    actions = renewal.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, wanted, words in (
        ("ask", True, "mark the account as needing a new password; the present one goes on working"),
        ("cancel", False, "take the mark away"),
    ):
        action = actions.add_parser(name, parents=[common], help=words)
        action.add_argument("login")
        action.set_defaults(run=run_renewal, wanted=wanted)


def _hours(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or not 1 <= int(text[:9]) <= MAX_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours from 1 to {MAX_HOURS}")
    return int(text)


def tell(settings: Settings, where: Places, event: str, login: str, app_password: int | None = None) -> None:
    """Note in the log what an operator did to an account. Call it while the accounts are open."""
    from sekisho.supervise.queues import OPERATOR
    from sekisho.telemetry import EventLog

    log = EventLog(where.log, settings.log, OPERATOR)
    log.emit(event, account=login, by="operator", app_password=app_password)
    log.close()


def run_token(arguments: argparse.Namespace) -> int:
    """Print a one-time token."""
    from sekisho.accounts import OneTimeTokens
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        account = store.known(arguments.login)
        token, expires = OneTimeTokens(store).issue(account.login, hours=arguments.hours)
        tell(settings, where, "account.token_issued", account.login)
    if arguments.json:
        show_json({"login": account.login, "token": token, "expires": utc_time(expires)})
        return 0
    print(f"{printable(account.login)}: {token}")
    print(f"It sets a new password once, until {local_time(expires)}. Hand it over to nobody but the person.")
    if account.suspended:
        print("The account is suspended, and stays so.")
    if not settings.portal.addresses:
        print("The portal, where it is entered, is not switched on: portal.addresses is empty.")
    return 0


def run_app_password_add(arguments: argparse.Namespace) -> int:
    """Make an app password."""
    from sekisho.accounts import AppPasswords
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        account = store.known(arguments.login)
        made, password = AppPasswords(store).add(account.login, arguments.label)
        tell(settings, where, "account.app_password_added", account.login, made.number)
    print(f"{printable(account.login)}: app password {made.number} for {printable(made.label)}: {password}")
    return 0


def run_app_password_list(arguments: argparse.Namespace) -> int:
    """List the app passwords of an account."""
    from sekisho.accounts import AppPasswords
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        found = AppPasswords(store).list(arguments.login)
    if arguments.json:
        show_json(
            [
                {
                    "number": each.number,
                    "label": each.label,
                    "created": utc_time(each.created),
                    "last_used": utc_time(each.last_used),
                }
                for each in found
            ]
        )
        return 0
    rows = [(each.number, each.label, utc_time(each.created), utc_time(each.last_used) or "never") for each in found]
    table(("NUMBER", "DEVICE", "MADE", "LAST USED"), rows)
    return 0


def run_app_password_remove(arguments: argparse.Namespace) -> int:
    """Revoke an app password."""
    from sekisho.accounts import AppPasswords
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        account = store.known(arguments.login)
        gone = AppPasswords(store).remove(account.login, arguments.number)
        tell(settings, where, "account.app_password_removed", account.login, gone.number)
    print(f"{printable(account.login)}: the app password for {printable(gone.label)} opens nothing any more")
    return 0


def run_totp_status(arguments: argparse.Namespace) -> int:
    """Show whether an account has a second factor."""
    from sekisho.accounts import SecondFactors
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        account = store.known(arguments.login)
        state = SecondFactors(store).state(account.login)
    if arguments.json:
        facts = {"on": state.since is not None, "since": utc_time(state.since), "recovery_codes": state.recovery_codes}
        show_json({"login": account.login, **facts})
    elif state.since is None:
        print(f"{printable(account.login)}: off")
    else:
        print(
            f"{printable(account.login)}: on since {utc_time(state.since)}, {state.recovery_codes} recovery codes left"
        )
    return 0


def run_totp_off(arguments: argparse.Namespace) -> int:
    """Switch the second factor of an account off."""
    from sekisho.accounts import SecondFactors
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        account = store.known(arguments.login)
        was_on = SecondFactors(store).switch_off(account.login)
        if was_on:
            tell(settings, where, "account.factor_off", account.login)
    print(
        f"{printable(account.login)}: the second factor "
        + ("is off; the password alone opens the portal, and sends" if was_on else "was off already")
    )
    return 0


def run_renewal(arguments: argparse.Namespace) -> int:
    """Ask for a new password, or no longer."""
    from sekisho.supervise.stores import open_accounts

    settings, where = load_settings(arguments)
    with open_accounts(settings, where) as store:
        account = store.change(arguments.login, renewal=arguments.wanted)
        if arguments.wanted:
            tell(settings, where, "account.renewal_asked", account.login)
    if arguments.wanted:
        print(f"{printable(account.login)} needs a new password; the present one works until then")
    elif account.renewal:
        print(
            f"{printable(account.login)}: the mark is gone, but the verifiers are incomplete: it needs one all the same"
        )
    else:
        print(f"{printable(account.login)} needs no new password")
    return 0
