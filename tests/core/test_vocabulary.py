"""Tokens as text."""

import pytest

from deploykit.core.vocabulary import blank_of, decoded, is_vocabulary, spells


@pytest.mark.parametrize(
    ("names", "tokens", "text"),
    [
        (["[PAD]", "[SEP]", "play", "##ing", "we"], [4, 2, 3, 1, 2], "we playing"),
        (["<s>", "</s>", "▁he", "llo", "▁you"], [0, 2, 3, 4, 1, 3], "hello you"),
        (["Ġbig", "ger", "Ġone"], [0, 1, 2], "bigger one"),
        (["yes", "no", "maybe"], [2, 0, 9], "maybe yes"),
        ([" ", "a", "b"], [1, 0, 0, 2], "a b"),
    ],
)
def test_tokens_become_text(names, tokens, text):
    assert decoded(tokens, names) == text


def test_repeated_tokens_are_one_only_where_there_is_a_blank():
    names = ["<blank>", "a", "b", "|"]
    assert blank_of(names) == 0
    assert decoded([1, 1, 0, 1, 2, 2, 3, 3, 2], names, 0) == "aab b"
    assert decoded([1, 1, 2], names) == "aab"
    assert blank_of(["a", "b"]) is None


def test_class_names_are_no_vocabulary():
    assert not is_vocabulary(["cat", "dog", "bird"])
    assert not is_vocabulary(["0", "1"])
    assert is_vocabulary(["<pad>", "|", "a", "b"])
    assert spells(["<pad>", "a", "b"], ["ab a"])
    assert not spells(["<pad>", "a", "b"], ["pad"])
