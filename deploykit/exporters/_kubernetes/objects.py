"""Kubernetes objects as plain data: what runs deploykit's container safely.

Source: the Kubernetes API reference; the Pod Security Standards, whose profile "restricted" all pods here meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploykit.exporters._container.sizing import PORT, USER, Sizing

Object = dict[str, Any]

#: Longer than the limits grace_seconds and drain_seconds of the server together.
_STOP_SECONDS = 30
#: Share of the requested cores in use from which on replicas are added. A queue grows quickly above it.
CPU_PERCENT = 70
#: Time for which the need must be lower before replicas are removed.
_CALM_SECONDS = 300
POD_SECURITY: Object = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True)
class Workload:
    """What is run.

    Attributes:
        sized: Its container.
        least: Fewest replicas.
        most: Most replicas.
    """

    sized: Sizing
    least: int
    most: int

    @property
    def selector(self) -> dict[str, str]:
        """Labels that choose its pods."""
        return {"app.kubernetes.io/name": self.sized.name, "app.kubernetes.io/component": "model-server"}

    def metadata(self) -> Object:
        """Name and labels of an object of it."""
        return {"name": self.sized.name, "labels": dict(self.selector)}

    def objects(self) -> dict[str, Object]:
        """File name → object."""
        return {
            "deployment.yaml": self.deployment(),
            "service.yaml": self.service(),
            "horizontalpodautoscaler.yaml": self.autoscaler(),
            "poddisruptionbudget.yaml": self.disruption_budget(),
            "networkpolicy.yaml": self.network_policy(),
        }

    def deployment(self) -> Object:
        """The pods. It names no number of replicas: the autoscaler sets it."""
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(),
            "spec": {
                "revisionHistoryLimit": 5,
                "selector": {"matchLabels": dict(self.selector)},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {
                    "metadata": {
                        "labels": dict(self.selector),
                        "annotations": {
                            "prometheus.io/scrape": "true",
                            "prometheus.io/port": str(PORT),
                            "prometheus.io/path": "/metrics",
                        },
                    },
                    "spec": {
                        "automountServiceAccountToken": False,
                        "enableServiceLinks": False,
                        "securityContext": POD_SECURITY,
                        "terminationGracePeriodSeconds": _STOP_SECONDS,
                        "topologySpreadConstraints": [
                            {
                                "maxSkew": 1,
                                "topologyKey": "kubernetes.io/hostname",
                                "whenUnsatisfiable": "ScheduleAnyway",
                                "labelSelector": {"matchLabels": dict(self.selector)},
                            }
                        ],
                        "containers": [container(self.sized)],
                        "volumes": [scratch()],
                    },
                },
            },
        }

    def service(self) -> Object:
        """One address for all pods that are ready."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(),
            "spec": {
                "type": "ClusterIP",
                "selector": dict(self.selector),
                "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
            },
        }

    def autoscaler(self) -> Object:
        """As many pods as the work takes: quickly more, slowly fewer."""
        return {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": self.metadata(),
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.sized.name},
                "minReplicas": self.least,
                "maxReplicas": self.most,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "averageUtilization": CPU_PERCENT},
                        },
                    }
                ],
                "behavior": {
                    "scaleUp": {"stabilizationWindowSeconds": 0},
                    "scaleDown": {"stabilizationWindowSeconds": _CALM_SECONDS},
                },
            },
        }

    def disruption_budget(self) -> Object:
        """Nodes are drained one pod at a time; with a single pod that is possible too."""
        return {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": self.metadata(),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": dict(self.selector)}},
        }

    def network_policy(self) -> Object:
        """Requests come from the same namespace and from monitoring; the server itself sends none."""
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self.metadata(),
            "spec": {
                "podSelector": {"matchLabels": dict(self.selector)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {
                        "from": [
                            {"podSelector": {}},
                            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
                        ],
                        "ports": [{"protocol": "TCP", "port": PORT}],
                    }
                ],
                "egress": [],
            },
        }


def container(sized: Sizing) -> Object:
    """The server's container, with probes as ``docs/how-to/operate.md`` explains them."""
    return {
        "name": "model",
        "image": sized.image,
        "imagePullPolicy": "IfNotPresent",
        "command": sized.command,
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "securityContext": CONTAINER_SECURITY,
        "resources": resources(sized),
        **probes(),
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108  inside the container
    }


def resources(sized: Sizing) -> Object:
    """Requests and limits."""
    return {
        "requests": {"cpu": str(sized.cores), "memory": f"{sized.request_mib}Mi"},
        "limits": {"cpu": f"{sized.limit_millicores}m", "memory": f"{sized.limit_mib}Mi"},
    }


def probes() -> Object:
    """The health endpoints of deploykit's server."""
    ready = {"httpGet": {"path": "/v2/health/ready", "port": "http"}, "periodSeconds": 2}
    live = {"httpGet": {"path": "/v2/health/live", "port": "http"}, "periodSeconds": 10, "timeoutSeconds": 5}
    return {
        "startupProbe": {**ready, "failureThreshold": 150},
        "readinessProbe": {**ready, "failureThreshold": 1},
        "livenessProbe": {**live, "failureThreshold": 6},
    }


def scratch() -> Object:
    """The one place that can be written."""
    return {"name": "scratch", "emptyDir": {"sizeLimit": "64Mi"}}
