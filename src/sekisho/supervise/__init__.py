"""The process: composes the parts, starts them without rights they do not need, keeps them running, ends them well."""

from .errors import ControlError, PrivilegeError, StartError, SuperviseError

__all__ = ["ControlError", "PrivilegeError", "StartError", "SuperviseError"]
