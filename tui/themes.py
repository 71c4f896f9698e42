"""The chat's own themes, beside Textual's: for eyes that need contrast, and for eyes that take red for green.

Nothing on the screen is told by colour alone; these keep what colour adds.
"""

from textual.theme import Theme

_CONTRAST = Theme(
    name="high-contrast",
    primary="#00D7FF",
    secondary="#FFD700",
    accent="#FFD700",
    warning="#FFD700",
    error="#FF9C9C",
    success="#5FFF87",
    foreground="#FFFFFF",
    background="#000000",
    surface="#000000",
    panel="#000000",
    dark=True,
    variables={
        "foreground-muted": "#E4E4E4",
        "text-muted": "#E4E4E4",
        "text-success": "#5FFF87",
        "text-warning": "#FFD700",
        "text-error": "#FF9C9C",
        "text-accent": "#FFD700",
        "footer-key-foreground": "#FFD700",
        "footer-description-foreground": "#FFFFFF",
        "block-cursor-background": "#FFD700",
        "block-cursor-foreground": "#000000",
        "border": "#FFFFFF",
    },
)


def _for_colour_blind(name: str, dark: bool) -> Theme:
    """Blue for what is well and orange for what is not, of the palette of Okabe and Ito (Color Universal Design, 2008),
    deepened on a light ground."""
    good, bad, warn, accent = (
        ("#56B4E9", "#F0A33F", "#F0E442", "#E69F00") if dark else ("#0060A0", "#A84300", "#7A5C00", "#A84300")
    )
    text, background, surface, panel = (
        ("#F2F2F2", "#101418", "#161C22", "#1E2830") if dark else ("#16181A", "#FBFBF8", "#F2F2EC", "#E4E6E8")
    )
    return Theme(
        name=name,
        primary="#0072B2",
        secondary="#009E73",
        accent=accent,
        warning=warn,
        error=bad,
        success=good,
        foreground=text,
        background=background,
        surface=surface,
        panel=panel,
        dark=dark,
        variables={"text-success": good, "text-warning": warn, "text-error": bad, "text-accent": accent},
    )


THEMES = (_CONTRAST, _for_colour_blind("colour-blind", True), _for_colour_blind("colour-blind-light", False))
