"""Lints a chart and renders it with Helm's own library: ``helm_chart.py CHART VALUES``.

Prints the templates' output by name, what lint found, the version, and the error where the values are refused.
"""

import json
import sys

import helm_python as helm

folder, values = sys.argv[1], json.loads(sys.argv[2])
found = {"lint": helm.lint(folder), "version": helm.helm_sdk_version(), "error": "", "rendered": {}}
with helm.Chart.load(folder) as chart:
    try:
        found["rendered"] = chart.render(values, name="demo", namespace="prod")
    except helm.HelmError as error:
        found["error"] = str(error)
print(json.dumps(found))
