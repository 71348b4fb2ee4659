"""A Helm chart of the same objects: what differs between installations is a value with a schema.

Source: Helm's documentation of charts, and of schema files for values.
"""

from __future__ import annotations

from typing import Any

from deploykit.exporters._kubernetes.objects import CPU_PERCENT, Object, Workload
from deploykit.exporters._yaml import yaml_text

_NAME, _LABELS, _SELECTOR = (f'{{{{ include "deploykit.{what}" . }}}}' for what in ("name", "labels", "selector"))

_HELPERS = """\
{{- define "deploykit.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "deploykit.selector" -}}
{{- dict "app.kubernetes.io/name" .Chart.Name "app.kubernetes.io/instance" .Release.Name | toJson -}}
{{- end -}}

{{- define "deploykit.labels" -}}
{{- $chart := printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" -}}
{{- $own := dict "helm.sh/chart" $chart "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $version := dict "app.kubernetes.io/version" (.Chart.AppVersion | trunc 63) -}}
{{- merge (include "deploykit.selector" . | fromJson) $own $version | toJson -}}
{{- end -}}

{{- define "deploykit.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest | quote -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository .Values.image.tag | quote -}}
{{- end -}}
{{- end -}}
"""
_NOTES = """\
To check what {{ include "deploykit.name" . }} answers, with the exported folder:

  kubectl -n {{ .Release.Namespace }} port-forward service/{{ include "deploykit.name" . }} 8501:http
  deploykit verify FOLDER --url http://127.0.0.1:8501
"""


class Expression(str):
    """A template expression in the place of a value."""

    __slots__ = ()


def json_of(path: str) -> Expression:
    """A value as JSON, which is YAML in one line."""
    return Expression(f"{{{{ toJson .Values.{path} }}}}")


def templates(work: Workload) -> dict[str, str]:
    """File name → template, for the folder ``templates``."""
    named = {"name": Expression(_NAME), "labels": Expression(_LABELS)}
    chosen = {"matchLabels": Expression(_SELECTOR)}
    made = {name: {**content, "metadata": named} for name, content in work.objects().items()}
    spec = {name: content["spec"] for name, content in made.items()}

    pod = spec["deployment.yaml"]["template"]["spec"]
    pod["topologySpreadConstraints"][0]["labelSelector"] = chosen
    pod |= {name: json_of(name) for name in ("imagePullSecrets", "nodeSelector", "tolerations", "affinity")}
    pod["containers"][0] |= {
        "image": Expression('{{ include "deploykit.image" . }}'),
        "imagePullPolicy": json_of("image.pullPolicy"),
        "command": json_of("command"),
        "resources": json_of("resources"),
    }
    about = spec["deployment.yaml"]["template"]["metadata"]
    about |= {"labels": Expression(_SELECTOR), "annotations": json_of("podAnnotations")}
    spec["deployment.yaml"]["selector"] = chosen
    made["deployment.yaml"]["spec"] = {"replicas": json_of("replicas"), **spec["deployment.yaml"]}

    service = spec["service.yaml"]
    service |= {"type": json_of("service.type"), "selector": Expression(_SELECTOR)}
    service["ports"][0]["port"] = json_of("service.port")

    scaler = spec["horizontalpodautoscaler.yaml"]
    scaler["scaleTargetRef"]["name"] = Expression(_NAME)
    scaler |= {f"{end}Replicas": json_of(f"autoscaling.{end}Replicas") for end in ("min", "max")}
    scaler["metrics"][0]["resource"]["target"]["averageUtilization"] = json_of("autoscaling.cpuPercent")

    budget = spec["poddisruptionbudget.yaml"]
    budget |= {"maxUnavailable": json_of("podDisruptionBudget.maxUnavailable"), "selector": chosen}

    policy = spec["networkpolicy.yaml"]
    policy["podSelector"] = chosen
    policy["ingress"][0]["from"] = json_of("networkPolicy.from")

    found = {name: _text(content) for name, content in made.items()}
    for name, value in {
        "horizontalpodautoscaler.yaml": "autoscaling",
        "poddisruptionbudget.yaml": "podDisruptionBudget",
        "networkpolicy.yaml": "networkPolicy",
    }.items():
        found[name] = f"{{{{- if .Values.{value}.enabled }}}}\n{found[name]}{{{{- end }}}}\n"
    # The autoscaler sets the number of replicas, where there is one.
    line = f"  replicas: {json_of('replicas')}\n"
    found["deployment.yaml"] = found["deployment.yaml"].replace(
        line, f"  {{{{- if not .Values.autoscaling.enabled }}}}\n{line}  {{{{- end }}}}\n"
    )
    return {"_helpers.tpl": _HELPERS, "NOTES.txt": _NOTES, **found}


def values(work: Workload) -> Object:
    """The chart's values: what the plain objects say."""
    objects, (name, tag, digest) = work.objects(), parts(work.sized.image)
    pod = objects["deployment.yaml"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (rule,) = objects["networkpolicy.yaml"]["spec"]["ingress"]
    return {
        "image": {"repository": name, "tag": tag, "digest": digest, "pullPolicy": container["imagePullPolicy"]},
        "imagePullSecrets": [],
        "command": container["command"],
        "resources": container["resources"],
        "replicas": work.least,
        "autoscaling": {
            "enabled": True, "minReplicas": work.least, "maxReplicas": work.most, "cpuPercent": CPU_PERCENT,
        },
        "service": {"type": "ClusterIP", "port": 80},
        "podDisruptionBudget": {"enabled": True, "maxUnavailable": 1},
        "networkPolicy": {"enabled": True, "from": rule["from"]},
        "podAnnotations": pod["metadata"]["annotations"],
        "nodeSelector": {},
        "tolerations": [],
        "affinity": {},
    }  # fmt: skip


def values_schema() -> Object:
    """JSON Schema of the values; Helm refuses others, and names that it does not know."""
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    replicas, objects = _whole(1, 10_000), {"type": "array", "items": {"type": "object"}}
    switch = {"type": "boolean"}
    amounts = {
        "type": "object",
        "properties": {name: {"type": ["string", "number"]} for name in ("cpu", "memory", "ephemeral-storage")},
        "additionalProperties": {"type": ["string", "number"]},
    }
    image = {
        "repository": {"type": "string", "minLength": 1},
        "tag": {"type": "string"},
        "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
        "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    }
    scaling = {
        "enabled": switch, "minReplicas": replicas, "maxReplicas": replicas, "cpuPercent": _whole(1, 1000),
    }  # fmt: skip
    properties = {
        "image": _closed(image),
        "imagePullSecrets": objects,
        "command": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        "resources": _closed({"requests": amounts, "limits": amounts}),
        "replicas": replicas,
        "autoscaling": _closed(scaling),
        "service": _closed({"type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}, "port": _whole(1, 65535)}),
        "podDisruptionBudget": _closed({"enabled": switch, "maxUnavailable": {"type": ["integer", "string"]}}),
        "networkPolicy": _closed({"enabled": switch, "from": objects}),
        "podAnnotations": texts,
        "nodeSelector": texts,
        "tolerations": objects,
        "affinity": {"type": "object"},
        "global": {"type": "object"},
    }
    required = [name for name in properties if name != "global"]
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_closed(properties), "required": required}


def parts(image: str) -> tuple[str, str, str]:
    """Repository, tag and digest of an image's name; the tag is ``latest`` where there is neither."""
    name, _, digest = image.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # the colon of a port
        repository, tag = name, "" if digest else "latest"
    return repository, tag, digest


def _closed(properties: Object) -> Object:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _whole(least: int, most: int) -> Object:
    return {"type": "integer", "minimum": least, "maximum": most}


def _text(content: Object) -> str:
    """A template: YAML with expressions where values were."""
    found: list[Expression] = []

    def plain(value: Any) -> Any:
        if isinstance(value, Expression):
            found.append(value)
            return f"expression-{len(found) - 1}-here"
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list) else value

    text = yaml_text(plain(content))
    for number, expression in enumerate(found):
        text = text.replace(f"expression-{number}-here", expression)
    return text
