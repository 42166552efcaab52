"""The network's machinery, which knows no mail: TLS, names and addresses. Import from the module that has it."""

__all__: list[str] = []
