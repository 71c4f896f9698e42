"""The tables of library.db as SQLAlchemy knows them; `migrations/` creates them, a test keeps both alike."""

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

documents = Table(
    "documents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("collection", Text),
    Column("path", Text),
    Column("title", Text),
    Column("media_type", Text),
    Column("bytes", Integer),
    Column("mtime_ns", Integer),
    Column("file_sha256", Text),
    Column("pages", Integer),
    Column("metadata", Text),
    Column("ingested_at", Text),
    Column("pinned", Integer),
    Column("chunker", Text),
    Column("generation", Integer),
)
"""`generation` is the newest one that its chunks exist in; the library's own is in `meta`."""

extractions = Table(
    "extractions",
    metadata,
    Column("document", ForeignKey("documents.id"), primary_key=True),
    Column("text", Text),
    Column("sha256", Text),
    Column("characters", Integer),
    Column("reader", Text),
)

spans = Table(
    "spans",
    metadata,
    Column("document", ForeignKey("documents.id"), primary_key=True),
    Column("start", Integer, primary_key=True),
    Column("end", Integer),
    Column("kind", Text),
    Column("page", Integer),
    Column("section", Text),
    Column("sheet", Text),
    Column("cells", Text),
    Column("slide", Integer),
)

chunks = Table(
    "chunks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("document", ForeignKey("documents.id")),
    Column("generation", Integer),
    Column("epoch", Integer),
    Column("start", Integer),
    Column("end", Integer),
    Column("line", Integer),
    Column("page", Integer),
    Column("section", Text),
    Column("sheet", Text),
    Column("cells", Text),
    Column("slide", Integer),
    Column("heading", Text),
    Column("text", Text),
    Column("vector", LargeBinary),
)
"""`vector` is [D] float16, little-endian: the truth that every index is a cache of."""

tables = Table(
    "tables",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("document", ForeignKey("documents.id")),
    Column("sheet", Text),
    Column("cells", Text),
    Column("columns", Text),
    Column("row_count", Integer),
)
"""`columns` is a JSON list of `retrieval.tables.values.Column`."""

table_rows = Table(
    "table_rows",
    metadata,
    Column("table", ForeignKey("tables.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("start", Integer),
    Column("end", Integer),
    Column("cells", Text),
)
"""`number` counts the sheet's rows; `start` and `end` are the row's range in the extraction; `cells` is a JSON list of
values, one per column."""

epochs = Table(
    "epochs",
    metadata,
    Column("epoch", Integer, primary_key=True),
    Column("token", Text),
    Column("removed", Integer),
)
"""One row per change of content. The random token tells an epoch from its namesake after a restored backup."""

textless = Table("textless", metadata, Column("file_sha256", Text, primary_key=True), Column("by", Text))
"""Pictures without text; `by` is the reader and the OCR that found none."""

meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text))
