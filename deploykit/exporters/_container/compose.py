"""A compose file: the container as it should run, with Prometheus and Grafana beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.exporters._container.sizing import PORT, USER, Sizing
from deploykit.exporters._yaml import write_yaml

#: Tags of 2025 that are kept up: an export cannot look for newer ones.
_PROMETHEUS, _GRAFANA = "prom/prometheus:v3.5.0", "grafana/grafana:12.1.1"
_DASHBOARD = Path(__file__).with_name("grafana.json")
_HARDENED: dict[str, Any] = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}


def write_compose(folder: Path, sized: Sizing) -> None:
    """Write ``compose.yaml`` and the folder ``monitoring`` that it mounts."""
    write_yaml(folder / "compose.yaml", _compose(sized))
    home = folder / "monitoring"
    for name, content in _monitoring(sized).items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        write_yaml(home / name, content)
    (home / "dashboards").mkdir()
    (home / "dashboards" / "deploykit.json").write_bytes(_DASHBOARD.read_bytes())


def _compose(sized: Sizing) -> dict[str, Any]:
    return {
        "name": sized.name,
        "services": {
            "model": {
                "build": ".",
                "image": sized.image,
                "user": f"{USER}:{USER}",
                **_HARDENED,
                "tmpfs": ["/tmp"],  # noqa: S108  inside the container
                "ports": [f"127.0.0.1:{PORT}:{PORT}"],
                "restart": "unless-stopped",
                "stop_grace_period": "30s",
                "deploy": {
                    "resources": {
                        "limits": {"cpus": f"{sized.limit_millicores / 1000:g}", "memory": f"{sized.limit_mib}M"},
                        "reservations": {"memory": f"{sized.request_mib}M"},
                    }
                },
            },
            "prometheus": {
                "image": _PROMETHEUS,
                **_HARDENED,
                "command": ["--config.file=/etc/prometheus/prometheus.yaml", "--storage.tsdb.path=/prometheus"],
                "volumes": [
                    "./monitoring/prometheus.yaml:/etc/prometheus/prometheus.yaml:ro",
                    "prometheus:/prometheus",
                ],
                "ports": ["127.0.0.1:9090:9090"],
                "depends_on": {"model": {"condition": "service_healthy"}},
            },
            "grafana": {
                "image": _GRAFANA,
                **_HARDENED,
                # Anyone who reaches loopback may look, and no one can log in: there is no password to choose.
                "environment": {
                    "GF_AUTH_ANONYMOUS_ENABLED": "true",
                    "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
                    "GF_AUTH_DISABLE_LOGIN_FORM": "true",
                    "GF_ANALYTICS_REPORTING_ENABLED": "false",
                    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
                    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
                    "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": "/etc/grafana/dashboards/deploykit.json",
                },
                "tmpfs": ["/tmp"],  # noqa: S108  inside the container
                "volumes": [
                    "./monitoring/provisioning:/etc/grafana/provisioning:ro",
                    "./monitoring/dashboards:/etc/grafana/dashboards:ro",
                    "grafana:/var/lib/grafana",
                ],
                "ports": ["127.0.0.1:3000:3000"],
                "depends_on": ["prometheus"],
            },
        },
        "volumes": {"prometheus": {}, "grafana": {}},
    }


def _monitoring(sized: Sizing) -> dict[str, dict[str, Any]]:
    return {
        "prometheus.yaml": {
            "global": {"scrape_interval": "10s"},
            "scrape_configs": [{"job_name": sized.name, "static_configs": [{"targets": [f"model:{PORT}"]}]}],
        },
        "provisioning/datasources/prometheus.yaml": {
            "apiVersion": 1,
            "datasources": [
                {"name": "Prometheus", "type": "prometheus", "url": "http://prometheus:9090", "isDefault": True}
            ],
        },
        "provisioning/dashboards/deploykit.yaml": {
            "apiVersion": 1,
            "providers": [{"name": "deploykit", "type": "file", "options": {"path": "/etc/grafana/dashboards"}}],
        },
    }
