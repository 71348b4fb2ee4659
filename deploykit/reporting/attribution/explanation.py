"""What a model's answer to one example rests on, and how it is shown."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.reporting import numbers
from deploykit.reporting.attribution import drawing
from deploykit.reporting.attribution.explained import Explained
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.html import THEMED, pictures
from deploykit.reporting.views.table import CSS

_PAGE = """:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:24px auto;padding:0 16px;overflow-wrap:break-word}
h1{font-size:20px}img{max-width:100%;height:auto}
@media (prefers-color-scheme:dark){body{background:#161616;color:#eee}
.dk-report .dk-light{display:none}.dk-report .dk-dark{display:inline}}"""


@dataclass(frozen=True)
class Explanation(Explained):
    """What a model's answer to one example rests on. See `deploykit.explain_example`.

    Attributes:
        model: The model in words.
        answer: The answer that is explained, a class or the index of a number.
        index: Its index.
        score: The model's number for it: confidence, 0 to 1, where answers are classes.
        base: Mean number over the background, where it was used: the values of a table sum to ``score - base``.
        parts: One for each input.
        stability: Lowest correlation of the values with those of three other draws of masks or coalitions; None where
            chance has no part.
        noise: Standard error of sampled Shapley values; None where none were sampled.
        runs: Examples that the model was run on.
        classes: Whether the answer is a class, so that numbers are confidences.
        against: The same of the model it is compared with, by the same masks, background and coalitions.

    Example:
        >>> found = dk.explain_example(model, 7, data=data)
        >>> found.parts[0].kind, found.values["image"].shape
        ('image', (28, 28))
    """

    against: Explanation | None = None

    def chart(self, *, dark: bool = False) -> Any:
        """Maps of images over the example, bars of columns, tokens and words, lines of series (Altair).

        Args:
            dark: Colors for a dark background.
        """
        return shown(drawing.chart(self, dark=dark))

    def to_html(self, path: str | Path | None = None) -> str:
        """A self-contained page with charts, sentences and values.

        Args:
            path: Where to write it; None: do not write it.
        """
        title = html.escape(f"Explanation of an answer by {self.model}")
        text = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><meta name="viewport" '
            f'content="width=device-width,initial-scale=1"><style>{_PAGE}</style></head><body><main><h1>{title}</h1>'
            f"{self._html()}</main></body></html>"
        )
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text, "utf-8")
        return text

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        return {"text/plain": self.summary(), "text/html": self._html()}

    def _html(self) -> str:
        drawn = pictures(lambda dark: self.chart(dark=dark))
        heads = ["part", "adds", *(["by the other"] if self.against is not None else [])]
        body = [
            [
                row["name"],
                numbers.fixed(row["value"], 4),
                *([numbers.fixed(row["against"], 4)] if "against" in row else []),
            ]
            for row in self.strongest()
        ]
        columns = "".join(f'<th scope="col"{" class=dk-n" if i else ""}>{head}</th>' for i, head in enumerate(heads))
        rows = "".join(
            "<tr>"
            + "".join(f"<td{' class=dk-n' if i else ''}>{html.escape(c)}</td>" for i, c in enumerate(row))
            + "</tr>"
            for row in body
        )
        return (
            f'<style>{CSS}{THEMED}</style><div class="dk-report">{drawn}<p>{html.escape(self.summary())}</p>'
            f"<details><summary>In numbers</summary><table><thead><tr>{columns}</tr></thead>"
            f"<tbody>{rows}</tbody></table></details></div>"
        )
