"""The tools of `loci serve --mcp`, asked by the SDK's own client."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

import mcp

from app.serve.mcp import server
from app.serve.turns import Turns
from app.workspace import Workspace
from model.errors import PromptTooLong
from tests.app.cli_run import Run
from tests.app.serve.conftest import Talker

Connect = Callable[[], mcp.Client]


@pytest.fixture
def connect(loci: Run, read: Path, talker: Talker) -> Iterator[Connect]:
    """A client of the tools over the real stores of a small library."""
    with Workspace.open() as opened:
        yield lambda: mcp.Client(server(opened, Turns(talker.turn, alone=True), ("main",), store=False))


async def call(client: Any, tool: str, **arguments: Any) -> Any:
    found = await client.call_tool(tool, arguments)
    assert not found.is_error, found.content
    return found.structured_content


async def test_a_client_finds_four_tools_and_which_of_them_write(connect: Connect) -> None:
    async with connect() as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(listed) == {"search", "ask", "remember", "recall"}
        writes = {name for name, tool in listed.items() if not tool.annotations.read_only_hint}
        assert writes == {"remember"}
        assert all(tool.description for tool in listed.values())
        assert "query" in listed["search"].input_schema["required"]


async def test_search_finds_passages_with_their_places(connect: Connect) -> None:
    async with connect() as client:
        (first, *_) = (await call(client, "search", query="anchors in the shed", limit=2))["passages"]
        assert first["path"].endswith("stock.md") and "forty anchors" in first["text"] and first["line"] == 1
        assert (await call(client, "search", query="anchors", collections=["elsewhere"])) == {"passages": []}


async def test_what_is_remembered_is_recalled_in_its_collection(connect: Connect) -> None:
    async with connect() as client:
        kept = await call(client, "remember", text="My boat is called Whimbrel.")
        found = await call(client, "recall", query="What is my boat called?")
        assert [(one["id"], one["text"]) for one in found["memories"]] == [(kept["id"], "My boat is called Whimbrel.")]
        assert (await call(client, "recall", query="boat", collections=["work"])) == {"memories": []}


async def test_ask_gives_the_checked_answer(connect: Connect, talker: Talker) -> None:
    async with connect() as client:
        answer = await call(client, "ask", question="How many anchors?", collections=["work"])
        assert answer["answer"] == "Forty anchors [1]." and answer["citations"][0]["status"] == "verified"
        assert talker.asked[0].scope == ("work",) and not talker.asked[0].store


async def test_what_goes_wrong_is_told_to_the_model_and_the_tools_go_on(connect: Connect, talker: Talker) -> None:
    async with connect() as client:
        talker.error = PromptTooLong("9 tokens in a window of 8.")
        failed = await client.call_tool("ask", {"question": "x"})
        assert failed.is_error and "window of 8" in failed.content[0].text
        assert (await client.call_tool("remember", {"text": " "})).is_error
        assert (await client.call_tool("search", {"query": "x", "limit": 0})).is_error
        assert (await call(client, "search", query="anchors"))["passages"]


COMMAND = """
import sys
from app.workspace import Workspace
from tests.app.fakes import FakeAssistant, FakeEmbedder
Workspace.embedder = property(lambda self: FakeEmbedder())
Workspace.assistant = lambda self: FakeAssistant()
from app.cli.main import main
print("a library that prints", file=sys.stderr)
sys.exit(main())
"""


async def test_the_command_speaks_over_stdin_and_stdout(read: Path) -> None:
    parameters = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-c", COMMAND, "serve", "--mcp"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    async with mcp.Client(parameters) as client:
        assert (await call(client, "search", query="anchors in the shed"))["passages"][0]["path"].endswith("stock.md")
        assert (await call(client, "ask", question="how many?"))["answer"] == "HOW MANY?"
