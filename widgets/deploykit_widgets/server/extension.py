"""The Jupyter server extension: it serves model graphs and the notebook template from the Jupyter server.

JupyterLab reads models for the page from ``files/``, where the server offers its contents to users who may read them.
Nothing here resolves the path of a model.

The page is Netron's, which parses files from anywhere, so it runs in a sandbox: with an origin of its own, it can ask
the server for nothing in the user's name. Its own files are therefore served without the user's cookie, below an
address that only the page is given.
"""

from __future__ import annotations

import hmac
import json
import secrets
from importlib.resources import files
from typing import Any

from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

from deploykit_widgets.server import file_types, netron_app

#: A user who may read a file may see its graph.
_RESOURCE = "contents"
#: What the page may do: scripts, links that open a page of their own, and saving a picture. Not: what JupyterLab may.
_SANDBOX = "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads"
#: Netron needs a worker and inline styles; scripts and data come only from this server.
_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    f"{_SANDBOX}"
)
#: Longest name in a message.
_SHOWN = 80


class GraphHandler(JupyterHandler):
    """Sends users who may read files to the page."""

    auth_resource = _RESOURCE

    def initialize(self, key: str) -> None:
        """Take the part of the page's address that is not known otherwise."""
        self._key = key

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Redirect."""
        self.check_xsrf_cookie()  # as for files: requests come from pages of this server
        query = f"?{self.request.query}" if self.request.query else ""
        self.redirect(f"{url_path_join(self.base_url, 'deploykit/netron', self._key)}/{query}")


class GraphFileHandler(JupyterHandler):
    """Serves the files of the patched Netron to its page."""

    def initialize(self, key: str) -> None:
        """Take the part of the address that is not known otherwise."""
        self._key = key

    @property
    def content_security_policy(self) -> str:
        """The server's own policy, which says who may embed the page, plus ours."""
        return f"{super().content_security_policy}; {_POLICY}"

    def set_default_headers(self) -> None:
        """Let the page read its own files, whose origin is not its own, and let no link pass on its address."""
        super().set_default_headers()
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Referrer-Policy", "no-referrer")

    def check_xsrf_cookie(self) -> None:
        """Nothing here is done in a user's name."""

    @allow_unauthenticated
    async def get(self, key: str, name: str) -> None:
        """Serve one file."""
        if not hmac.compare_digest(key, self._key):
            self._say(404, "The Jupyter server has been restarted since this graph was opened. Open it again.")
            return
        try:
            found = netron_app.read(name)
        except netron_app.NetronChangedError as error:
            self.log.error("deploykit cannot show graphs: %s", error)
            self._say(503, f"deploykit cannot show graphs with this version of Netron.\n\n{error}")
            return
        if found is None:
            shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}… ({len(name):,} characters)"
            self._say(404, f"Netron does not have a file named {shown}.")
            return
        content, kind = found
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", "no-cache")  # kept, but asked for again: see the ETag
        self.finish(content)

    def _say(self, status: int, message: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{message}\n")


class TemplateHandler(APIHandler):
    """Serves the notebook that "Optimize with deploykit" starts from."""

    auth_resource = _RESOURCE

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Serve the notebook as JSON."""
        self.check_xsrf_cookie()  # as for files: requests come from pages of this server
        self.finish(json.dumps(template()))


def template() -> Any:
    """The notebook as shipped; the caller fills its cell tagged ``parameters``."""
    return json.loads(files("deploykit_widgets.server").joinpath("templates/optimize.ipynb").read_text("utf-8"))


def _load_jupyter_server_extension(server: Any) -> None:
    """Add the handlers to a running server, below its base URL, and what its pages know of models."""
    server.web_app.settings.setdefault("page_config_data", {})[file_types.OPTION] = file_types.page_option()
    root = url_path_join(server.web_app.settings["base_url"], "deploykit")
    key = {"key": secrets.token_hex(16)}
    server.web_app.add_handlers(
        ".*$",
        [
            (url_path_join(root, r"netron/"), GraphHandler, key),
            (url_path_join(root, r"netron/([0-9a-f]+)/([A-Za-z0-9_.-]*)"), GraphFileHandler, key),
            (url_path_join(root, "template"), TemplateHandler),
        ],
    )
