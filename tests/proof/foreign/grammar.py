"""Parses source files with tree-sitter's grammars: FILES… → lines with errors by file."""

import importlib.metadata
import json
import sys
from pathlib import Path

import tree_sitter_kotlin
import tree_sitter_swift
from tree_sitter import Language, Parser

LANGUAGES = {".kt": Language(tree_sitter_kotlin.language()), ".swift": Language(tree_sitter_swift.language())}


def errors(node):
    """Lines that the grammar does not have."""
    if node.type == "ERROR" or node.is_missing:
        yield node.start_point[0] + 1
    for child in node.children:
        yield from errors(child)


found = {}
for name in sys.argv[1:]:
    tree = Parser(LANGUAGES[Path(name).suffix]).parse(Path(name).read_bytes())
    if lines := list(errors(tree.root_node)):
        found[name] = lines
packages = ("tree-sitter-swift", "tree-sitter-kotlin")
print(json.dumps({"errors": found, "versions": {p: importlib.metadata.version(p) for p in packages}}))
