import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.readers.protobuf import BYTES, FIXED32, FIXED64, VARINT, WireError, fields, signed, text


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(items):
    out = b""
    for number, wire, value in items:
        out += varint(number << 3 | wire)
        if wire == VARINT:
            out += varint(value)
        else:
            out += (varint(len(value)) if wire == BYTES else b"") + value
    return out


def decode(data):
    return [(n, w, bytes(v) if isinstance(v, memoryview) else v) for n, w, v in fields(memoryview(data))]


NUMBERS = st.integers(1, (1 << 29) - 1)
FIELDS = st.one_of(
    st.tuples(NUMBERS, st.just(VARINT), st.integers(0, (1 << 64) - 1)),
    st.tuples(NUMBERS, st.just(BYTES), st.binary(max_size=300)),
    st.tuples(NUMBERS, st.just(FIXED32), st.binary(min_size=4, max_size=4)),
    st.tuples(NUMBERS, st.just(FIXED64), st.binary(min_size=8, max_size=8)),
)


@given(st.lists(FIELDS))
def test_what_was_written_is_read(items):
    assert decode(encode(items)) == items


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    try:
        found = decode(data)
    except WireError:
        return
    assert all(number > 0 for number, _, _ in found)


@given(st.lists(FIELDS, min_size=1), st.data())
def test_a_cut_is_noticed_and_measured(items, data):
    whole = encode(items)
    start = len(encode(items[:-1]))
    keep = data.draw(st.integers(start + 1, len(whole) - 1))
    with pytest.raises(WireError) as caught:
        decode(whole[:keep])
    assert keep < caught.value.needs <= len(whole)


@pytest.mark.parametrize(
    ("data", "found"),
    [(b"\x00", "field number 0"), (b"\x0b", "wire type 3"), (b"\x08" + b"\xff" * 10 + b"\x01", "more than 64 bits")],
)
def test_what_is_malformed(data, found):
    with pytest.raises(WireError, match=found):
        decode(data)


def test_numbers_and_texts():
    assert (signed(5), signed((1 << 64) - 1)) == (5, -1)
    assert text(memoryview("é".encode())) == "é"
    assert text(memoryview(b"\xff")) == "�"
