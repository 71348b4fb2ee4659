"""Messages and services of the gRPC protocols.

They live in a descriptor pool of their own: a process may also hold TensorFlow, which has a ``tensorflow.TensorProto``
in the default pool, or another client's ``inference.ModelInferRequest``, and two definitions of one name in one pool
are an error.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "_protos" / "messages.binpb"


@cache
def pool() -> Any:
    """All definitions: a ``google.protobuf.descriptor_pool.DescriptorPool``."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool

    found = DescriptorPool()
    for file in FileDescriptorSet.FromString(_FILE.read_bytes()).file:
        found.Add(file)
    return found


@cache
def message(name: str) -> Any:
    """The class of a message, for example ``inference.ModelInferRequest``."""
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(pool().FindMessageTypeByName(name))
