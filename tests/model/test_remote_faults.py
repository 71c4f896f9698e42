"""What servers do wrong, and what the client makes of it: waits, bounds, and words that hold no key."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any

import pytest

from model import patience
from model.engine import Choice, Delta, Grammar, Message, Request, Sampling
from model.errors import BrokeOff, RemoteFailed, UnknownModel, UnsupportedConstraint
from model.event_stream import BrokenStream, events
from model.open import resolve
from model.patience import Patience, Transient, retry_after
from model.remote_engine import RemoteEngine
from model.settings import ModelSettings
from tests.model.faulty_server import END, GOOD, Faulty, content, lines, reply

QUICK = ModelSettings(timeout=5, connect_timeout=2, retries=2)
HELLO = [Message("user", "Say hello.")]
PLAIN = Request(HELLO)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that were asked for; none is kept."""
    asked: list[float] = []
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=time.monotonic, sleep=asked.append))
    return asked


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    server = Faulty()
    yield server
    server.close()


def whole(server: Faulty, request: Request = PLAIN, settings: ModelSettings = QUICK) -> str:
    engine = RemoteEngine(server.url, settings)
    try:
        return "".join(
            one.text for one in engine.generate_whole(request) if isinstance(one, Delta) and not one.reasoning
        )
    finally:
        engine.close()


# ---- the stream ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_found_wherever_the_bytes_are_cut(size: int) -> None:
    stream = b': ping\r\n\r\ndata: {"a": "\xc3\xa9"}\r\n\r\nevent: x\ndata:2\n\ndata: [DONE]'
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert list(events(chunks, 10.0)) == ['{"a": "é"}', "2", "[DONE]"]


def test_a_line_without_end_and_a_stream_of_mere_comments_are_given_up() -> None:
    with pytest.raises(BrokenStream, match="longer"):
        list(events((b"x" * 100 for _ in range(1000)), 10.0, longest=1000))
    clock = iter(range(100))
    with pytest.raises(BrokenStream, match="no event within 5 s"):
        list(events((b": ping\n\n" for _ in range(1000)), 5.0, now=lambda: float(next(clock))))


# ---- waiting ---------------------------------------------------------------------------------------


def test_waits_grow_and_are_spread_and_what_the_server_asks_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for at, most in ((0, 0.5), (3, 4.0), (20, 30.0)):
        drawn = [patience.delay(at, None) for _ in range(500)]
        assert max(drawn) <= most and min(drawn) < most / 4 and max(drawn) > most * 3 / 4
    asked = [patience.delay(0, 2.0) for _ in range(100)]
    assert 2.0 <= min(asked) < max(asked) <= 2.5
    assert max(patience.delay(5, 0.0) for _ in range(100)) > 1.0


def test_retry_after_is_read_in_both_forms() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("7") == 7.0 and retry_after("0.5") == 0.5
    assert retry_after("Thu, 01 Jan 2026 00:01:30 GMT", now) == 90.0
    assert retry_after("Wed, 31 Dec 2025 00:00:00 GMT", now) == 0.0
    assert retry_after("") is None and retry_after("soon") is None and retry_after("1e") is None


def test_a_busy_server_uses_up_time_and_a_failing_one_tries(waits: list[float]) -> None:
    tries = Patience(1, seconds=60.0)
    assert all(tries.wait(Transient("429", 1.0, busy=True)) for _ in range(20))
    assert tries.wait(Transient("500")) and not tries.wait(Transient("500"))
    assert not Patience(5, seconds=-1.0).wait(Transient("429", 1.0, busy=True))


def test_a_server_that_is_busy_for_longer_than_there_are_retries_answers_in_the_end(
    faulty: Faulty, waits: list[float]
) -> None:
    faulty.replies = [reply(429, "busy", {"Retry-After": "3"})] * 7 + [reply(503, "", {"Retry-After": "1"}), GOOD]
    assert whole(faulty) == "hello"
    assert len(waits) == 8 and all(3.0 <= one <= 3.75 for one in waits[:7])


# ---- answers ---------------------------------------------------------------------------------------


def test_an_answer_that_breaks_off_is_asked_for_again_where_nobody_has_seen_it(
    faulty: Faulty, waits: list[float]
) -> None:
    def drops(handler: BaseHTTPRequestHandler) -> None:
        reply(200, lines(content("hel"), done=False))(handler)

    faulty.replies = [drops, reply(200, lines(content("he"), "oops")), GOOD]
    assert whole(faulty) == "hello"
    faulty.replies = [drops] * 3
    with pytest.raises(BrokeOff, match="middle"):
        whole(faulty)


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": "none"},
        {"choices": [1]},
        {"choices": [{"delta": "hello"}]},
        {"choices": [{"delta": {"content": 5}}]},
        [],
        {"error": {"message": "out of memory"}},
    ],
)
def test_garbage_is_tried_again_whatever_its_form(faulty: Faulty, waits: list[float], chunk: Any) -> None:
    faulty.replies = [reply(200, lines(chunk)), GOOD]
    assert whole(faulty) == "hello"


def test_numbers_that_are_none_do_not_end_an_answer(faulty: Faulty) -> None:
    odd = {"choices": [], "usage": {"prompt_tokens": "many", "completion_tokens": -1, "prompt_tokens_details": [1]}}
    faulty.replies = [reply(200, lines(content("hel\ud800lo"), odd))]
    assert whole(faulty) == "hel?lo"


def test_a_stream_without_closing_mark_has_ended_if_it_said_why(faulty: Faulty) -> None:
    """`transformers serve` sends none."""
    faulty.replies = [reply(200, lines(content("hello"), END, done=False))]
    assert whole(faulty) == "hello"


def test_a_closing_mark_without_a_reason_is_no_end(faulty: Faulty, waits: list[float]) -> None:
    """llama-cpp-python's server sends it to whom it interrupts for another request."""
    faulty.replies = [reply(200, lines(content("hel"), "[DONE]", done=False)), GOOD]
    assert whole(faulty) == "hello"


def test_a_server_that_never_stops_is_cut_off(faulty: Faulty) -> None:
    faulty.replies = [reply(200, lines(*[content("x" * 1000)] * 50))]
    with pytest.raises(RemoteFailed, match="does not stop after 4 tokens"):
        whole(faulty, Request(HELLO, Sampling(max_tokens=4)))


def test_a_trickle_of_bytes_does_not_hold_the_client(faulty: Faulty) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        reply(200, "")(handler)
        try:
            for _ in range(100):
                handler.wfile.write(b": still here\n\n")
                handler.wfile.flush()
                time.sleep(0.02)
        except OSError:
            pass

    faulty.replies = [trickle]
    began = time.monotonic()
    with pytest.raises(RemoteFailed, match=r"no event within 0\.3 s"):
        whole(faulty, settings=ModelSettings(timeout=0.3, retries=0))
    assert time.monotonic() - began < 1.5


# ---- keys ------------------------------------------------------------------------------------------


def test_a_key_that_the_server_repeats_is_not_repeated(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    said = json.dumps({"error": {"message": "x" * 190 + "sk-secret is no key"}})
    faulty.replies = [reply(401, said), reply(400, "sk-secret")]
    for _ in range(2):
        with pytest.raises(RemoteFailed) as caught:
            whole(faulty)
        assert "sk-" not in str(caught.value) and "[key]" in str(caught.value)


def test_the_key_is_in_the_keyring_where_the_environment_has_none(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = pytest.importorskip("keyring", reason="the extra keyring is not installed")
    kept = {("loci", faulty.url): "sk-kept"}
    monkeypatch.setattr(keyring, "get_password", lambda service, user: kept.get((service, user)))
    faulty.replies = [GOOD, GOOD]
    whole(faulty)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-given")
    whole(faulty)
    assert faulty.keys == ["Bearer sk-kept", "Bearer sk-given"]


def test_a_keyring_that_fails_is_no_key(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = pytest.importorskip("keyring", reason="the extra keyring is not installed")

    def locked(service: str, user: str) -> str:
        raise keyring.errors.KeyringLocked("locked")

    monkeypatch.setattr(keyring, "get_password", locked)
    faulty.replies = [GOOD]
    whole(faulty)
    assert faulty.keys == [None]


def test_a_url_with_a_key_in_it_is_refused_without_repeating_it() -> None:
    with pytest.raises(UnknownModel) as caught:
        resolve("https://me:sk-secret@host/v1#m")
    assert "sk-secret" not in str(caught.value)


def test_a_redirection_is_not_followed_with_the_key(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    faulty.replies = [reply(307, "", {"Location": f"{faulty.url}/other/chat/completions"}), GOOD]
    with pytest.raises(RemoteFailed, match="sends requests on to"):
        whole(faulty)
    assert len(faulty.keys) == 1


# ---- dialects --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "choice", "grammar"),
    [
        (
            "vllm",
            {"structured_outputs": {"choice": ["a", 'b"']}},
            {"structured_outputs": {"grammar": "root ::= [0-9]"}},
        ),
        ("sglang", {"ebnf": 'root ::= "a" | "b\\""'}, {"ebnf": "root ::= [0-9]"}),
        ("llamacpp", {"grammar": 'root ::= "a" | "b\\""'}, {"grammar": "root ::= [0-9]"}),
    ],
)
def test_each_server_is_asked_in_its_own_words(owner: str, choice: dict[str, Any], grammar: dict[str, Any]) -> None:
    server = Faulty(owned_by=owner)
    try:
        server.replies = [reply(200, lines(content("a"))), reply(200, lines(content("5")))]
        whole(server, Request(HELLO, constraint=Choice(("a", 'b"'))))
        whole(server, Request(HELLO, constraint=Grammar("root ::= [0-9]")))
        for sent, fields in zip(server.bodies, (choice, grammar), strict=True):
            assert fields.items() <= sent.items()
    finally:
        server.close()


def test_a_server_of_no_known_kind_is_asked_for_nothing_it_may_ignore(faulty: Faulty) -> None:
    with pytest.raises(UnsupportedConstraint):
        whole(faulty, Request(HELLO, constraint=Grammar("root ::= [0-9]")))


def test_a_server_that_ignores_a_choice_is_found_out() -> None:
    server = Faulty(owned_by="vllm")
    server.replies = [GOOD]
    with pytest.raises(RemoteFailed, match="one of 2 texts"):
        whole(server, Request(HELLO, constraint=Choice(("a", "b"))))
    server.close()


@pytest.mark.parametrize(
    ("model", "length"),
    [
        ({"owned_by": "vllm", "max_model_len": 163840}, 163840),
        ({"max_model_len": None, "owned_by": "llamacpp", "meta": {"n_ctx_train": 2048, "n_ctx": 1024}}, 1024),
        ({"max_model_len": None, "owned_by": "llamacpp", "meta": {"n_ctx_train": 2048}}, 2048),
        ({"max_model_len": "long", "meta": 5}, 8192),
    ],
)
def test_the_window_is_found_where_each_server_says_it(model: dict[str, Any], length: int) -> None:
    server = Faulty(**model)
    engine = RemoteEngine(server.url, QUICK)
    assert engine.describe().context == length
    engine.close()
    server.close()
