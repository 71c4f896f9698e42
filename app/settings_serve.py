"""What a user can set about `loci serve`. `app.settings` composes it with the other rooms' settings."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-\[\]:]+$")]
"""Of a host; no wildcard, which would let in every name that a stranger can point here."""
_Origin = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+$")]
"""As a browser sends it: no path, no slash at its end."""


class ServeSettings(BaseModel):
    """The assistant for other front ends: where it listens, and who may ask."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    """Address to listen at. Another than the loopback's lets other machines in: put a proxy with TLS before it."""
    port: int = Field(default=5624, ge=0, le=65535)
    """Port to listen at; 0 takes a free one."""
    hosts: tuple[_Name, ...] = ()
    """Names, beside those of the loopback, under which it may be addressed."""
    origins: tuple[_Origin, ...] = ()
    """Origins of web pages that may ask, as in `https://chat.example`; programs need none."""
    remember: bool = False
    """Whether questions are stored and learned from, where a request does not say: many front ends also ask for titles
    and the like."""
