"""SRT and WebVTT: each cue on a line behind its time."""

import html
import re
from pathlib import Path

from retrieval.errors import UnreadableDocument
from retrieval.readers.encoding import read_text
from retrieval.readers.extraction import Builder, Extraction, clean

_TIME = re.compile(r"((?:\d+:)?\d{1,2}:\d{2}[,.]\d{1,3})\s*-->\s*((?:\d+:)?\d{1,2}:\d{2}[,.]\d{1,3})")
_TAG = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]*\}")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")


def read_subtitles(path: Path) -> Extraction:
    """The section of a cue is the minute in which it begins. Raises UnreadableDocument when there is no cue."""
    text = clean(read_text(path))
    builder = Builder()
    for block in re.split(r"\n[ \t]*\n", text):
        lines = block.strip("\n").split("\n")
        at = next((index for index, line in enumerate(lines[:3]) if _TIME.search(line)), None)
        if at is None:
            continue
        match = _TIME.search(lines[at])
        if match is None:
            continue
        times = f"{match.group(1).replace(',', '.')} --> {match.group(2).replace(',', '.')}"
        words = _VOICE.sub(r"\1: ", " ".join(lines[at + 1 :]))
        words = " ".join(html.unescape(_TAG.sub("", words)).split())
        builder.enter(1, f"{match.group(1).rpartition(':')[0]}:00")
        builder.add(f"[{times}] {words}" if words else "", separator="\n")
    extraction = builder.build("text/vtt" if text.startswith("WEBVTT") else "application/x-subrip")
    if not extraction.spans:
        raise UnreadableDocument("It holds no cues.")
    return extraction
