"""What BentoML finds in the folder; `make proof` has BentoML itself build and serve it."""

import yaml

from deploykit.exporters._export import export


def test_the_service_and_what_a_bento_is_built_of(cnn, tmp_path):
    artifact = export(cnn, tmp_path / "out", layout="bentoml", name="Shoes_2.", parameters={"workers": 3})
    build = yaml.safe_load((artifact.path / "bentofile.yaml").read_text("utf-8"))
    module, _, name = build["service"].partition(":")
    code = (artifact.path / f"{module}.py").read_text("utf-8")
    compile(code, module, "exec")
    assert f"class {name}:" in code
    assert '@bentoml.service(name="shoes_2", workers=3)' in code
    present = {path.relative_to(artifact.path).parts[0] for path in artifact.path.rglob("*")}
    assert {part.strip("/") for part in build["include"]} <= present
    (wheel,) = build["python"]["wheels"]
    assert wheel in present
    assert not any(line.startswith("deploykit") for line in build["python"]["packages"])
    assert any(line.startswith("onnxruntime==") for line in build["python"]["packages"])
