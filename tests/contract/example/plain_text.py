"""A protocol of the server as an outsider would write it: numbers as plain text, a line for each example."""

from __future__ import annotations

from deploykit.serving.faults import InvalidInputError
from deploykit.serving.wires._contract import Endpoint, HTTPWire, Response


class PlainText(HTTPWire):
    """Lines of numbers in, lines of numbers out."""

    name = "plain_text"
    label = "Plain text"
    help = "Numbers separated by spaces, one line per example."
    prefix = "/plain/"

    def endpoint(self, path, service):
        """``/plain/MODEL`` predicts."""
        name = path.removeprefix(self.prefix)
        service.model(name)

        async def predict(body, _headers):
            import numpy as np

            model = service.model(name)
            spec = model.plane.sole_input()
            try:
                rows = np.array([[float(v) for v in line.split()] for line in body.decode().splitlines()], spec.dtype)
            except ValueError as error:
                raise InvalidInputError(f"Expected lines of numbers: {error}.") from error
            outputs = await model.runner.run(model.plane.batch({spec.name: rows}))
            lines = (" ".join(f"{v:g}" for v in row) for row in next(iter(outputs.values())))
            return Response(200, "\n".join(lines).encode(), b"text/plain")

        return Endpoint("POST", predict)

    def example(self, model):
        """Where to predict."""
        return f"/plain/{model}"

    def refusal(self, fault):
        """One line of text, and 422 for what is wrong with it."""
        status = {"invalid": 422, "not_found": 404}.get(fault.kind, 500)
        return Response(status, fault.message.encode(), b"text/plain")


ADAPTER = PlainText()
