"""What a user can set about the full-screen chat. `app.settings` composes it with the other rooms' settings."""

from pydantic import BaseModel, ConfigDict, Field


class ChatSettings(BaseModel):
    """The chat in the terminal: its colours and its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    theme: str = "textual-dark"
    """Colours by name, as `/theme` in the chat lists them: `textual-light`, `high-contrast`, `colour-blind`,
    `colour-blind-light`, ...; the chat writes its choice here."""
    keys: dict[str, str] = Field(default_factory=dict)
    """Other keys for actions, by the ids that F1 shows, as in `"turn.copy" = "ctrl+y"`; several with commas."""
    pictures: bool = True
    """Show cited pages of PDFs as pictures where the terminal can draw them (sixels, kitty's graphics)."""
