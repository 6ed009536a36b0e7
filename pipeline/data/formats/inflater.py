"""Compressed bytes, decoded piece by piece to the very end of their stream, checksum checked."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, cast

# The same interface as the standard library's, and about half its time.
from zlib_ng import zlib_ng

from ..volume import Reason, VolumeError

GZIP_MAGIC = b"\x1f\x8b"
Packing = Literal["raw", "gzip", "zlib"]
_WINDOW_BITS = {"gzip": 31, "zlib": 47}  # as zlib's manual says; 47 takes gzip too, as ITK does
_CHUNK = 1 << 18
_DAMAGED = cast("type[Exception]", zlib_ng.error)  # zlib-ng's stubs declare an instance
_PIECE = 1 << 21  # small ones cost time: zlib copies its window for each


class Inflater:
    """Decompresses a zlib stream or all members of a gzip stream, to the end, checksum checked.

    Args:
        path: The volume, as messages name it.
        handle: Stands where the stream begins.
        packing: How it is compressed.
        piece: Most bytes that are decoded at a time.
    """

    def __init__(self, path: Path, handle: BinaryIO, packing: Packing, piece: int = _PIECE) -> None:
        self.path = path
        self.handle = handle
        self.bits = _WINDOW_BITS[packing]
        self.piece = piece
        self.trailing = False

    def __iter__(self) -> Iterator[bytes]:
        pending = yield from self._member(self.handle.read(_CHUNK))
        while pending.startswith(GZIP_MAGIC):
            pending = yield from self._member(pending)
        self.trailing = bool(pending)

    def _member(self, pending: bytes) -> Generator[bytes, None, bytes]:
        """One stream with its checksum; returns what follows it, two bytes if there are any."""
        decoder = zlib_ng.decompressobj(wbits=self.bits)
        while not decoder.eof:
            if not pending:
                have = self.handle.tell()
                reason = f"the compressed data stops after {have:,} bytes, without its end"
                raise VolumeError(Reason.E_TRUNCATED, self.path, reason)
            try:
                chunk = decoder.decompress(pending, self.piece)
            except _DAMAGED as error:
                raise VolumeError(Reason.E_CRC, self.path, str(error)) from error
            if chunk:
                yield chunk
            pending = decoder.unconsumed_tail or decoder.unused_data
            if not decoder.eof and not pending:
                pending = self.handle.read(_CHUNK)
        if len(pending) < len(GZIP_MAGIC):
            pending += self.handle.read(_CHUNK)
        return pending
