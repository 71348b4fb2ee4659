"""The Jupyter server extension: it serves model graphs and the notebook template from the Jupyter server.

The page reads models from ``files/``, where the server offers its contents to users who may read them. Nothing here
resolves the path of a model.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

from deploykit_widgets.server import netron_app

#: A user who may read a file may see its graph.
_RESOURCE = "contents"
#: Netron needs a worker and inline styles; scripts and data come only from this server.
_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)


class GraphHandler(JupyterHandler):
    """Serves the files of the patched Netron."""

    auth_resource = _RESOURCE

    @property
    def content_security_policy(self) -> str:
        """The server's own policy, which says who may embed the page, plus ours."""
        return f"{super().content_security_policy}; {_POLICY}"

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Serve one file."""
        self.check_xsrf_cookie()  # as for files: requests come from pages of this server
        try:
            found = netron_app.read(name)
        except netron_app.NetronChangedError as error:
            self.log.error("deploykit cannot show graphs: %s", error)
            self.set_status(503)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"deploykit cannot show graphs with this version of Netron.\n\n{error}\n")
            return
        if found is None:
            raise web.HTTPError(404)
        content, kind = found
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", "no-cache")  # kept, but asked for again: see the ETag
        self.finish(content)


class TemplateHandler(APIHandler):
    """Serves the notebook that "Optimize with deploykit" starts from."""

    auth_resource = _RESOURCE

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Serve the notebook as JSON."""
        self.finish(json.dumps(template()))


def template() -> Any:
    """The notebook as shipped; the caller fills its cell tagged ``parameters``."""
    return json.loads(files("deploykit_widgets.server").joinpath("templates/optimize.ipynb").read_text("utf-8"))


def _load_jupyter_server_extension(server: Any) -> None:
    """Add the handlers to a running server, below its base URL."""
    root = url_path_join(server.web_app.settings["base_url"], "deploykit")
    server.web_app.add_handlers(
        ".*$",
        [
            (url_path_join(root, r"netron/([A-Za-z0-9_.-]*)"), GraphHandler),
            (url_path_join(root, "template"), TemplateHandler),
        ],
    )
