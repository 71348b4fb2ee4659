"""Every public name has an example in its docstring, and all examples give what they show."""

import doctest
import os
import shutil
from pathlib import Path

import pytest

import deploykit
from docs.tools import examples

pytestmark = pytest.mark.long

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What every example starts from, in a copy of the notebooks' folder."""
    folder = tmp_path_factory.mktemp("examples") / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns("runs"))
    before = Path.cwd()
    os.chdir(folder)
    started = {}
    exec(examples.start(), started)
    yield started
    os.chdir(before)


@pytest.mark.parametrize("name", deploykit.__all__)
def test_the_examples_of_a_public_name(name, names):
    found = list(examples.of(name))
    assert found[0].examples, f"dk.{name} has no example in its docstring"
    runner = doctest.DocTestRunner(optionflags=examples.FLAGS)
    said = []
    for example in found:
        example.globs.update(names)
        runner.run(example, out=said.append)
    assert not runner.summarize(verbose=False).failed, "".join(said)


def test_an_example_that_is_wrong_fails(names):
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", dict(names), "wrong", "wrong", 0)
    assert doctest.DocTestRunner(optionflags=examples.FLAGS).run(wrong, out=lambda _: None).failed == 1
