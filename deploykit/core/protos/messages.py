"""Messages and services of the protocols of model servers, and of the text files that these servers are set up with.

They live in a descriptor pool of their own: a process may also hold TensorFlow, which has a ``tensorflow.TensorProto``
in the default pool, or another client's ``inference.ModelInferRequest``, and two definitions of one name in one pool
are an error.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from deploykit.core.errors import DeploykitError
from deploykit.core.files import read_small

_FILE = Path(__file__).with_name("messages.binpb")
#: Most bytes of a file in text format.
_MOST_TEXT_BYTES = 16 << 20


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


def read_text(name: str, file: Path, what: str, error: type[DeploykitError], *, unknown: bool = False) -> Any:
    """A message from a file in protobuf's text format.

    Args:
        name: The message, for example ``tensorflow.serving.ModelServerConfig``.
        file: The file.
        what: What it is read as, for messages: ``"the model configuration"``.
        error: What is raised.
        unknown: Skip fields that the message does not have, where only a part of it is defined here.

    Raises:
        DeploykitError: Of type ``error``: the file cannot be read or is not such a message.
    """
    from google.protobuf import text_format

    data = read_small(file, _MOST_TEXT_BYTES, what, error)
    try:
        text = data.decode()
        return text_format.Parse(text, message(name)(), allow_unknown_field=unknown, descriptor_pool=pool())
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as problem:
        place = " ".join(str(problem).split())
        raise error(  # the words are TensorFlow Serving's
            f"{file}: Error parsing text-format {name}: {place.rstrip('.')}.",
            remedy="write it in protobuf's text format, with the fields of that message.",
        ) from problem
