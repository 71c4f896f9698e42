"""RTF as Outlook compresses it within messages ([MS-OXRTFCP]): LZ77 over a window that begins with usual RTF."""

from retrieval.errors import UnreadableDocument

_WINDOW = 4096
_BEGINNING = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    rb"SymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n"
    rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)
"""The format's own (2.1.2.1)."""
_HEADER = 16
"""Bytes: size of what follows the first four, size of the RTF, kind, checksum (which is not looked at: a damaged body
is better than none)."""


def decompress(data: bytes) -> bytes:
    """The RTF; of a body that was cut off, what is there.

    :raises UnreadableDocument: it is of no kind that the format knows.
    """
    size, kind, content = int.from_bytes(data[4:8], "little"), data[8:12], data[_HEADER:]
    if len(data) < _HEADER:
        return b""
    if kind == b"MELA":
        return content[:size]
    if kind != b"LZFu":
        raise UnreadableDocument("Its body is compressed in an unknown way.")
    text = bytearray(_WINDOW - len(_BEGINNING)) + _BEGINNING
    at = 0
    while at < len(content):
        flags = content[at]
        at += 1
        for bit in range(8):
            if not flags >> bit & 1:
                text += content[at : at + 1]
                at += 1
                continue
            token = int.from_bytes(content[at : at + 2], "big")  # where in the window, 12 bits; how long, 4
            at += 2
            back = (len(text) + len(_BEGINNING) - (token >> 4)) % _WINDOW
            if not back or at > len(content):  # the window's end, which marks that of the text
                return bytes(text[_WINDOW:][:size])
            for _ in range((token & 0xF) + 2):  # one by one: a run may repeat itself
                text.append(text[-back])
    return bytes(text[_WINDOW:][:size])
