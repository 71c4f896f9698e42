"""What a user can set about `loci serve`. `app.settings` composes it with the other rooms' settings."""

from pydantic import BaseModel, ConfigDict, Field


class ServeSettings(BaseModel):
    """The assistant for other front ends: where it listens, and who may ask."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen at. Another than the loopback's lets other machines in: put a proxy with TLS before it."""
    port: int = Field(default=5624, ge=0, le=65535)
    """Port to listen at; 0 takes a free one."""
    hosts: tuple[str, ...] = ()
    """Names, beside those of the loopback, under which it may be addressed."""
    origins: tuple[str, ...] = ()
    """Origins of web pages that may ask, as in `https://chat.example`; programs need none."""
    remember: bool = False
    """Whether questions are stored and learned from, where a request does not say: many front ends also ask for titles
    and the like."""
