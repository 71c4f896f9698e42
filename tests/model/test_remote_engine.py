"""The remote engine against llama-cpp-python's real server, and against servers that misbehave."""

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.engine import (
    Choice,
    Delta,
    Finished,
    Grammar,
    JsonSchema,
    Logprobs,
    Message,
    Request,
    Sampling,
    Score,
    TokenLogprob,
)
from model.errors import RemoteFailed, UnsupportedConstraint, UnsupportedOperation
from model.remote_engine import RemoteEngine
from model.settings import ModelSettings
from tests.model.faulty_server import GOOD, Faulty, content, lines, reply
from tests.model.gguf_files import TEXT, with_tokenizer

Make = Callable[..., tuple[Path, Any]]
QUICK = ModelSettings(timeout=5, connect_timeout=2, retries=2)
HELLO = [Message("user", "Say hello.")]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.patience.delay", lambda attempt, after: 0.0)


def text_of(events: Sequence[object], reasoning: bool = False) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta) and event.reasoning == reasoning)


@pytest.fixture(scope="module")
def real_server(make_checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(URL, GGUF file) of llama-cpp-python's server in a process of its own."""
    pytest.importorskip("llama_cpp.server.app", reason="llama-cpp-python[server] is not installed (extra dev)")
    from model.gguf import export

    folder = with_tokenizer(make_checkpoint(3)[0], tmp_path_factory.mktemp("server") / "tiny", 320)
    file = folder.with_suffix(".gguf")
    export(folder, file)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(file), "--model_alias", "tiny"]
    command += ["--port", str(port), "--n_ctx", "512", "--n_threads", "1", "--verbose", "false"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(300):
            assert process.poll() is None, "the server died"
            try:
                httpx.get(f"{url}/models", timeout=1)
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield url, file
    finally:
        process.terminate()
        process.wait()


def test_answers_as_the_same_file_does_locally(real_server: tuple[str, Path]) -> None:
    from model.llama_engine import LlamaEngine

    url, file = real_server
    remote, local = RemoteEngine(url, QUICK), LlamaEngine(file, ModelSettings(threads=1, gpu_layers=0))
    request = Request(TEXT[0], Sampling(max_tokens=12))
    try:
        events = list(remote.generate(request))
        # A random model writes broken characters, which the server drops: compare what comes before the first.
        expected = text_of(list(local.generate(request))).partition("\ufffd")[0]
        assert len(expected) >= 3 and text_of(events).startswith(expected)
        assert remote.describe().name == "tiny" and remote.describe().engine == "remote"
        assert isinstance(events[-1], Finished) and events[-1].reason == "length"
        counted, real = remote.count_tokens(TEXT[0]), local.count_tokens(TEXT[0])
        assert real <= counted <= real + 1  # the server adds a start token
    finally:
        remote.close()
        local.close()


def test_chats_with_the_real_server_under_a_schema(real_server: tuple[str, Path]) -> None:
    engine = RemoteEngine(real_server[0] + "#tiny", QUICK)
    schema = '{"type": "object", "properties": {"n": {"type": "boolean"}}, "required": ["n"]}'
    events = list(engine.generate(Request(HELLO, Sampling(max_tokens=100), JsonSchema(schema))))
    assert isinstance(json.loads(text_of(events))["n"], bool)
    engine.close()


def test_the_real_server_is_held_to_choices_and_grammars(real_server: tuple[str, Path]) -> None:
    engine = RemoteEngine(real_server[0], QUICK)
    one_of = Choice(('say "yes"', "no — never", "perhaps"))
    chosen = text_of(list(engine.generate(Request(HELLO, Sampling(max_tokens=60), one_of))))
    digits = text_of(list(engine.generate(Request("a", Sampling(max_tokens=60), Grammar('root ::= [0-9]{3} "!"')))))
    engine.close()
    assert chosen in one_of.options
    assert re.fullmatch(r"\d{3}!", digits)
    assert {"choice", "grammar"} <= engine.describe().capabilities


def test_closing_the_stream_leaves_the_real_server_usable(real_server: tuple[str, Path]) -> None:
    engine = RemoteEngine(real_server[0], QUICK)
    stream = engine.generate(Request(HELLO, Sampling(max_tokens=400)))
    next(stream)
    stream.close()
    assert text_of(list(engine.generate(Request(HELLO, Sampling(max_tokens=3)))))
    engine.close()


def test_a_server_that_interrupts_answers_for_others_never_passes_half_of_one_for_whole(
    real_server: tuple[str, Path],
) -> None:
    engine = RemoteEngine(real_server[0], QUICK)
    requests = [Request([Message("user", f"Count to {n}.")], Sampling(max_tokens=40)) for n in range(3)]
    alone = [text_of(engine.generate_whole(request)) for request in requests]
    together: dict[int, str] = {}

    def ask(number: int) -> None:
        try:
            together[number] = text_of(engine.generate_whole(requests[number]))
        except RemoteFailed as error:
            assert "without a reason" in str(error)
            together[number] = alone[number]

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    engine.close()
    assert [together.get(number) for number in range(3)] == alone


def test_an_unknown_name_lists_what_is_offered(real_server: tuple[str, Path]) -> None:
    with pytest.raises(RemoteFailed, match="tiny"):
        RemoteEngine(real_server[0] + "#other", QUICK)


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    server = Faulty()
    yield server
    server.close()


def ask(server: Faulty, **sampling: Any) -> list[object]:
    engine = RemoteEngine(server.url, QUICK)
    try:
        return list(engine.generate(Request(HELLO, Sampling(**sampling))))
    finally:
        engine.close()


def test_reasoning_and_usage_are_kept_apart(faulty: Faulty) -> None:
    faulty.replies = [GOOD]
    events = ask(faulty)
    assert (text_of(events), text_of(events, reasoning=True)) == ("hello", "hm")
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.reason == "stop"
    assert (finished.usage.prompt_tokens, finished.usage.cached_tokens, finished.usage.completion_tokens) == (7, 3, 2)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_failures_are_tried_again(faulty: Faulty, status: int) -> None:
    faulty.replies = [reply(status, "busy"), reply(status, "busy"), GOOD]
    assert text_of(ask(faulty)) == "hello"
    assert len(faulty.bodies) == 3


def test_the_tries_are_bounded_and_the_reason_is_named(faulty: Faulty) -> None:
    faulty.replies = [reply(500, '{"error": {"message": "out of memory"}}')] * 3
    with pytest.raises(RemoteFailed, match=r"3 tries.*out of memory"):
        ask(faulty)


def test_refusals_are_not_tried_again(faulty: Faulty) -> None:
    faulty.replies = [reply(401, '{"error": {"message": "bad key"}}')]
    with pytest.raises(RemoteFailed, match=r"401.*bad key"):
        ask(faulty)


def test_an_answer_that_breaks_off_is_an_error_and_never_repeated(faulty: Faulty) -> None:
    faulty.replies = [reply(200, lines(content("hel"), done=False)), GOOD]
    with pytest.raises(RemoteFailed, match="middle"):
        ask(faulty)
    assert len(faulty.bodies) == 1


def test_garbage_before_the_first_word_is_tried_again(faulty: Faulty) -> None:
    faulty.replies = [reply(200, lines("<html>")), GOOD]
    assert text_of(ask(faulty)) == "hello"


def test_a_silent_server_times_out(faulty: Faulty) -> None:
    released = threading.Event()

    def stall(handler: BaseHTTPRequestHandler) -> None:
        released.wait(5)

    faulty.replies = [stall]
    engine = RemoteEngine(faulty.url, ModelSettings(timeout=0.2, retries=0))
    with pytest.raises(RemoteFailed, match=r"0\.2 s"):
        list(engine.generate(Request(HELLO)))
    released.set()
    engine.close()


def test_nobody_listening_is_a_clear_error() -> None:
    with pytest.raises(RemoteFailed, match="Check that the server runs"):
        RemoteEngine("http://127.0.0.1:9/v1", QUICK)


def test_the_key_comes_from_the_environment_and_stays_out_of_errors(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    faulty.replies = [reply(403, "no")]
    with pytest.raises(RemoteFailed) as caught:
        ask(faulty)
    assert faulty.keys == ["Bearer sk-secret"]
    assert "sk-secret" not in str(caught.value)


def test_sampling_reaches_the_server(faulty: Faulty) -> None:
    faulty.replies = [GOOD]
    ask(faulty, temperature=0.7, top_p=0.9, top_k=40, seed=5, max_tokens=11, stop=("END",))
    sent = faulty.bodies[0]
    assert (sent["temperature"], sent["top_p"], sent["top_k"], sent["seed"]) == (0.7, 0.9, 40, 5)
    assert (sent["max_tokens"], sent["stop"], sent["model"]) == (11, ["END"], "m")


def test_penalties_reach_the_server_only_where_they_are_asked_for(faulty: Faulty) -> None:
    faulty.replies = [GOOD, GOOD]
    ask(faulty, repetition_penalty=1.1, presence_penalty=0.5, frequency_penalty=-0.5)
    ask(faulty)
    sent, plain = faulty.bodies
    names = ("repetition_penalty", "presence_penalty", "frequency_penalty")
    assert [sent[name] for name in names] == [1.1, 0.5, -0.5]
    assert not {*names, "logprobs", "top_logprobs"} & plain.keys()


def test_log_probabilities_are_read_in_both_forms(faulty: Faulty) -> None:
    entry = {"token": "he", "logprob": -0.1, "top_logprobs": [{"token": "he", "logprob": -0.1}]}
    chat = {"choices": [{"delta": {"content": "he"}, "logprobs": {"content": [entry]}}]}
    lists = {"tokens": ["he"], "token_logprobs": [-0.5], "top_logprobs": [{"she": -2.0, "he": -0.5}]}
    plain = {"choices": [{"text": "he", "logprobs": lists}]}
    faulty.replies = [reply(200, lines(chat)), reply(200, lines(plain))]
    assert ask(faulty, logprobs=1)[0] == Logprobs(TokenLogprob("he", -0.1), (TokenLogprob("he", -0.1),))
    engine = RemoteEngine(faulty.url, QUICK)
    events = list(engine.generate(Request("oh", Sampling(logprobs=2))))
    engine.close()
    assert events[0] == Logprobs(TokenLogprob("he", -0.5), (TokenLogprob("he", -0.5), TokenLogprob("she", -2.0)))
    assert (faulty.bodies[0]["logprobs"], faulty.bodies[0]["top_logprobs"]) == (True, 1)
    assert faulty.bodies[1]["logprobs"] == 2


def test_log_probabilities_without_alternatives_are_read_and_unknown_forms_refused(faulty: Faulty) -> None:
    alone = {"choices": [{"delta": {"content": "he"}, "logprobs": {"content": [{"token": "he", "logprob": -0.1}]}}]}
    odd = {"choices": [{"delta": {"content": "he"}, "logprobs": {"content": [{"text": "he"}]}}]}
    faulty.replies = [reply(200, lines(alone)), reply(200, lines(odd))]
    assert ask(faulty, logprobs=1)[0] == Logprobs(TokenLogprob("he", -0.1), ())
    with pytest.raises(RemoteFailed, match="unknown form"):
        ask(faulty, logprobs=1)


def test_a_real_server_reports_log_probabilities(real_server: tuple[str, Path]) -> None:
    engine = RemoteEngine(real_server[0], QUICK)
    sampling = Sampling(max_tokens=6, logprobs=2, presence_penalty=0.5)
    events = [one for one in engine.generate(Request(HELLO, sampling)) if isinstance(one, Logprobs)]
    engine.close()
    # It keys the alternatives by their texts, of which broken characters have the same.
    assert events and all(1 <= len(one.likeliest) <= 2 and one.token.logprob < 0 for one in events)


def echo(text: str, logprobs: Sequence[float | None]) -> Any:
    """What vLLM answers for `text`, with one token after it."""
    choice = {"text": f"{text}!", "logprobs": {"token_logprobs": list(logprobs)}, "finish_reason": "length"}
    return reply(200, json.dumps({"choices": [choice], "usage": {"completion_tokens": 1}}))


def test_candidates_are_scored_by_a_server_that_echoes() -> None:
    server = Faulty(owned_by="vllm")
    engine = RemoteEngine(server.url, QUICK)
    server.replies = [
        echo("a b", [None, -1.0, -9.0]),
        reply(503, "{}"),
        echo("a b c", [None, -1.0, -0.5, -9.0]),
        echo("a b d e", [None, -1.0, -2.0, -0.25, -9.0]),
        echo("another text", [None, -1.0, -9.0]),
    ]
    try:
        assert engine.score("a b", [" c", " d e"]) == [Score(-0.5, 1), Score(-2.25, 2)]
        assert [body["prompt"] for body in server.bodies] == ["a b", "a b c", "a b c", "a b d e"]
        assert all(body["echo"] and body["max_tokens"] == 1 for body in server.bodies)
        with pytest.raises(RemoteFailed, match="how likely"):
            engine.score("a b", [" c"])
        with pytest.raises(UnsupportedOperation, match="messages"):
            engine.score(HELLO, [" c"])
    finally:
        engine.close()
        server.close()


def test_a_real_server_scores_as_the_same_file_does_locally(real_server: tuple[str, Path]) -> None:
    """llama-cpp-python's, which tells what vLLM does where a text begins with the start token."""
    from model.llama_engine import LlamaEngine

    url, file = real_server
    remote, local = (
        RemoteEngine(url, QUICK),
        LlamaEngine(file, ModelSettings(threads=1, gpu_layers=0, cache_type="f32")),
    )
    candidates = [" leaves the quay", " never", " at nine"]
    try:
        with pytest.raises(UnsupportedOperation):
            remote.score("<bos>The ferry", candidates)
        remote._dialect = "vllm"
        start = [int(local._native.native.llama_vocab_bos(local._native._vocab)), *local._tokens("The ferry")]
        for told, known in zip(remote.score("<bos>The ferry", candidates), local.score(start, candidates), strict=True):
            assert told.tokens == known.tokens and told.logprob == pytest.approx(known.logprob, abs=0.05)
    finally:
        remote.close()
        local.close()


def test_the_window_is_what_the_server_says(faulty: Faulty) -> None:
    engine = RemoteEngine(faulty.url, QUICK)
    assert engine.describe().context == 4096
    assert engine.count_tokens("a word or two") >= 4
    engine.close()


def test_what_a_server_cannot_do_is_refused(faulty: Faulty) -> None:
    engine = RemoteEngine(faulty.url, QUICK)
    with pytest.raises(UnsupportedConstraint):
        list(engine.generate(Request(HELLO, constraint=Choice(("a", "b")))))
    with pytest.raises(UnsupportedOperation):
        engine.score("a", ["b"])
    with pytest.raises(UnsupportedOperation):
        list(engine.generate(Request([1, 2, 3])))
    engine.close()


def test_a_server_that_ignores_the_schema_is_found_out(faulty: Faulty) -> None:
    faulty.replies = [GOOD]
    engine = RemoteEngine(faulty.url, QUICK)
    with pytest.raises(RemoteFailed, match="JSON"):
        list(engine.generate(Request(HELLO, constraint=JsonSchema('{"type": "object"}'))))
    engine.close()
