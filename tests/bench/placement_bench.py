"""A GGUF model placed in several ways: what its plan says of each, beside what it takes and how fast it is.

    PYTHONPATH=. python tests/bench/placement_bench.py FILE.gguf --out table.jsonl --seconds 300
    PYTHONPATH=. python tests/bench/placement_bench.py FILE.gguf --ways gpu host

Each way is loaded in a process of its own, with time of its own, as the settings of the program place it:
gpu      what fits, as the plan chooses
experts  all routed experts in host memory, the rest on the GPU
half     the routed experts of the first half of the layers in host memory
layers   the first half of the layers computed by the host
tight    as the plan chooses where another program leaves the GPU too little for all of it
host     no GPU
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.llama_engine import LlamaEngine
from model.plan.check import check_memory, check_speed
from model.plan.machine import GIB, visible_gpus
from model.plan.make import make_plan
from model.plan.place import GPU_KERNELS, GPU_RUNTIME
from model.plan.shape import read_shape
from model.settings import ModelSettings

WAYS = ("gpu", "experts", "half", "tight", "layers", "host")
_TAKES = """
import sys, torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(max(free - int(sys.argv[1]), 1), dtype=torch.uint8, device="cuda")
print("held", flush=True)
sys.stdin.read()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--prompt", type=int, default=1024, help="tokens of the prompt that is timed")
    parser.add_argument("--context", type=int, help="the window; otherwise as the plan chooses")
    parser.add_argument(
        "--tight", type=float, help="GiB that the way `tight` leaves free; half of the weights, and 2.5"
    )
    parser.add_argument(
        "--seconds", type=float, default=900, help="for all ways; those that come too late are left out"
    )
    parser.add_argument("--each", type=float, default=150, help="seconds that one way may take")
    parser.add_argument("--out", type=Path, help="JSON lines are added to it, one for each way")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.file, options.one, options.prompt, options.context)))
        return
    end = time.monotonic() + options.seconds
    for way in options.ways:
        seconds = min(options.each, end - time.monotonic())
        if seconds < 10:
            row: dict[str, Any] = {"error": "no time was left"}
        elif way != "host" and not visible_gpus():
            row = {"error": "there is no GPU"}
        else:
            row = in_process(options, way, seconds)
        row = {"way": way, "file": options.file.name, **row}
        print("\n".join(described(row)), flush=True)
        if options.out is not None:
            with options.out.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")


def in_process(options: argparse.Namespace, way: str, seconds: float) -> dict[str, Any]:
    """What `measured` gives in a new process, or how that ended; it and what it started are gone after `seconds`."""
    words = [sys.executable, __file__, str(options.file), "--one", way, "--prompt", str(options.prompt)]
    words += ["--context", str(options.context)] if options.context else []
    weights = read_shape(options.file).weights.bytes
    left = int(options.tight * GIB) if options.tight else weights // 2 + 5 * GIB // 2
    end = time.monotonic() + seconds
    try:
        with occupied(left) if way == "tight" else nullcontext():
            child = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                start_new_session=True,
            )  # fmt: skip
            try:
                said, complaints = child.communicate(timeout=max(end - time.monotonic(), 1))
            except subprocess.TimeoutExpired:
                return {"error": f"it took more than {seconds:.0f} s"}
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    except RuntimeError as error:
        return {"error": str(error)}
    if child.returncode:
        return {"error": f"it ended with {child.returncode}: {complaints[-2000:]}"}
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


@contextmanager
def occupied(left: int) -> Iterator[None]:
    """Another program holds all of the first GPU's memory but `left` bytes."""
    child = subprocess.Popen(
        [sys.executable, "-c", _TAKES, str(left)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    late = threading.Timer(60, child.kill)
    late.start()
    try:
        if child.stdout is None or child.stdout.readline().strip() != "held":
            raise RuntimeError("the GPU's memory could not be taken")
        late.cancel()
        yield
    finally:
        late.cancel()
        child.kill()
        child.wait()


def settings_of(way: str, file: Path, context: int | None) -> ModelSettings:
    shape = read_shape(file)
    routed = sum(layer.experts.bytes > 0 for layer in shape.layers)
    told: dict[str, Any] = {
        "experts": {"host_experts": max(routed, 1)},
        "half": {"host_experts": routed // 2},
        "layers": {"gpu_layers": len(shape.layers) // 2 + 1},
        "host": {"gpu_layers": 0},
    }.get(way, {})
    return ModelSettings(context=context, **told)


def measured(file: Path, way: str, prompt: int, context: int | None) -> dict[str, Any]:
    """The plan, and the loaded model against it; bytes and seconds."""
    settings = settings_of(way, file, context)
    plan = make_plan(str(file), settings)
    if plan.refusal is not None:
        return {"error": f"refused: {plan.refusal.reason} {plan.refusal.mend}"}
    row: dict[str, Any] = {
        "weights": sum(plan.weights.values()), "quantization": plan.quantization, "context": plan.context,
        "cache_type": plan.cache_type, "batch": plan.batch, "threads": plan.threads, "gpu_layers": plan.gpu_layers,
        "host_experts": len(plan.host_experts), "devices": [asdict(one) for one in plan.devices],
    }  # fmt: skip
    gpus, before = visible_gpus(), free()
    row["gpu"] = gpus[0].name if gpus else ""
    started = time.perf_counter()
    try:
        with closing(LlamaEngine(file, settings)) as engine:
            row["load_seconds"] = round(time.perf_counter() - started, 2)
            mine, theirs = ((one.gpu_layers, one.host_experts, one.context, one.batch) for one in (plan, engine.plan))
            row["same_plan"] = mine == theirs
            row["gpu_loaded"] = before - free()
            row["allocated"] = {" ".join(key): size for key, size in engine.allocated.items()}
            row["checked"] = [asdict(one) for one in check_memory(plan, engine)]
            row["checked"] += [asdict(one) for one in check_speed(plan, engine, min(prompt, plan.context // 2))]
            row["gpu_fullest"] = before - free()
            row["host"] = resident()
    except Exception as error:  # what was measured until then is worth keeping
        row["error"] = "".join(traceback.format_exception(error))[-2000:]
    used = [one for one in plan.devices if one.device != "host"][:1]
    beside = GPU_RUNTIME + GPU_KERNELS
    row["gpu_planned"] = sum(one.weights + one.cache + one.compute + beside for one in used if one.weights)
    return row


def free() -> int:
    """Bytes free on the first GPU."""
    return next((one.free for one in visible_gpus()), 0)


def resident() -> dict[str, int]:
    """Bytes of this process in host memory by kind, and the most there ever were."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {name: int(values[name].split()[0]) << 10 for name in ("VmHWM", "RssAnon", "RssFile", "RssShmem")}


def described(row: dict[str, Any]) -> Iterator[str]:
    yield f"{row['file']}, {row['way']}: " + (
        f"ERROR {row['error']}" if "error" in row else f"on {row['gpu'] or 'no GPU'}"
    )
    if "load_seconds" not in row:
        return
    yield (
        f"  {row['quantization']}, weights {row['weights'] / GIB:.2f} GiB; window {row['context']:,} "
        f"({row['cache_type']}), {row['batch']} at once, {row['threads']} threads; {row['gpu_layers']} layers on the "
        f"GPU, experts of {row['host_experts']} in host memory; loaded in {row['load_seconds']:.1f} s"
        + ("" if row["same_plan"] else "; the engine planned otherwise")
    )
    checked = row.get("checked", [])
    for one in checked:
        scale, unit = (1 << 20, "MiB") if one["unit"] == "bytes" else (1, one["unit"])
        planned, real = one["planned"] / scale, one["measured"] / scale
        off = f"{planned / real - 1:+.1%}" if real else "-"
        yield f"  {one['what']:<36} planned {planned:>12,.1f}  measured {real:>12,.1f} {unit}  {off}"
    if row.get("gpu_planned") and row.get("gpu_fullest"):
        planned, real = row["gpu_planned"] / (1 << 20), row["gpu_fullest"] / (1 << 20)
        yield (
            f"  {'GPU as the driver tells, fullest':<36} planned {planned:>12,.1f}  measured {real:>12,.1f} MiB  "
            f"{planned / real - 1:+.1%} (loaded {row['gpu_loaded'] / (1 << 20):,.1f})"
        )
    if "host" in row:
        host = next(one for one in row["devices"] if one["device"] == "host")
        own = sum(host[name] for name in ("weights", "cache", "compute")) / (1 << 20)
        kinds = ", ".join(f"{name} {size / (1 << 20):,.0f}" for name, size in row["host"].items())
        yield f"  {'host as the kernel tells':<36} planned {own:>12,.1f}  MiB beside the program; {kinds}"


if __name__ == "__main__":
    main()
