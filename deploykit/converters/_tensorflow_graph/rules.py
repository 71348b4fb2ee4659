"""The rule for each operator."""

from __future__ import annotations

from deploykit.converters._tensorflow_graph import elementwise, images, products, shaping, sliding
from deploykit.converters._tensorflow_graph.calls import Rule

RULES: dict[str, Rule] = {**elementwise.RULES, **sliding.RULES, **images.RULES, **products.RULES, **shaping.RULES}
