"""KServe's InferenceService as plain data.

Source: KServe's documentation of custom predictors, of its Triton runtime, of canary rollouts and of autoscaling with
Knative, which allows a part of what a pod may have: security is set on the container, and no pod spreads over nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.exporters._container.sizing import PORT, Sizing
from deploykit.exporters._kubernetes.objects import CONTAINER_SECURITY, POD_SECURITY, Object, container, scratch

#: Seconds after which KServe gives a request up; the server's own limit, answer_seconds, comes first.
_TIMEOUT = 75
#: Failed liveness probes, one each 10 seconds, that a start may take.
_STARTS = 30
#: Memory that Triton takes beside the model.
_TRITON_MIB = 256
#: Requests in progress for each core at which a replica is full: one runs, the others are its next batch.
PER_CORE = 4


@dataclass(frozen=True)
class Scaling:
    """How many replicas there are, and who gets the new revision.

    Attributes:
        least: Fewest replicas; 0: none while there are no requests.
        most: Most replicas.
        concurrency: Requests in progress in a replica from which on another one is started.
        canary_percent: Share of the requests for a new revision; 0: all of them.
    """

    least: int
    most: int
    concurrency: int
    canary_percent: int


def inference_service(sized: Sizing, scaling: Scaling, predictor: Object) -> Object:
    """The service of a predictor: `own_predictor` or `triton_predictor`."""
    canary = {"canaryTrafficPercent": scaling.canary_percent} if scaling.canary_percent else {}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": sized.name,
            "labels": {"app.kubernetes.io/name": sized.name, "app.kubernetes.io/component": "model-server"},
        },
        "spec": {
            "predictor": {
                "minReplicas": scaling.least,
                "maxReplicas": scaling.most,
                "scaleMetric": "concurrency",
                "scaleTarget": scaling.concurrency,
                "timeout": _TIMEOUT,
                **canary,
                **predictor,
            }
        },
    }


def own_predictor(sized: Sizing) -> Object:
    """Deploykit's container, which speaks both of KServe's protocols."""
    made = container(sized)
    made["name"] = "kserve-container"  # the name that KServe looks for
    made["ports"] = [{"containerPort": PORT, "protocol": "TCP"}]
    made["securityContext"] = {
        **CONTAINER_SECURITY,
        **{name: POD_SECURITY[name] for name in ("runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile")},
    }
    # Knative waits for readiness itself, and releases before 1.15 refuse a startup probe.
    del made["startupProbe"]
    made["livenessProbe"] |= {"failureThreshold": _STARTS}
    for name in ("readinessProbe", "livenessProbe"):
        made[name] = {**made[name], "httpGet": {**made[name]["httpGet"], "port": PORT}}
    return {"automountServiceAccountToken": False, "containers": [made], "volumes": [scratch()]}


def triton_predictor(sized: Sizing, storage: str) -> Object:
    """KServe's Triton runtime, with the repository at an address of its storage."""
    model = sized.measured_mib
    return {
        "model": {
            "modelFormat": {"name": "onnx"},
            "protocolVersion": "v2",
            "runtime": "kserve-tritonserver",
            "storageUri": storage,
            "resources": {
                "requests": {"cpu": str(sized.cores), "memory": f"{_TRITON_MIB + model}Mi"},
                "limits": {"cpu": f"{sized.limit_millicores}m", "memory": f"{2 * (_TRITON_MIB + model)}Mi"},
            },
        }
    }
