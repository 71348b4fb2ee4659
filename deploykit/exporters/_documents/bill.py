"""The bill of materials of an artifact: the model, what it was made from, and the packages that run it.

Source: CycloneDX 1.6 (ECMA-424), written by cyclonedx-python-lib.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.core.extras import require
from deploykit.exporters._documents.packages import closure

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component

BILL = "bom.cdx.json"


def bill(manifest: Manifest) -> str:
    """The bill as JSON. The same artifact gives the same text: it holds neither a time nor a random number.

    Packages have the versions installed here, with which the model was run. Those that the artifact's requirements pin
    have the property ``deploykit:pinned``.

    Args:
        manifest: With the digests of all files but this one's.
    """
    require("cyclonedx", "sweep")
    from cyclonedx.model.bom import Bom
    from cyclonedx.output.json import JsonV1Dot6

    model = _model(manifest)
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, repr(sorted(manifest.files.items()))))
    bom.metadata.timestamp = None  # type: ignore[assignment]  # the format has no need of one
    bom.metadata.component = model
    _add_packages(bom, manifest, model)
    text: str = JsonV1Dot6(bom).output_as_string(indent=2)
    return f"{text}\n"


def _model(manifest: Manifest) -> Component:
    from cyclonedx.model.component import Component, ComponentType, Pedigree

    kind = ComponentType.MACHINE_LEARNING_MODEL
    source = Component(
        type=kind,
        name=manifest.source["name"],
        bom_ref="original",
        properties=_properties({"format": manifest.source["format"], "digest": manifest.source["digest"]}),
    )
    single = manifest.files.get(manifest.model)
    inside = {n: d for n, d in manifest.files.items() if n.startswith(f"{manifest.model}/")}
    facts = {
        "format": manifest.format,
        "recipe": str(manifest.recipe),
        "target": str(manifest.target),
        "layout": manifest.layout,
        "file": manifest.model,
    }
    return Component(
        type=kind,
        name=manifest.name,
        bom_ref="model",
        hashes=_hashes(single) if single else [],
        licenses=_licenses(manifest.license),
        pedigree=Pedigree(ancestors=[source]),
        properties=_properties(facts),
        components=[
            Component(type=ComponentType.FILE, name=name, bom_ref=f"file:{name}", hashes=_hashes(digest))
            for name, digest in inside.items()
        ],
    )


def _add_packages(bom: Bom, manifest: Manifest, model: Component) -> None:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pinned = {str(canonicalize_name(Requirement(text).name)) for text in manifest.requirements}
    found = closure(manifest.requirements)
    components = {
        name: Component(
            type=ComponentType.FRAMEWORK if name in pinned else ComponentType.LIBRARY,
            name=name,
            version=package.version or None,
            bom_ref=f"package:{name}",
            # deploykit comes as a wheel in the folder where a layout needs it: no index has that version.
            purl=None if name == "deploykit" else PackageURL("pypi", name=name, version=package.version or None),
            licenses=_licenses(package.license),
            properties=_properties({"pinned": "true"} if name in pinned else {})
            + _properties({} if package.version else {"installed": "false"}),
        )
        for name, package in found.items()
    }
    for name, package in found.items():
        bom.components.add(components[name])
        bom.register_dependency(components[name], [components[need] for need in package.needs if need in components])
    bom.register_dependency(model, [components[name] for name in sorted(pinned)])


def _hashes(digest: str) -> list[Any]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)]


def _licenses(text: str) -> list[Any]:
    from cyclonedx.contrib.license.factories import LicenseFactory

    return [LicenseFactory().make_from_string(text)] if text else []


def _properties(facts: dict[str, str]) -> list[Any]:
    from cyclonedx.model import Property

    return [Property(name=f"deploykit:{name}", value=value) for name, value in facts.items()]
