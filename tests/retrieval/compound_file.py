"""Writes a minimal OLE compound file ([MS-CFB], version 3), because olefile only reads; for MSG tests."""

import struct
from dataclasses import dataclass, field

_SECTOR, _MINI = 512, 64
_CUTOFF = 4096
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


@dataclass
class _Entry:
    name: str
    kind: int
    data: bytes = b""
    child: int = _FREE
    right: int = _FREE
    start: int = _END
    size: int = 0
    children: list[int] = field(default_factory=list)


def compound_file(streams: dict[str, bytes]) -> bytes:
    """Streams by path (`storage/stream`). Siblings hang in one chain; readers do not ask for a balanced tree."""
    entries = [_Entry("Root Entry", 5)]
    storages = {"": 0}
    for path, data in streams.items():
        folder, _, name = path.rpartition("/")
        if folder not in storages:
            storages[folder] = len(entries)
            entries[0].children.append(len(entries))
            entries.append(_Entry(folder, 1))
        entries[storages[folder]].children.append(len(entries))
        entries.append(_Entry(name, 2, data, size=len(data)))
    for entry in entries:
        if entry.children:
            entry.child = entry.children[0]
            for left, right in zip(entry.children, entry.children[1:], strict=False):
                entries[left].right = right

    mini, mini_fat = b"", []
    sectors: list[bytes] = []
    fat: list[int] = []

    def store(data: bytes) -> int:
        if not data:
            return _END
        first = len(sectors)
        for at in range(0, len(data), _SECTOR):
            sectors.append(data[at : at + _SECTOR].ljust(_SECTOR, b"\0"))
            fat.append(len(sectors))
        fat[-1] = _END
        return first

    for entry in entries:
        if entry.kind != 2:
            continue
        if len(entry.data) >= _CUTOFF:
            entry.start = store(entry.data)
        elif entry.data:
            entry.start = len(mini) // _MINI
            mini += entry.data + bytes(-len(entry.data) % _MINI)
            mini_fat += [*range(len(mini_fat) + 1, len(mini) // _MINI), _END]
    entries[0].start, entries[0].size = store(mini), len(mini)
    first_mini_fat = store(struct.pack(f"<{len(mini_fat)}I", *mini_fat)) if mini_fat else _END
    mini_fat_sectors = -(-4 * len(mini_fat) // _SECTOR)
    directory = b"".join(_directory_entry(entry) for entry in entries)
    first_directory = store(directory + bytes(-len(directory) % _SECTOR))
    fat_sectors = -(-4 * (len(sectors) + 1) // _SECTOR)
    assert fat_sectors == 1, "one sector of allocation table is enough for a test"
    fat_at = len(sectors)
    fat.append(_FAT)
    sectors.append(struct.pack(f"<{len(fat)}I", *fat).ljust(_SECTOR, b"\xff"))
    header = struct.pack(
        "<8s16sHHHHH6sIIIIIIIIII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, 3, 0xFFFE, 9, 6, bytes(6), 0, 1, first_directory, 0,
        _CUTOFF, first_mini_fat, mini_fat_sectors, _END, 0, fat_at,
    )  # fmt: skip
    return header.ljust(_SECTOR, b"\xff") + b"".join(sectors)


def _directory_entry(entry: _Entry) -> bytes:
    name = entry.name.encode("utf-16-le") + b"\0\0"
    return struct.pack(
        "<64sHBBIII16sIQQIQ",
        name, len(name), entry.kind, 1, _FREE, entry.right, entry.child, bytes(16), 0, 0, 0, entry.start, entry.size,
    )  # fmt: skip
