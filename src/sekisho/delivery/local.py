"""Mail for mailboxes that are here: which account an address means, and which Maildir is its."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from sekisho.smtp import AddressError, Mailbox, Reply

from .maildir import NO_ACCESS, MaildirDelivery, deliver, maildir_of
from .pool import Job
from .settle import Settler

__all__ = ["FindAccount", "LocalAccount", "Postbox"]

MAILBOX_UNKNOWN = Reply(550, "5.1.1", ("There is no mailbox of this name here",))
LOOKUP_FAILED = Reply(451, "4.3.0", ("The accounts cannot be read at the moment",))


class LocalAccount(Protocol):
    """What local delivery needs of `sekisho.accounts.Account`."""

    @property
    def login(self) -> str: ...


FindAccount = Callable[[Mailbox], LocalAccount | None]
"""`AccountStore.mailbox_for`: the account whose mailbox an address is; None when there is none."""


class Postbox:
    """Local delivery without its threads: who is known here, and what is written where."""

    def __init__(self, root: Path | None, find: FindAccount | None) -> None:
        """Prepare.

        Args:
            root: directory of the Maildirs; None when LMTP takes local mail.
            find: None knows every mailbox.
        """
        self._root = root
        self._find = find

    def admit(self, job: Job, settler: Settler) -> bool:
        """Address *job* to the accounts its recipients mean; settle recipients that nobody here is.

        Returns:
            False when nobody was left and the job is settled.
        """
        if self._find is None:
            return True
        unknown: list[int] = []
        try:
            for at, recipient in enumerate(job.recipients):
                account = self._find(recipient.mailbox)
                if account is None:
                    unknown.append(at)
                else:
                    job.mailboxes[at] = _mailbox_of(account.login, recipient.mailbox)
        except Exception:  # the account store cannot answer: mail waits, whatever the reason
            settler.settle(job, [LOOKUP_FAILED] * len(job.recipients), "")
            return False
        if len(unknown) == len(job.recipients):
            settler.settle(job, [MAILBOX_UNKNOWN] * len(unknown), "")
            return False
        if unknown:
            settler.settle(job.split_off(unknown), [MAILBOX_UNKNOWN] * len(unknown), "")
        return True

    def file(self, jobs: Sequence[Job]) -> list[list[Reply]]:
        """Write each job into its Maildirs. Blocking: call it in a thread. Returns replies as the jobs' recipients."""
        deliveries: list[MaildirDelivery] = []
        places: list[tuple[int, int]] = []
        answers = [[NO_ACCESS] * len(job.recipients) for job in jobs]
        for row, job in enumerate(jobs):
            content = job.pending.content
            reverse_path = job.pending.message.reverse_path
            for at, (recipient, mailbox) in enumerate(zip(job.recipients, job.mailboxes, strict=True)):
                directory = maildir_of(self._root, str(mailbox)) if self._root is not None else None
                if directory is None or content is None:
                    continue
                # RFC 5321 §4.4: the server of final delivery adds Return-Path
                prefix = f"Return-Path: <{reverse_path or ''}>\r\nDelivered-To: {recipient.mailbox}\r\n".encode()
                deliveries.append(MaildirDelivery(directory, prefix, content.chunks))
                places.append((row, at))
        for (row, at), reply in zip(places, deliver(deliveries), strict=True):
            answers[row][at] = reply
        return answers


def _mailbox_of(login: str, default: Mailbox) -> Mailbox:
    try:
        return Mailbox.parse(login, utf8=True)
    except AddressError:
        return Mailbox(login, default.domain)
