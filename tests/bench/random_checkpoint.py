"""A checkpoint of a published shape with random weights and the embedded model's tokenizer, to measure plans on.

PYTHONPATH=. python tests/bench/random_checkpoint.py v2-lite-layers=8 FOLDER [--fp8]
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from model.open import embedded_folder
from model.random_weights import random_model, shape_config
from model.saving import save_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", help="v2-lite, v2, v3, or fewer layers of one: v3-layers=6")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fp8", action="store_true", help="weights in FP8 as published for V3; otherwise BF16")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # No predictor: nothing of a plan depends on it.
    config = replace(shape_config(options.shape), num_nextn_predict_layers=0, fp8_block=None)
    model = random_model(config, torch.bfloat16, device, fp8=options.fp8)
    options.folder.mkdir(parents=True)
    save_model(model, options.folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(embedded_folder() / name, options.folder)
    files = sorted(options.folder.iterdir())
    print(json.dumps({one.name: one.stat().st_size for one in files}))


if __name__ == "__main__":
    main()
