"""Settings of the memory."""

from pydantic import BaseModel, ConfigDict, Field


class MemorySettings(BaseModel):
    """What is kept about the user, and when it is brought back."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = True
    """Recall and store memories at all."""
    min_similarity: float = Field(default=0.3, ge=-1.0, le=1.0)
    """Cosine with the question from which a memory counts as relevant by meaning."""
    min_coverage: float = Field(default=0.6, ge=0.0, le=1.0)
    """Share of the question's content words from which a memory counts as relevant by its words."""
    duplicate_similarity: float = Field(default=0.9, ge=0.5, le=1.0)
    """Cosine from which two memories that also share their words count as the same."""
    redact: bool = True
    """Keep passwords, keys, card and account numbers and the like out of what is stored."""
    episodes: bool = True
    """Keep what the user tells beside clear facts, as episodes."""
    move_vectors: bool = True
    """Let the vectors that memories are recalled by follow their use, while that wins on turns held out."""
    background_reads: int = Field(default=2, ge=0, le=100)
    """Messages that a model other than the embedded one reads after an answer, while nothing is asked, for what the
    rules missed; 0: none."""
    budget_tokens: int | None = Field(default=1_000_000, ge=100)
    """Tokens of all memories that are recalled, in every collection; beyond, the least useful are archived."""
    budget_rows: int | None = Field(default=100_000, ge=1)
    """Memories that are recalled, in every collection; beyond, the least useful are archived."""
