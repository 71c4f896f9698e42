"""What a workspace opened is closed, whatever goes wrong."""

import pytest

from app.workspace import Workspace
from model.errors import ModelError
from tests.app.fakes import FakeEmbedder, FakeEngine


class FullDisk(FakeEngine):
    def close(self) -> None:
        raise ModelError("The last conversation cannot be written.")


def test_a_model_that_fails_to_close_does_not_keep_the_stores_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workspace, "embedder", property(lambda self: FakeEmbedder()))
    monkeypatch.setattr("model.open.open_engine", lambda *_: FullDisk())
    closed = []
    opened = Workspace.open()
    for store in (opened.memory, opened.library):
        monkeypatch.setattr(store, "close", lambda store=store, close=store.close: (closed.append(store), close()))
    opened.engine()
    with pytest.raises(ModelError, match="cannot be written"):
        opened.close()
    assert len(closed) == 2 and not opened.model_loaded
