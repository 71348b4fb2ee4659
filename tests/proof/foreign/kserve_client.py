"""Asks a server through KServe's SDK: ``kserve_client.py URL MODEL INPUTS``; prints what it says, by protocol.

INPUTS is an ``.npz`` of raw examples by input name.
"""

import asyncio
import importlib.metadata
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

URL, MODEL, INPUTS = sys.argv[1:]


def request(arrays, binary):
    inputs = []
    for name, array in arrays.items():
        types = {"f4": "FP32", "i8": "INT64", "u1": "UINT8"}
        one = InferInput(name, list(array.shape), types[array.dtype.str[1:]])
        one.set_data_from_numpy(array, binary_data=binary)
        inputs.append(one)
    return InferRequest(model_name=MODEL, infer_inputs=inputs)


async def main():
    arrays = dict(np.load(INPUTS))
    second = InferenceRESTClient(RESTConfig(protocol="v2"))
    first = InferenceRESTClient(RESTConfig(protocol="v1"))
    found = {
        "live": await second.is_server_live(URL),
        "ready": await second.is_server_ready(URL),
        "model_ready": await second.is_model_ready(URL, MODEL),
    }
    for form in ("json", "binary"):
        answer = await second.infer(URL, request(arrays, form == "binary"), model_name=MODEL)
        found[form] = {output.name: output.as_numpy().tolist() for output in answer.outputs}
    columns = {"inputs": {name: array.tolist() for name, array in arrays.items()}}
    found["v1"] = await first.infer(URL, columns, model_name=MODEL)
    await first.close()
    await second.close()
    return found


print(json.dumps({**asyncio.run(main()), "version": importlib.metadata.version("kserve")}))
