"""Helm: deploykit's container, and a chart of what runs it."""

from __future__ import annotations

import json
from pathlib import Path

from deploykit.exporters._container.image import EDITABLE, write_image
from deploykit.exporters._container.parameters import PARAMETERS as CONTAINER
from deploykit.exporters._container.sizing import sizing
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._kubernetes.chart import parts, templates, values, values_schema
from deploykit.exporters._kubernetes.objects import CPU_PERCENT, Workload
from deploykit.exporters._kubernetes.parameters import PARAMETERS, replicas
from deploykit.exporters._served import query
from deploykit.exporters._texts import readme
from deploykit.exporters._yaml import write_yaml
from deploykit.measuring.exportable import Exportable

_RUN = """\
## Run it

    python lock.py
    docker build -t {image} .
    docker push {image}
    helm upgrade --install {name} chart

The cluster must be able to pull the image: export with `image` and your registry's name, or set `image.repository` and
`image.tag`. `chart/values.yaml` holds what may differ between installations, and `chart/values.schema.json` what each
value may be.

To check what runs there:

    kubectl port-forward service/{name} 8501:80
    deploykit verify . --url http://127.0.0.1:8501

{sizes} Replicas are added from {percent} % of the requested cores on:
{least} to {most}. The network policy lets in requests from the same namespace and from a namespace `monitoring`; the
pods send none. They meet the Pod Security Standard "restricted".

The server takes requests without tokens: who may reach it is for the network policy. `chart/`, `Dockerfile`,
`.dockerignore`, `compose.yaml` and `monitoring/` are yours to change; the other files are compared with their digests
when the server starts.

"""


class Helm(Exporter):
    """Holds any format."""

    name = "helm"
    label = "Helm"
    place = "clusters"
    help = "Any format: the container and a Helm chart with a schema of its values."
    requires = ("yaml",)
    parameters = (*CONTAINER, *PARAMETERS)
    editable = (*EDITABLE, "chart/*")

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write what the layout ``container`` does, and ``chart/``.

        Raises:
            SettingError: The image's name is unusable, the memory is less than the model takes, or the most replicas
                are less than the fewest.
            ExportError: The model's name cannot become one of Kubernetes'.
        """
        sized, (least, most) = sizing(candidate, draft), replicas(draft)
        work, chart = Workload(sized, least, most), folder / "chart"
        (chart / "templates").mkdir(parents=True)
        about = {
            "apiVersion": "v2",
            "name": sized.name,
            "description": f"{draft.name}, served by deploykit.",
            "type": "application",
            "version": "1.0.0",
            "appVersion": parts(sized.image)[1] or "1.0.0",
        }
        write_yaml(chart / "Chart.yaml", about)
        write_yaml(chart / "values.yaml", values(work))
        schema = json.dumps(values_schema(), indent=2) + "\n"
        (chart / "values.schema.json").write_text(schema, encoding="utf-8")
        for name, text in templates(work).items():
            (chart / "templates" / name).write_text(text, encoding="utf-8")
        run = _RUN.format(
            image=sized.image, name=sized.name, sizes=sized.words, percent=CPU_PERCENT, least=least, most=most
        )
        (folder / "README.md").write_text(readme(candidate, draft, run + query(candidate, draft)), encoding="utf-8")
        return write_image(candidate, draft, folder, sized, self.editable)


ADAPTER = Helm()
