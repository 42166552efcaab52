"""The guide: what a person must know to send mail, from facts about clients and the settings the servers run on.

Import from the module that has it: the mail server needs the settings, and must not carry the rest.
"""

__all__: list[str] = []
