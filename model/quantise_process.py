"""`python -m model.quantise_process IN OUT FTYPE THREADS`: llama.cpp's quantiser, told what to do by quantise.py.

What it prints is for that module; it ends with 1 where llama.cpp fails.
"""

import ctypes
import sys

import llama_cpp.llama_cpp as native


@native.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes makes it at run time
def _say(level: int, text: bytes, _data: object) -> None:
    sys.stdout.write(text.decode(errors="replace"))
    sys.stdout.flush()


def main() -> int:
    source, target, ftype, threads = sys.argv[1:]
    native.llama_log_set(_say, None)
    native.llama_backend_init()
    params = native.llama_model_quantize_default_params()
    params.ftype, params.nthread = int(ftype), int(threads)
    failed = native.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
