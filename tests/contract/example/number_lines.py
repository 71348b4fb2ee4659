"""A protocol on a port of its own as an outsider would write it: a line of numbers for each example, over TCP."""

from __future__ import annotations

import asyncio
import time

from deploykit.serving.faults import Fault, InvalidInputError
from deploykit.serving.wires._contract import PortWire


class NumberLines(PortWire):
    """``MODEL NUMBER…`` in, numbers out."""

    name = "number_lines"
    label = "Lines of numbers"
    help = "The model's name and numbers separated by spaces, one line per example, over TCP."

    async def start(self, service, listener):
        """Answer until the server stops."""

        async def talk(reader, writer):
            while line := await reader.readline():
                began = time.perf_counter()
                try:
                    said = await self._answer(service, line.decode().split())
                    service.answered(time.perf_counter() - began)
                except Fault as fault:
                    said = f"{fault.kind}: {fault.message}"
                    service.refused()
                writer.write(f"{said}\n".encode())
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(talk, sock=listener)

        async def stop():
            server.close()

        return stop

    async def _answer(self, service, words):
        import numpy as np

        name, *numbers = words or [""]
        model = service.model(name)
        spec = model.plane.sole_input()
        try:
            row = np.array([[float(word) for word in numbers]], spec.dtype)
        except ValueError as error:
            raise InvalidInputError(f"Expected numbers: {error}.") from error
        outputs = await model.runner.run(model.plane.batch({spec.name: row}))
        return " ".join(f"{value:g}" for value in next(iter(outputs.values()))[0])


ADAPTER = NumberLines()
