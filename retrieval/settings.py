"""What a user can set about documents and search."""

from pydantic import BaseModel, ConfigDict, Field


class RetrievalSettings(BaseModel):
    """Documents and search."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedder: str = "embedded"
    """The embedder: `embedded` (all-MiniLM-L6-v2), a sentence-transformers folder, or a downloaded model's name."""
    chunk_tokens: int = Field(default=240, ge=32, le=8192)
    """Largest passage in the embedder's tokens; never more than its window holds."""
    max_chunks: int = Field(default=20_000, ge=1)
    """Most passages of one file; a larger one is refused, since it would take hours or is no document."""
    dense_weight: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of meaning (cosine) against words (BM25) in a passage's score."""
    candidates: int = Field(default=100, ge=10, le=1000)
    """Passages that each of the two searches brings before they are fused."""
    reranker: str = ""
    """A cross-encoder that puts the best passages in order anew: a sentence-transformers folder, or a downloaded
    model's name. Empty for none."""
    rerank: int = Field(default=30, ge=1, le=200)
    """Passages that the reranker reads for one search."""
    rebuild_after: int = Field(default=5000, ge=1)
    """New passages that are searched beside the vector index before it is rebuilt."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that read files during ingestion."""
    ocr_languages: str = Field(default="", pattern=r"^[a-zA-Z_+]*$")
    """Languages of scans as tesseract names them (`deu+eng`); empty: those installed, four at most, yours first."""
    ocr_seconds: float = Field(default=900.0, ge=1.0)
    """Seconds that recognising the scanned pages of one file may take; later pages stay unread, which is said."""
