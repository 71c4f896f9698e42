"""What is said where documents are in a language that the embedder hardly reads."""

MULTILINGUAL = "paraphrase-multilingual-MiniLM-L12-v2"
"""An embedder of some fifty languages, as small as such ones are."""
MEND = f"loci library reindex --embedder FOLDER takes a multilingual one, such as {MULTILINGUAL}."


def beyond_embedder(embedder: str) -> str:
    """The end of a sentence that names the language."""
    return f"the embedder {embedder} hardly reads: they are found by their words, not by their meaning."
