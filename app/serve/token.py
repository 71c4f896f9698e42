"""The secret that a front end must show: made once for a profile, readable by its owner alone, in no backup."""

import hmac
import secrets
from contextlib import suppress

from app.answer import Profile
from app.errors import BadInput
from app.files import private_file
from app.profile import serve_token
from model.errors import why

_BYTES = 32


def token_of(profile: Profile) -> tuple[str, bool]:
    """The profile's token, and whether it was made just now.

    :raises BadInput: its file cannot be read or written.
    """
    file = serve_token(profile)
    try:
        with suppress(FileNotFoundError):
            if found := file.read_text("ascii").strip():
                file.chmod(0o600)
                return found, False
        return renew(profile), True
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be used: {why(error)}.", "Remove it: another token is made.") from None


def renew(profile: Profile) -> str:
    """Another token in place of the profile's; whoever has the old one is refused from then on."""
    token = secrets.token_urlsafe(_BYTES)
    with private_file(serve_token(profile), force=True) as out:
        out.write(f"{token}\n".encode())
    return token


def shows(authorization: str | None, token: str) -> bool:
    """Whether an Authorization header holds the token; in a time that tells nothing of it."""
    scheme, _, given = (authorization or "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
