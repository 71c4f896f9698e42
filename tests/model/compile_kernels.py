"""Compile every GPU kernel for a compute capability, without a GPU: `python tests/model/compile_kernels.py 90`.

The kernels' own Python functions are called with tensors that have shapes and no memory; instead of a launch, Triton
compiles. Prints one line for each: name, registers of a thread, bytes of them that spilled, shared memory.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from model.config import Config
from model.kernels import gemv, grouped, latents, launch, messages, mla, routing
from model.shard import Shard

E4M3 = torch.float8_e4m3fn
TYPES = {
    torch.bfloat16: "*bf16", torch.float32: "*fp32", E4M3: "*fp8e4nv", torch.int32: "*i32", torch.int64: "*i64",
    torch.uint8: "*u8",
}  # fmt: skip
SHARED = {80: 163, 89: 99, 90: 227, 100: 227}
"""KiB of shared memory that a program can have (CUDA programming guide, compute capabilities)."""
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def compile_instead(kernel: Any, capability: int, arguments: dict[str, Any]) -> None:
    """`kernel` with the types and constants that a launch with `arguments` would have."""
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    hints: dict[tuple[int, ...], Any] = {}
    for number, parameter in enumerate(kernel.params):
        value = arguments.pop(parameter.name)
        if isinstance(value, Tensor):
            signature[parameter.name] = TYPES[value.dtype]
        elif parameter.is_constexpr or value is None or value == 1:
            signature[parameter.name], constants[(number,)] = "constexpr", value
        else:
            signature[parameter.name] = "i32" if isinstance(value, int) else "fp32"
        if isinstance(value, Tensor) or (signature[parameter.name] == "i32" and value % 16 == 0):
            hints[(number,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, hints)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=arguments)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        told = subprocess.run([CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", told).groups()  # type: ignore[union-attr]  # it is there
    print(kernel.__name__, f"registers={registers} stack={stack} shared={made.metadata.shared}", flush=True)
    if made.metadata.shared > SHARED[capability] << 10:
        raise SystemExit(f"{kernel.__name__} takes {made.metadata.shared} bytes of shared memory")


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def matrix(rows: int, columns: int, fp8: bool) -> gemv.Weight:
    if not fp8:
        return empty(rows, columns), None
    return empty(rows, columns, dtype=E4M3), empty(-(-rows // 128), -(-columns // 128), dtype=torch.float32)


def stack(number: int, rows: int, columns: int, fp8: bool, parts: int) -> gemv.Weight:
    if not fp8:
        return empty(number, parts * rows, columns), None
    grid = [-(-rows // 128), -(-columns // 128)]
    scales = empty(number, *([parts] if parts > 1 else []), *grid, dtype=torch.float32)
    return empty(number, parts * rows, columns, dtype=E4M3), scales


def call_all(fp8: bool) -> None:
    """Every kernel at the widths of DeepSeek-V2-Lite."""
    width, inner, shared, number, active, heads = 2048, 1408, 2816, 64, 6, 16
    float32, int32 = torch.float32, torch.int32
    config = Config(
        architecture="deepseek_v3", vocab_size=10, hidden_size=width, intermediate_size=8, moe_intermediate_size=inner,
        num_hidden_layers=2, num_attention_heads=heads, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64,
        v_head_dim=128, n_routed_experts=number, num_experts_per_tok=active, n_group=8, topk_group=4,
    )  # fmt: skip
    norm, x = gemv.Norm(empty(width), 1e-6), empty(1, width)
    gate_up, down = stack(number, inner, width, fp8, 2), stack(number, width, inner, fp8, 1)
    gemv.linear(x, matrix(3072, width, fp8), norm, matrix(576, width, fp8))
    gemv.linear(x, matrix(width, width, fp8), residual=x)
    parts = gemv.Shared(matrix(shared, width, fp8), matrix(shared, width, fp8), matrix(width, shared, fp8))
    gemv.experts(x, norm, empty(1, active, dtype=float32), empty(1, active, dtype=int32), gate_up, down, parts, x)
    routing.choose(empty(32, number, dtype=float32), empty(number, dtype=float32), config)
    for tokens in (32, 4096):
        chosen = empty(tokens, active, dtype=int32)
        grouped.experts(
            empty(tokens, width), empty(tokens, active, dtype=float32), chosen, routing.assign(chosen, 0, number),
            gate_up, down, empty(tokens, width),
        )  # fmt: skip
        if fp8:
            weight, scale = matrix(3072, width, True)
            assert scale is not None
            grouped.linear(empty(tokens, width), weight, scale)
    grouped.gather_sum(empty(99, width), empty(32, active, dtype=torch.int64), empty(32, active, dtype=float32))
    shape = latents.Shape(heads, 128, 64, 512, 128, True)
    layer = latents.Latents(empty(9, 64, 656, dtype=torch.uint8) if fp8 else empty(9, 64, 576), fp8)
    kv_b, turned = matrix(heads * 256, 512, fp8), empty(2, 32, dtype=float32)
    queries = latents.prepare(
        empty(2, heads * 192), empty(2, 576), gemv.Norm(empty(512), 1e-6), kv_b, (turned, turned),
        empty(2, dtype=torch.int64), layer, shape,
    )  # fmt: skip
    lengths = empty(2, dtype=int32)
    partial, lse, turn = mla.attend(queries, layer, empty(2, 2048, dtype=int32), lengths, 0.1, shape, 64)
    mla.combine(partial, lse, lengths, kv_b, shape, turn, torch.bfloat16)
    many = shape._replace(heads=128)  # DeepSeek-V3's
    mla.attend(empty(2, 128, 576), layer, empty(2, 2048, dtype=int32), lengths, 0.1, many, 64)
    part = empty(9, 8, layer.storage.shape[-1], dtype=layer.storage.dtype)  # of a cache that eight ranks share
    eighth = layer._replace(storage=part, shard=Shard(3, 8))
    partial, lse, turn = mla.attend(empty(2, 128, 576), eighth, empty(2, 2048, dtype=int32), lengths, 0.1, many, 64)
    message = mla.pack(partial, lse, lengths, turn, eighth.shard, torch.bfloat16)
    mla.combine(*mla.unpack(message, 512), lengths, kv_b, shape, 0, torch.bfloat16)
    for rows in (1, 256):
        messages.sum_peers(
            empty(rows, 7168), empty(9, dtype=torch.int64), empty(128, dtype=int32), 1, 8,
            messages.slot_words(1 << 20, 8),
        )  # fmt: skip
        messages.send_peers(
            empty(8, 4608 * rows, dtype=int32), empty(8, 4608 * rows, dtype=int32), empty(9, dtype=torch.int64),
            empty(128, dtype=int32), 1, 8, messages.slot_words(1 << 20, 8), True,
        )  # fmt: skip


def main(capability: int) -> None:
    def run(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> None:
        names = [parameter.name for parameter in kernel.params]
        compile_instead(kernel, capability, dict(zip(names, arguments, strict=False)) | named)

    JITFunction.run = run
    for module in (grouped, mla):
        module.shared_memory = lambda: SHARED[capability] << 10  # type: ignore[assignment]  # as there
    if capability >= 90:
        for module in (gemv, latents, mla, messages, routing):
            module.overlap = lambda: {"PDL": True, "launch_pdl": True}  # type: ignore[assignment]  # as there
    assert launch.overlap() == {"PDL": False}
    for fp8 in (False, True) if capability >= 89 else (False,):
        call_all(fp8)


if __name__ == "__main__":
    main(int(sys.argv[1]))
