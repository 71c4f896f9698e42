"""`loci serve` over HTTP: an unmodified OpenAI client, and all that is refused."""

import asyncio
import json
import logging
import socket
import threading
import time
from typing import Any

import httpx
import openai
import pytest

from app.errors import ResidentEnded
from app.serve import http
from app.serve.http import Served
from app.serve.run import server
from app.serve.turns import Turns
from model.errors import PromptTooLong, UnsupportedConstraint
from retrieval.errors import NoSuchDocument
from tests.app.fakes import make_answer
from tests.app.serve.conftest import TOKEN, Serve, Talker

USER: Any = [{"role": "user", "content": "How many anchors are there?"}]


def client(url: str, token: str = TOKEN) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=token, max_retries=0)


def post(url: str, body: Any, **headers: str) -> httpx.Response:
    sent = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"} | headers
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{url}/chat/completions", content=content, headers=sent, timeout=10)


# ---- an unmodified client --------------------------------------------------------------------------


def test_a_client_lists_models_and_has_a_question_answered_with_citations(serve: Serve, talker: Talker) -> None:
    asks = client(serve())
    assert [model.id for model in asks.models.list()] == ["loci", "loci/main", "loci/work"]
    assert asks.models.retrieve("loci/work").owned_by == "loci"
    answer = asks.chat.completions.create(model="loci", messages=USER, seed=5, max_tokens=77, temperature=0.5)
    assert answer.choices[0].message.content == (
        "Forty anchors [1].\n\n[1] ✓ verified  /docs/a.md:3, § Stock: “Forty.”"
    )
    assert (answer.choices[0].finish_reason, answer.usage and answer.usage.total_tokens) == ("stop", 13)
    own = answer.loci  # type: ignore[attr-defined]  # a field of ours
    assert own["schema"] == 1 and own["citations"][0]["status"] == "verified" and own["answer"] == "Forty anchors [1]."
    (ask,) = talker.asked
    assert (ask.question, ask.seed, ask.max_tokens, ask.temperature) == (USER[0]["content"], 5, 77, 0.5)
    assert (ask.scope, ask.store, ask.use_memory) == (("main",), False, True)


def test_a_stream_says_each_word_as_it_comes_and_ends_with_sources_and_usage(serve: Serve, talker: Talker) -> None:
    gate = threading.Semaphore(1)
    talker.before = gate.acquire
    stream = client(serve()).chat.completions.create(
        model="loci", messages=USER, stream=True, stream_options={"include_usage": True}
    )
    said: list[str] = []
    last: dict[str, Any] = {}
    for chunk in stream:
        if not chunk.choices:
            assert chunk.usage is not None and chunk.usage.prompt_tokens == 10
            continue
        last = getattr(chunk, "loci", last)
        if text := chunk.choices[0].delta.content:
            said.append(text)
            gate.release()  # the next word is said only once this one was heard
    assert said == ["Forty ", "anchors [1].", "\n\n[1] ✓ verified  /docs/a.md:3, § Stock: “Forty.”"]
    assert last["citations"][0]["quote"] == "Forty."


@pytest.mark.parametrize(
    ("words", "answer", "said"),
    [([], "Forty.", "Forty."), (["<think>hm</think>For", "ty."], "Forty.", "<think>hm</think>Forty."),
     (["For"], "Forty.", "Forty."), (["Thirty."], "Forty.", "Thirty.\n\nForty.")],
)  # fmt: skip
def test_what_the_check_made_of_a_draft_is_said_too(
    serve: Serve, talker: Talker, words: list[str], answer: str, said: str
) -> None:
    talker.words, talker.answer = words, make_answer("q", answer)
    stream = client(serve()).chat.completions.create(model="loci", messages=USER, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text.partition("\n\n[1]")[0] == said


def test_a_conversation_and_a_collection_reach_the_assistant(serve: Serve, talker: Talker) -> None:
    shown = "Forty [1].\n\n[1] ✓ verified  /a.md:3: “Forty.”\n[2] ✗ not_found  /b.md:1: “x”"
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "How many"}, {"type": "text", "text": "anchors?"}]},
        {"role": "assistant", "content": shown},
        {"role": "user", "content": "And chains?"},
        {"role": "user", "content": "Quick."},
    ]
    asks = client(serve(scope=("main", "boats")))
    own = {"store": True, "library": False, "documents": ["d1"]}
    asks.chat.completions.create(model="loci/work", messages=messages, extra_body={"loci": own})
    asks.chat.completions.create(model="loci", messages=messages)
    asks.chat.completions.create(model="loci", messages=messages, extra_body={"loci": {"collections": ["a", "b"]}})
    first, second, third = talker.asked
    assert first.system == "Be brief." and first.history == (("How many\nanchors?", "Forty [1]."),)
    assert first.question == "And chains?\n\nQuick."
    assert (first.store, first.use_library, first.documents) == (True, False, ("d1",))
    assert (first.scope, second.scope, third.scope) == (("work",), ("main", "boats"), ("a", "b"))


def test_a_schema_reaches_the_assistant_and_what_has_no_effect_is_named(serve: Serve, talker: Talker) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    given: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    asks = client(serve())
    answer = asks.chat.completions.create(
        model="loci", messages=USER, response_format=given, top_p=0.5, n=1, tools=[], user="me"
    )
    assert json.loads(talker.asked[0].schema or "") == schema
    assert answer.loci["ignored"] == ["top_p", "user"]  # type: ignore[attr-defined]


# ---- who is refused --------------------------------------------------------------------------------


def test_without_the_token_nothing_is_said(serve: Serve, talker: Talker) -> None:
    url = serve()
    for token in ("wrong", TOKEN + "x", "é"):
        with pytest.raises((openai.AuthenticationError, UnicodeEncodeError)):
            client(url, token).models.list()
    assert httpx.get(f"{url}/models").headers["www-authenticate"] == "Bearer"
    assert post(url, {"messages": USER}, Authorization=f"Basic {TOKEN}").status_code == 401
    assert httpx.get(url.removesuffix("/v1") + "/nothing").status_code == 401
    assert not talker.asked


def test_a_page_of_a_strangers_origin_is_refused_even_with_the_token(serve: Serve, talker: Talker) -> None:
    url = serve(origins=("https://chat.example",))
    for origin in ("https://evil.example", "null", "https://chat.example.evil.example", url.removesuffix("/v1")):
        assert post(url, {"messages": USER}, Origin=origin).status_code == 403
    assert not talker.asked
    asked = {"Origin": "https://chat.example", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization"}  # fmt: skip
    before = httpx.options(f"{url}/chat/completions", headers=asked)  # a browser asks without the token
    assert before.status_code == 200 and before.headers["access-control-allow-origin"] == "https://chat.example"
    allowed = post(url, {"messages": USER}, Origin="https://chat.example")
    assert allowed.status_code == 200 and allowed.headers["access-control-allow-origin"] == "https://chat.example"
    assert (
        httpx.options(f"{url}/chat/completions", headers=asked | {"Origin": "https://evil.example"}).status_code == 403
    )


def test_a_name_that_is_none_of_ours_is_refused(serve: Serve, talker: Talker) -> None:
    url = serve(hosts=("box.lan",))
    for host in ("evil.example", "evil.example:5624", "127.0.0.1.evil.example", "", "localhost@evil.example"):
        assert post(url, {"messages": USER}, Host=host).status_code == 400, host
    assert not talker.asked
    for host in ("localhost", "127.0.0.1:1", "[::1]:5624", "box.lan"):
        assert post(url, {"messages": USER}, Host=host).status_code == 200, host


# ---- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "malformed"),
        (b'{"messages": "\xff"}', "malformed"),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "no question"),
        ({"messages": [{"role": "user", "content": " "}]}, "no question"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url"),
        ({"messages": USER, "model": "gpt-4"}, "no model 'gpt-4'"),
        ({"messages": USER, "n": 2}, "one answer"),
        ({"messages": USER, "logprobs": True}, "log-probabilities"),
        ({"messages": USER, "tools": [{}], "tool_choice": "required"}, "tools"),
        ({"messages": USER, "response_format": {"type": "xml"}}, "response_format"),
        ({"messages": USER, "temperature": -1}, "temperature"),
        ({"messages": USER, "loci": {"stor": True}}, "loci.stor"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_name(serve: Serve, talker: Talker, body: Any, reason: str) -> None:
    refused = post(serve(), body)
    assert refused.status_code == 400 and reason in refused.json()["error"]["message"]
    assert not talker.asked


def test_a_request_without_end_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MOST_BYTES", 1000)
    assert "longer" in post(serve(), b" " * 2000).json()["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ResidentEnded("It was ended.", "Ask again."), 500, "server_error"),
        (PromptTooLong("9 tokens in a window of 8."), 400, "context_length_exceeded"),
        (UnsupportedConstraint("No schema."), 400, "invalid_request_error"),
        (NoSuchDocument("There is no document d9."), 400, "invalid_request_error"),
    ],
)
def test_what_goes_wrong_is_told_in_both_forms(
    serve: Serve, talker: Talker, error: Exception, status: int, code: str
) -> None:
    talker.error = error
    asks = client(serve())
    with pytest.raises(openai.APIStatusError) as caught:
        asks.chat.completions.create(model="loci", messages=USER)
    assert caught.value.status_code == status and str(error) in str(caught.value)
    with pytest.raises(openai.APIError, match=str(error)) as streamed:
        list(asks.chat.completions.create(model="loci", messages=USER, stream=True))
    assert streamed.value.code == code


# ---- turns -----------------------------------------------------------------------------------------


def test_a_client_that_leaves_cancels_the_turn(serve: Serve, talker: Talker) -> None:
    talker.words = ["word "] * 1000
    talker.before = lambda: time.sleep(0.01)
    stream = client(serve()).chat.completions.create(model="loci", messages=USER, stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()
    assert talker.closed.wait(30)


@pytest.mark.parametrize("alone", [True, False])
def test_an_engine_in_this_process_answers_one_at_a_time(serve: Serve, talker: Talker, alone: bool) -> None:
    under_way: list[int] = []
    most: list[int] = []
    together = threading.Event()

    def count() -> None:
        under_way.append(1)
        most.append(len(under_way))
        if len(under_way) > 1:
            together.set()
        together.wait(0.1 if alone else 30)
        under_way.pop()

    talker.before, talker.words = count, ["word"]
    url = serve(alone=alone)
    asking = [threading.Thread(target=post, args=(url, {"messages": USER})) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(talker.asked) == 4 and (max(most) == 1) == alone


def test_a_long_silence_is_filled_with_comments(serve: Serve, talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_ALIVE", 0.05)
    talker.before, talker.words = lambda: time.sleep(0.2), ["word"]
    text = post(serve(), {"messages": USER, "stream": True}).text
    assert ": still at work\n\n" in text and text.endswith("data: [DONE]\n\n")


def test_a_port_that_is_taken_is_named() -> None:
    from app.errors import BadInput
    from app.serve.run import listen

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadInput, match="cannot be had"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_answers_that_are_cut_off_at_the_end_leave_no_traceback_and_failures_do() -> None:
    logger = logging.getLogger("uvicorn.error")
    server(Served(Turns(Talker().turn, alone=False), lambda: []))
    for error, told in ((asyncio.CancelledError(), False), (ValueError(), True)):
        record = logger.makeRecord("x", logging.ERROR, "", 0, "failed", (), (type(error), error, None))
        assert bool(logger.filter(record)) is told
