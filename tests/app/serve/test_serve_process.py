"""`loci serve` as a process: what it prints, whom it answers, how it ends, and what its absence costs."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from tests.app.cli_run import Run
from tests.app.serve.test_mcp import COMMAND

ROOT = Path(__file__).parents[3]


def test_the_first_start_shows_the_token_and_ctrl_c_ends_it(read: Path) -> None:
    command = [sys.executable, "-c", COMMAND, "serve", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        shown = subprocess.run(
            [sys.executable, "-m", "app.cli.main", "serve", "--token"], cwd=ROOT, capture_output=True, text=True
        )
        asks = openai.OpenAI(base_url=url, api_key=shown.stdout.strip(), max_retries=0)
        assert [model.id for model in asks.models.list()] == ["loci", "loci/main"]
        answer = asks.chat.completions.create(model="loci", messages=[{"role": "user", "content": "how many?"}])
        assert (answer.choices[0].message.content or "").startswith("HOW MANY?")
        asks.close()
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert shown.stdout.strip() in said and "how many" not in said and "Traceback" not in said


def test_other_commands_load_nothing_of_it() -> None:
    program = (
        "import sys, json; sys.argv = ['loci', 'serve', '--help']\n"
        "from app.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'starlette', 'uvicorn', 'mcp', 'httpx', 'torch', 'sqlalchemy'} & set(sys.modules)\n"
        "print(json.dumps(sorted(heavy)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(ran.stderr) == [] and "--mcp" in ran.stdout


@pytest.mark.parametrize(("word", "missing", "extra"), [("--mcp", "mcp", "mcp"), ("--no-token", "uvicorn", "serve")])
def test_without_the_extra_its_command_is_named(
    loci: Run, monkeypatch: pytest.MonkeyPatch, word: str, missing: str, extra: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("app.serve.") or name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    ran = loci("serve", word, "--port", 0)
    assert ran.code == 1 and f"'loci-assistant[{extra}]'" in ran.err
