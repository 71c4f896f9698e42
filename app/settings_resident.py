"""What a user can set about the resident. `app.settings` composes it with the other rooms' settings."""

from pydantic import BaseModel, ConfigDict, Field


class ResidentSettings(BaseModel):
    """The process that holds model and embedder between commands, one per profile."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    """Whether commands that need the model or the embedder have them from the resident, which the first of them starts.
    The flag --no-resident does without it once."""
    idle_seconds: float = Field(default=900.0, ge=1, le=1e7)
    """Seconds without a question after which it ends, and gives the memory back."""
