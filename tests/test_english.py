"""The habits that "How we write" in CONTRIBUTING.md lists are in no file, and errors begin with a capital letter."""

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMPARATIVES = (
    "(?:bett|fast|slow|quick|larg|small|bigg|low|high|cheap|clos|earli|lat|wid|great|steadi|old|new|strict)er"
)
#: A habit, as a regular expression, and what to write instead.
HABITS = {
    rf"(?<!here )\b(?:is|are|was|were) no (?!(?:longer|more|worse|other|doubt|one|{COMPARATIVES})\b)(?=\w)": "is not a",
    r"\banew\b": "again, from scratch",
    r"\bsurely\b": "within your limit (95 % confidence), confirmed",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"(?<!USER )\b(?:whoever|nobody|somebody)\b": "name the person or the thing",
    r", too(?=[.,;:)\"'`]|$)": "also, as well",
    r"\b(?:can(?:not)? be|be|is|are) told\b": "shown, decided by, distinguished",
    r"\b(?:does|do|did) not tell\b": "does not show, does not report",
    r"\bsigns? of life\b": "heartbeat",
    r"\bunder way\b": "still running, still measuring",
    r"\bis done to\b": "applies to",
    r"\bin so far\b|\bat every moment\b": "at any time",
    r"\b(?:model as given|unmodified model)\b": "the original model",
    r"\b(?:one|labels?|numbers?|values?|answers?) an? (?:example|class|position|answer|column|line)\b": "one per …",
    r"\bcommas between them\b": "separated by commas",
    r"\bdone again\b": "redone, repeated",
    r"\bgo(?:es)? on\b(?! (?:the|a)\b)": "continue, resume",
    r"\b(?:[Ll]icence|behaviour|colour|misspelt|grey|centre|[a-z]+isations?)\b": "American spelling",
}
#: What the tests read: everything people wrote, not what tools made.
KINDS = {".py", ".md", ".ipynb", ".ts", ".tsx"}
#: Errors that make their message themselves, from parts.
OWN_WORDS = frozenset({"MethodError", "TooLargeError"})
#: Argument names and the like: the only words an error may begin with in lower case.
NAMES = frozenset(
    {"budget", "by", "classes", "engine", "exclude", "imports", "launches", "layout", "max_drop", "memory", "port"}
    | {"preprocess", "reshape", "resize", "scale", "search", "state", "threads", "timeout", "transpose", "workers"}
    | {"x", "y", "y_test"}
)


def written() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [
        ROOT / name for name in listed.split("\0") if Path(name).suffix in KINDS and name != "tests/test_english.py"
    ]


def prose(path: Path) -> str:
    """The text of a file, with line numbers kept; the cells of a notebook; Markdown without its code."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    if path.suffix == ".md":
        return re.sub(r"`[^`\n]*`", "`…`", text)
    return text


def found(text: str) -> list[str]:
    return [
        f"{number}: {habit[0]!r}, better: {better}"
        for number, line in enumerate(text.splitlines(), 1)
        for expression, better in HABITS.items()
        for habit in re.finditer(expression, line)
    ]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a source tree without its history")
def test_no_file_has_the_habits():
    files = written()
    assert len(files) > 300
    assert not [f"{path.relative_to(ROOT)}:{habit}" for path in files for habit in found(prose(path))]


def kinds() -> set[str]:
    """Names of all errors that derive from `DeploykitError`, in whatever module they are defined."""
    bases: dict[str, set[str]] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases.setdefault(node.name, set()).update(b.id for b in node.bases if isinstance(b, ast.Name))
    known = {"DeploykitError"}
    while more := {name for name, of in bases.items() if of & known} - known:
        known |= more
    return known - OWN_WORDS


def sources() -> list[Path]:
    return [*(ROOT / "deploykit").rglob("*.py"), *(ROOT / "widgets" / "deploykit_widgets").rglob("*.py")]


def beginnings(message: ast.expr) -> list[str]:
    """The literal text that a message may begin with; none where it begins with a value, such as a path."""
    match message:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            return [text]
        case ast.IfExp(body=one, orelse=other):
            return [*beginnings(one), *beginnings(other)]
        case ast.BinOp(left=left, op=ast.Add()):
            return beginnings(left)
    return []


def in_lower_case(text: str) -> bool:
    word = re.match(r"\w*", text)
    return text[:1].islower() and bool(word) and word[0] not in NAMES


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_errors_begin_with_a_capital_letter(path):
    calls = (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call) and n.args)
    named = ((getattr(n.func, "id", getattr(n.func, "attr", "")), n) for n in calls)
    wrong = [
        f"{n.lineno}: {t}" for name, n in named if name in ERRORS for t in beginnings(n.args[0]) if in_lower_case(t)
    ]
    assert not wrong


def test_the_checks_can_fail():
    assert sorted(found("a gate\nis no folder, and nobody mends it, too.")) == [
        "2: ', too', better: also, as well",
        "2: 'is no ', better: is not a",
        "2: 'mends', better: fix",
        "2: 'nobody', better: name the person or the thing",
    ]
    assert not found(
        "there is no folder; it is no longer there; it is no faster; choose another one, too many are there"
    )
    assert {"SettingError", "InvalidInputError", "CandidateTimeout"} <= ERRORS
    (call,) = ast.parse('SettingError(f"no {thing}" if thing else "Nothing")').body
    assert [t for t in beginnings(call.value.args[0]) if in_lower_case(t)] == ["no "]
    assert not in_lower_case("y is given")
    assert not in_lower_case("Unknown")


ERRORS = kinds()
