import pickle

import pytest

from deploykit.core import errors


def tree(base: type = errors.DeploykitError) -> list[type]:
    return [base, *(c for child in base.__subclasses__() for c in tree(child) if c.__module__ == errors.__name__)]


def test_the_drawn_tree_is_the_real_one():
    drawn, above = [], {0: "DeploykitError"}
    for line in (errors.__doc__ or "").splitlines():
        if "── " in line:
            depth, name = line.index("── ") // 4, line.split("── ")[1].split()[0]
            above[depth] = name
            drawn.append((above[depth - 1], name))
    assert sorted(drawn) == sorted((t.__bases__[0].__name__, t.__name__) for t in tree()[1:])


@pytest.mark.parametrize("kind", tree(), ids=lambda t: t.__name__)
def test_every_error_survives_json_and_pickle(kind):
    error = kind("what was found.", remedy="do this.", log="a.log")
    for again in (errors.from_json(errors.to_json(error)), pickle.loads(pickle.dumps(error))):
        assert type(again) is kind
        assert str(again) == "what was found. Remedy: do this. (log: a.log)"
        assert (again.message, again.remedy, again.log) == ("what was found.", "do this.", "a.log")


def test_an_error_of_an_unknown_type_is_a_failed_candidate():
    error = errors.from_json({"type": "OSError", "message": "no."})
    assert type(error) is errors.CandidateError
    assert str(error) == "no."


def test_standard_bases():
    assert issubclass(errors.SettingError, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)


def test_unknown_name_lists_the_known_and_the_closest():
    error = errors.unknown_name("runtime", "litter", {"litert": 1, "onnxruntime": 2})
    assert str(error) == ("Unknown runtime 'litter'. Remedy: did you mean 'litert'? known: litert, onnxruntime.")
    assert "known: none" in str(errors.unknown_name("runtime", "x", []))
