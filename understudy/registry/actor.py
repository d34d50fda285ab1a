"""Who acts, for the audit log."""

import getpass


def actor() -> str:
    """The user who runs this process, at most 63 characters; `unknown` where there is none."""
    try:
        return getpass.getuser()[:63]
    except OSError:
        return "unknown"
