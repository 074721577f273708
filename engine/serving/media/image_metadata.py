"""Picture files without what says who took the picture, where and with what.

EXIF, GPS, XMP, IPTC, comments, thumbnails and whatever stands behind the picture go; pixels and
colour profiles stay, byte for byte. What is kept is listed, so what nobody has thought of goes too.
"""

from __future__ import annotations

import io
import struct
from typing import Final

from engine.serving.media.input_images import DecodedPicture

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT: Final = frozenset(
    {
        *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"),
        *(b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"cICP"),
    }
)
_WEBP_KEPT: Final = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"})
_WEBP_NOTES: Final = 0x08 | 0x04  # the header's flags for EXIF and XMP
_JPEG_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_SCAN, _JPEG_END, _JPEG_COMMENT = 0xDA, 0xD9, 0xFE
_JFIF: Final = b"JFIF\0"
_ICC: Final = b"ICC_PROFILE\0"
_ADOBE: Final = b"Adobe"
_GIF_FRAME, _GIF_EXTENSION, _GIF_END = 0x2C, 0x21, 0x3B
_GIF_CONTROL: Final = 0xF9
_GIF_APPLICATION: Final = 0xFF
_GIF_LOOPS: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def clean_file(data: bytes, decoded: DecodedPicture) -> bytes:
    """Return the picture's file without its notes; it decodes to the same pixels.

    A file that has none is returned as it is. One whose notes are needed to see it upright, or
    whose format mixes them with the pixels (TIFF, BMP), becomes a PNG of what was decoded.

    Args:
        data: a file that `read_picture` can decode.
        decoded: what it made of it.
    """
    if not decoded.turned:
        try:
            if data.startswith(_PNG):
                return _clean_png(data)
            if data.startswith(b"\xff\xd8"):
                return _clean_jpeg(data)
            if data.startswith(b"GIF8"):
                return _clean_gif(data)
            if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
                return _clean_webp(data)
        except (struct.error, IndexError):
            pass  # cut in a way that the decoder forgives
    file = io.BytesIO()
    decoded.image.save(file, "PNG", compress_level=3)
    return file.getvalue()


def _clean_png(data: bytes) -> bytes:
    kept = [_PNG]
    at = len(_PNG)
    while True:
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            raise IndexError
        if kind in _PNG_KEPT:
            kept.append(data[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end


def _clean_webp(data: bytes) -> bytes:
    kept: list[bytes] = []
    at, end = 12, 8 + struct.unpack_from("<I", data, 4)[0]
    while at + 8 <= min(end, len(data)):
        (length,) = struct.unpack_from("<I", data, at + 4)
        chunk = data[at : at + 8 + length]
        if chunk[:4] == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & ~_WEBP_NOTES]) + chunk[9:]
        if chunk[:4] in _WEBP_KEPT:
            kept.append(chunk + b"\0" * (len(chunk) % 2))
        at += 8 + length + length % 2
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _clean_jpeg(data: bytes) -> bytes:
    kept = [data[:2]]
    at = 2
    while True:
        if data[at] != 0xFF:
            raise IndexError
        while data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker = data[at + 1]
        if marker == _JPEG_END:
            return b"".join([*kept, data[at : at + 2]])
        if marker in _JPEG_STANDALONE:
            kept.append(data[at : at + 2])
            at += 2
            continue
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        kept.append(_clean_segment(marker, data[at:end]))
        if marker == _JPEG_SCAN:
            start, end = end, _end_of_scan(data, end)
            kept.append(data[start:end])
        at = end


def _clean_segment(marker: int, segment: bytes) -> bytes:
    content = segment[4:]
    if marker == 0xE0 and content.startswith(_JFIF):
        # Version, unit and density; then would come a thumbnail.
        header = content[:12] + b"\0\0"
        return segment[:2] + struct.pack(">H", len(header) + 2) + header
    if marker == 0xE2 and content.startswith(_ICC):
        return segment
    if marker == 0xEE and content.startswith(_ADOBE):
        return segment  # says how the colours are coded
    notes = 0xE0 <= marker <= 0xEF or marker == _JPEG_COMMENT
    return b"" if notes else segment


def _end_of_scan(data: bytes, at: int) -> int:
    """Find the next marker that is not part of the coded pixels."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise IndexError
        following = data[at + 1]
        if following == 0xFF:
            at += 1
        elif following == 0 or 0xD0 <= following <= 0xD7:
            at += 2
        else:
            return at


def _clean_gif(data: bytes) -> bytes:
    at = 13 + _colours(data[10])
    kept = [data[:at]]
    while True:
        start, kind = at, data[at]
        if kind == _GIF_END:
            return b"".join([*kept, data[at : at + 1]])
        if kind == _GIF_FRAME:
            # Its head, its colours, the code size, and the pixels.
            at = _end_of_blocks(data, at + 11 + _colours(data[at + 9]))
            kept.append(data[start:at])
        elif kind == _GIF_EXTENSION:
            at = _end_of_blocks(data, at + 2)
            label = data[start + 1]
            loops = label == _GIF_APPLICATION and data[start + 3 : start + 14] in _GIF_LOOPS
            if label == _GIF_CONTROL or loops:
                kept.append(data[start:at])
        else:
            raise IndexError


def _colours(flags: int) -> int:
    """Bytes of the colour table that the flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _end_of_blocks(data: bytes, at: int) -> int:
    while length := data[at]:
        at += 1 + length
    return at + 1
