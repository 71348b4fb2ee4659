"""Snappy, element by element as its format description has them, and whole texts from the test's own compressor."""

import random

import pytest

from deploykit.readers.snappy import decompress


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def literal(data):
    if len(data) <= 60:
        return bytes([len(data) - 1 << 2]) + data
    width = (len(data) - 1).bit_length() + 7 >> 3
    return bytes([59 + width << 2]) + (len(data) - 1).to_bytes(width, "little") + data


def copy(count, back, kind):
    if kind == 1:
        return bytes([back >> 8 << 5 | count - 4 << 2 | 1, back & 255])
    return bytes([count - 1 << 2 | kind]) + back.to_bytes({2: 2, 3: 4}[kind], "little")


@pytest.mark.parametrize(
    ("elements", "content"),
    [
        ([], b""),
        ([literal(b"a")], b"a"),
        ([literal(b"x" * 60)], b"x" * 60),
        ([literal(bytes(61))], bytes(61)),
        ([literal(bytes(range(256)) * 300)], bytes(range(256)) * 300),
        # The description's own example of a run: "xababab" is a literal and a copy that overlaps itself.
        ([literal(b"xab"), copy(4, 2, 1)], b"xababab"),
        ([literal(b"abcdefgh" * 250), copy(11, 2000, 1)], b"abcdefgh" * 250 + b"abcdefghabc"),
        ([literal(b"abc"), copy(64, 3, 2)], b"abc" + (b"abc" * 22)[:64]),
        ([literal(b"0123456789"), copy(5, 7, 3), copy(1, 1, 2)], b"0123456789" + b"345677"),
    ],
)
def test_each_element_is_read(elements, content):
    assert decompress(memoryview(varint(len(content)) + b"".join(elements))) == content


def compressed(data):
    """Greedy: the longest earlier match of up to 64 bytes, else one more byte as it stands."""
    elements, plain, at = [], bytearray(), 0
    while at < len(data):
        fitting = (n for n in range(min(64, len(data) - at), 3, -1) if data.find(data[at : at + n], 0, at) >= 0)
        found = next(fitting, 0)
        if not found:
            plain.append(data[at])
            at += 1
            continue
        if plain:
            elements.append(literal(bytes(plain)))
            plain.clear()
        back = at - data.find(data[at : at + found], 0, at)
        elements.append(copy(found, back, 1 if found <= 11 and back < 2048 else 2 if back < 65536 else 3))
        at += found
    return varint(len(data)) + b"".join([*elements, *([literal(bytes(plain))] if plain else [])])


def test_whole_texts_come_back():
    draw = random.Random(0)
    for size in (1, 100, 3000):
        text = b"".join(draw.choice([b"layer/kernel", b"layer/bias", b"\x00\xff", b"7"]) for _ in range(size))
        squeezed = compressed(text)
        assert size == 1 or len(squeezed) < len(text) / 2
        assert decompress(memoryview(squeezed)) == text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x80\x80\x80\x80\x01",  # a length that does not end
        b"\xff\xff\xff\xff\x0f",  # four gigabytes
        varint(3) + literal(b"ab"),  # too little
        varint(1) + literal(b"ab"),  # too much
        varint(4) + b"\x0cab",  # a literal that is cut off
        varint(4) + b"\xf0",  # the length of one
        varint(8) + literal(b"a") + copy(7, 2, 1),  # before the beginning
        varint(8) + literal(b"a") + copy(7, 0, 1),
        varint(8) + literal(b"abcd") + b"\x01",  # a copy that is cut off
    ],
)
def test_damage_is_said(data):
    with pytest.raises(ValueError, match=r"compressed|copy"):
        decompress(memoryview(data))


def test_flipped_bits_do_no_harm():
    draw = random.Random(1)
    whole = compressed(b"variables/kernel" * 40 + bytes(range(64)))
    for _ in range(3000):
        broken = bytearray(whole)
        broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
        try:
            assert len(decompress(memoryview(broken))) < 1 << 20
        except ValueError:
            continue
