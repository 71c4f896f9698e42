"""What the readers of PPTX and XLSX share."""

from typing import Any


def core_metadata(properties: Any) -> dict[str, str]:
    """Author, subject, keywords and last change of python-docx's, python-pptx's or openpyxl's core properties."""
    author = getattr(properties, "author", None) or getattr(properties, "creator", None)
    modified = getattr(properties, "modified", None)
    values = {
        "author": author,
        "subject": getattr(properties, "subject", None),
        "keywords": getattr(properties, "keywords", None),
        "modified": modified.isoformat() if modified else None,
    }
    return {key: str(value) for key, value in values.items() if value}
