"""The command line: one module per subcommand, no rule of its own.

Each module declares its arguments in ``declare`` and does its work in a function that imports what it needs when it
runs: ``sekisho --help`` and a mistyped option must not wait for a mail server to be loaded.
"""

__all__: list[str] = []
