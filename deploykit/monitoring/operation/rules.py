"""Alert rules for Prometheus, from what was measured when models were exported."""

from __future__ import annotations

import json
from collections.abc import Iterable

from deploykit.monitoring.operation.status import ModelStatus

_FAILURES = "5..|429|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED"
_HEAD = """\
# Alert rules for Prometheus, made by deploykit. In prometheus.yml:
#   rule_files: [FILE]
groups:
  - name: deploykit
    rules:
"""


def rules(models: Iterable[ModelStatus]) -> str:
    """A rules file (YAML): alarms of the monitor, and latency and errors by Prometheus' own reckoning.

    Args:
        models: What is served.
    """
    asked = "sum by (model, version) (rate(deploykit_requests_total[5m]))"
    failed = asked.replace("_total", f'_total{{status=~"{_FAILURES}"}}')
    about = "{{ $labels.model }}/{{ $labels.version }}"
    found = [
        _rule("DeploykitAlarm", "deploykit_alarm > 0", "0m", f"{{{{ $labels.kind }}}} of {about}"),
        _rule("DeploykitErrors", f"{failed} / {asked} > 0.01", "5m", f"Requests for {about} fail"),
        _rule("DeploykitDown", 'up{job=~".*deploykit.*"} == 0', "1m", "{{ $labels.instance }} does not answer"),
    ]
    for model in models:
        run = next((s for s in (model.performance.stages if model.performance else ()) if s.stage == "run"), None)
        if run is None or not run.exported_p99_ms:
            continue
        where = f'model={json.dumps(model.name)},version={json.dumps(model.version)},stage="run"'
        p99 = f"histogram_quantile(0.99, sum by (le) (rate(deploykit_stage_seconds_bucket{{{where}}}[5m])))"
        said = f"p99 of {model.name}/{model.version} is twice the exported {run.exported_p99_ms:.3g} ms, run stage"
        found.append(_rule("DeploykitSlow", f"{p99} > {2 * run.exported_p99_ms / 1000:.6g}", "10m", said))
    return _HEAD + "".join(found)


def _rule(name: str, expression: str, lasting: str, summary: str) -> str:
    # JSON's strings are YAML's.
    return (
        f"      - alert: {name}\n        expr: {json.dumps(expression)}\n        for: {lasting}\n"
        f"        labels: {{severity: page}}\n        annotations: {{summary: {json.dumps(summary)}}}\n"
    )
