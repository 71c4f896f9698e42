"""The remote engine against `transformers serve`, a real server that shares no code with llama.cpp's."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.engine import Delta, Finished, JsonSchema, Message, Request, Sampling
from model.errors import RemoteFailed
from model.remote_engine import RemoteEngine
from model.settings import ModelSettings
from tests.model.gguf_files import with_tokenizer

pytestmark = pytest.mark.slow  # it takes 20 s to start


@pytest.fixture(scope="module")
def server(
    make_checkpoint: Callable[..., tuple[Path, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """(URL, folder of the checkpoint); the server finds it in a Hugging Face cache of its own, offline."""
    hub = tmp_path_factory.mktemp("hub")
    folder = hub / "models--toy--tiny" / "snapshots" / ("a" * 40)
    folder.parent.mkdir(parents=True)
    with_tokenizer(make_checkpoint(3)[0], folder, 320)
    (hub / "models--toy--tiny" / "refs").mkdir()
    (hub / "models--toy--tiny" / "refs" / "main").write_text("a" * 40)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = shutil.which("transformers", path=str(Path(sys.executable).parent))
    assert program is not None
    process = subprocess.Popen(
        [program, "serve", "toy/tiny", "--port", str(port), "--host", "127.0.0.1", "--device", "cpu"],
        env=os.environ | {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(1200):
            assert process.poll() is None, "the server died"
            try:
                httpx.get(f"{url}/models", timeout=1)
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield url, folder
    finally:
        process.terminate()
        process.wait()


def test_it_chats_as_the_torch_engine_does(server: tuple[str, Path]) -> None:
    from model.torch_engine import TorchEngine

    request = Request([Message("user", "Say hello.")], Sampling(max_tokens=8))
    remote = RemoteEngine(server[0], ModelSettings(timeout=60))
    events = list(remote.generate(request))
    assert remote.describe().name == "toy/tiny"
    remote.close()
    said = "".join(one.text for one in events if isinstance(one, Delta))
    local = TorchEngine(server[1], ModelSettings(dtype="float32", threads=1))
    expected = "".join(one.text for one in local.generate(request) if isinstance(one, Delta))
    local.close()
    # A random model writes broken characters, which the two show differently: compare what comes before the first.
    expected = expected.partition("\ufffd")[0]
    assert expected and said.startswith(expected)
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.reason == "length" and finished.usage.completion_tokens == 8


def test_it_ignores_schemas_and_that_is_found_out(server: tuple[str, Path]) -> None:
    engine = RemoteEngine(server[0], ModelSettings(timeout=60))
    with pytest.raises(RemoteFailed, match="JSON"):
        list(
            engine.generate(Request([Message("user", "Hi.")], Sampling(max_tokens=5), JsonSchema('{"type": "object"}')))
        )
    engine.close()
