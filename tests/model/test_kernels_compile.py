"""Every GPU kernel compiles for the compute capabilities that Loci names and fits their shared memory; no GPU needed.

python -m pytest -n 0 -s tests/model/test_kernels_compile.py -m ""
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("capability", [89, *(pytest.param(one, marks=pytest.mark.slow) for one in (80, 90, 100))])
def test_every_kernel_compiles(capability: int, tmp_path: Path) -> None:
    # A process of its own: the other tests of kernels run them in Triton's interpreter, which compiles nothing.
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(ROOT / "tests" / "model" / "compile_kernels.py"), str(capability)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    made = {line.split()[0] for line in done.stdout.splitlines()}
    expected = {
        "_linear",
        "_gate_up",
        "_down",
        "_choose",
        "_assign",
        "_sum",
        "_gather_sum",
        "_prepare",
        "_attend",
        "_combine",
        "_pack",
        "_sum_peers",
        "_send_peers",
    }
    assert made == expected | ({"_attend_fp8"} if capability >= 89 else set())
