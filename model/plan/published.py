"""Models of data/models.toml: published shapes and terms, by which a model is planned before it is here."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from model.config import Config
from model.errors import UnknownModel
from model.hub import parse_reference
from model.plan.planner import QUANTIZATIONS
from model.plan.shape import Shape, shape_of_config

Row = Mapping[str, Any]


def rows() -> list[Row]:
    """Every model of the table."""
    text = (resources.files("data") / "models.toml").read_text("utf-8")
    found: list[Row] = tomllib.loads(text)["model"]
    return found


def shape_of_row(row: Row, quantization: str, bits: float) -> Shape:
    """What it would be as GGUF, at so many bits a weight."""
    return shape_of_config(Config(**row["shape"]), row["name"], quantization, bits)


def commands(row: Row, quantization: str) -> tuple[str, ...]:
    """What brings it here in a quantisation."""
    if gguf := row.get("gguf"):
        return (f"loci model pull {gguf}:{quantization}",)
    file = f"{row['name']}-{quantization}.gguf"
    return f"loci model pull {row['weights']}", f"loci model convert FOLDER {file} --type {quantization.lower()}"


def published(reference: str) -> tuple[Shape, tuple[str, ...]] | None:
    """The shape that `hf:ORG/NAME:QUANT` has by the table, and what brings it here; None for what the table lacks.

    :raises UnknownModel: the model is in the table, but the reference names none of the usual quantisations.
    """
    if not reference.startswith("hf:"):
        return None
    wanted = parse_reference(reference)
    named = f"hf:{wanted.repository}"
    row = next((one for one in rows() if named in (one["weights"], one.get("gguf"))), None)
    if row is None:
        return None
    bits = dict(QUANTIZATIONS).get((wanted.quantization or "").upper())
    if bits is None:
        raise UnknownModel(
            f"{reference} is not in the local Hugging Face cache.",
            f"Fetch it first: loci model pull {reference}. Or name a quantisation, to plan it by its published shape: "
            f"{named}:Q4_K_M ({', '.join(name for name, _ in QUANTIZATIONS)}).",
        )
    kind = str(wanted.quantization).upper()
    return shape_of_row(row, kind, bits), commands(row, kind)
