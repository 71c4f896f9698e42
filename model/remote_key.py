"""The key of a remote server: from the environment, else from the system's keyring. Never stored or shown here."""

import os

SERVICE = "loci"
"""Under this name, with the server's URL as the user, the keyring holds it: `keyring set loci https://host/v1`."""


def find_key(base: str, variable: str) -> str:
    """The key for the server at `base`; empty where there is none.

    :param variable: the environment variable that goes first.
    """
    if key := os.environ.get(variable, "").strip():
        return key
    try:
        import keyring  # 0.1 s; the extra `keyring`
        from keyring.errors import KeyringError
    except ImportError:
        return ""
    try:
        return (keyring.get_password(SERVICE, base) or "").strip()
    except KeyringError:  # locked, or this session has none: the server will say if it wants a key
        return ""


def without(key: str, text: str) -> str:
    """The text without the key, which some servers repeat when they refuse it."""
    return text.replace(key, "[key]") if key else text
