"""What a user can set about answers. `app.settings` composes it with the other rooms' settings."""

from pydantic import BaseModel, ConfigDict, Field


class AssistantSettings(BaseModel):
    """How a question is answered: what is read, how long that may take, and when to refuse."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passages: int = Field(default=8, ge=1, le=100)
    """Passages taken from the library for one question."""
    memories: int = Field(default=6, ge=0, le=50)
    """Memories recalled for one question."""
    history_turns: int = Field(default=6, ge=0, le=100)
    """Earlier turns of the session that may enter the prompt: the last two, and those likeliest to be of use."""
    prefill_seconds: float = Field(default=10.0, gt=0)
    """Longest time to spend reading the prompt; passages that would take longer are left out, and named."""
    abstain_below: float = Field(default=0.25, ge=0, le=1)
    """Confidence under which the embedded model says that the library does not answer."""
    memory_relevance: float = Field(default=0.25, ge=0, le=1)
    """Least cosine with the question for a recalled memory to count as being about it."""
    mend: int = Field(default=0, ge=0, le=2)
    """Rounds in which a model that writes may rewrite a sentence that no source supports; it is left out then if
    still none does. 0 only marks it."""
