"""How much of a body is JSON, by the headers of its request."""

import pytest

from deploykit.serving.faults import InvalidInputError
from deploykit.serving.wires._plans import LENGTH, Plans


def test_each_request_is_read_by_its_own_headers():
    plans = Plans()
    binary, longer, plain = [(b"host", b"a"), (LENGTH, b"7")], [(LENGTH, b"9")], [(b"host", b"a")]
    asked = [binary, binary, longer, plain, binary, plain, longer, longer]
    assert [plans.json_length(headers, 20) for headers in asked] == [7, 7, 9, 20, 7, 20, 9, 9]
    assert [plans.json_length(plain, size) for size in (0, 5, 4000)] == [0, 5, 4000]


@pytest.mark.parametrize("value", [b"", b"-1", b"8", b"1e0", b" 7", b"0x1", b"9" * 5000])
def test_a_length_that_cannot_be_is_refused_each_time(value):
    plans, headers = Plans(), [(LENGTH, value)]
    for _ in range(2):
        with pytest.raises(InvalidInputError, match="expected a number up to the body's 7 bytes"):
            plans.json_length(headers, 7)
    assert plans.json_length([(LENGTH, b"7")], 7) == 7
