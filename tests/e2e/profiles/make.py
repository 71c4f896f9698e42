"""Writes a small profile as this version makes it, to be kept: later versions must open it.

    python tests/e2e/profiles/make.py

Run it once per released version, with a temporary LOCI_HOME; it writes `VERSION.zip` beside itself.
"""

import os
import tempfile
from importlib.metadata import version
from pathlib import Path

NOTE = """# The yard

There are 43 anchors in the shed. The ropes are in the loft.

## Boats

The skipper of the Curlew is Ana Brandt.
"""
TABLE = "Boat,Length m,Owner\nCurlew,9.4,Ana Brandt\nTern,7.1,Osric Pym\n"
FACT = "Remember that my boat is called Whimbrel and is 9.4 metres long."
QUESTION = "Who is the skipper of the Curlew?"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LOCI_HOME"] = folder
        from app.answer import Ask
        from app.backup import back_up
        from app.workspace import Workspace
        from retrieval.ingest import ingest

        documents = Path(folder) / "documents"
        documents.mkdir()
        (documents / "yard.md").write_text(NOTE, encoding="utf-8")
        (documents / "boats.csv").write_text(TABLE, encoding="utf-8")
        with Workspace.open() as workspace:
            ingest(workspace.library, [documents])
            assistant = workspace.assistant()
            session = assistant.ask(Ask(FACT)).session
            assistant.ask(Ask(QUESTION, session=session))
            workspace.memory.forget(workspace.memory.add("The shed is green.", source=_told()).id)
            profile = workspace.profile
        back_up(profile, Path(__file__).parent / f"{version('loci-assistant')}.zip", force=True)


def _told() -> object:
    from memory.types import Source

    return Source(how="command")


if __name__ == "__main__":
    main()
