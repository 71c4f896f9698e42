"""What the readers of DOCX, PPTX and XLSX share."""

import zipfile

from retrieval.readers.archive import parse_xml, part

_CORE = "docProps/core.xml"
_DC = "{http://purl.org/dc/elements/1.1/}"
_DCTERMS = "{http://purl.org/dc/terms/}"


def core_properties(archive: zipfile.ZipFile) -> tuple[str, dict[str, str]]:
    """Title and metadata as the file has them; the libraries fill in the present time where it has none."""
    if _CORE not in archive.namelist():
        return "", {}
    core = parse_xml(part(archive, _CORE), recover=True)
    metadata = {
        "author": core.findtext(f"{_DC}creator") or "",
        "subject": core.findtext(f"{_DC}subject") or "",
        "modified": core.findtext(f"{_DCTERMS}modified") or "",
    }
    return core.findtext(f"{_DC}title") or "", metadata
