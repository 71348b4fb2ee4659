"""Signed artifacts: the server takes what its key has signed, whole and unchanged, and nothing else."""

import base64
import json
import shutil

import pytest

from deploykit.artifacts.artifact import MANIFEST, Artifact
from deploykit.artifacts.signing import SIGNATURE, PublicKey, check_signature, new_key_pair
from deploykit.core.errors import DeploykitError, ExportError, ServeError, SettingError
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.serving._prepare import Preparation
from deploykit.serving._serve import serve
from deploykit.testing.exporters import exportable

model_signing = pytest.importorskip("model_signing")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("signed")


@pytest.fixture(scope="module")
def pair(home):
    return new_key_pair(home / "ours")


@pytest.fixture(scope="module")
def others(home):
    return new_key_pair(home / "theirs")


@pytest.fixture(scope="module")
def signed(home, pair):
    artifact = export(exportable("cnn_onnx", home), home / "artifact")
    artifact.sign(pair[0])
    return artifact.path


@pytest.fixture
def copy(signed, tmp_path):
    return shutil.copytree(signed, tmp_path / "copy")


def checked(folder, public):
    check_signature(folder, PublicKey.read(public), (MANIFEST, Artifact.open(folder).read))


def verifier(public, **ignored):
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[SIGNATURE], **ignored)
    return model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public).set_hashing_config(hashing)


def test_it_is_served_and_verified_and_model_signing_agrees(signed, pair):
    assert verify(signed, require_signature=pair[1])
    with serve(signed, port=0, require_signature=pair[1]) as server:
        assert server.models[0]["versions"][0]["state"] == "AVAILABLE"
    verifier(pair[1], ignore_git_paths=False).verify(signed, signed / SIGNATURE)


def test_what_model_signing_signed_is_checked_here(copy, others):
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=others[0])
    signer.set_hashing_config(hashing).sign(copy, copy / SIGNATURE)
    checked(copy, others[1])


def altered(folder):
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)


def evil(folder):
    (folder / ".git").mkdir()
    (folder / ".git" / "evil").write_text("added")


def linked(folder):
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(folder / "MODEL_CARD.md")


def described(folder):
    """What the manifest says is changed, and no file that it has a digest of."""
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    (folder / MANIFEST).write_text(json.dumps({**manifest, "classes": ["a", "b", "c"]}))


def flipped(folder):
    bundle = json.loads((folder / SIGNATURE).read_text("utf-8"))
    made = bytearray(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    made[-1] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(made).decode()
    (folder / SIGNATURE).write_text(json.dumps(bundle))


def restated(folder):
    """A digest in the statement is changed with the file; the signature stays."""
    altered(folder)
    bundle = json.loads((folder / SIGNATURE).read_text("utf-8"))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"] = []
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    (folder / SIGNATURE).write_text(json.dumps(bundle))


CHANGES = [
    (altered, r"is not as it was signed: model\.onnx has changed since it was signed"),
    (described, r"manifest\.json has changed since it was signed"),
    (evil, r"\.git/evil was not there when it was signed"),
    (linked, r"README\.md is not a regular file"),
    (lambda folder: (folder / "README.md").unlink(), r"README\.md is missing"),
    (lambda folder: (folder / SIGNATURE).unlink(), r"is not signed, and a signature by ours\.pub is required"),
    (lambda folder: (folder / SIGNATURE).write_text("{}"), "is not a signature of model-signing"),
    (lambda folder: (folder / SIGNATURE).write_bytes(b"\xff"), "is not a signature of model-signing"),
    (flipped, "has a signature that was altered"),
    (restated, "has a signature that was altered"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_what_is_not_as_it_was_signed_is_refused(copy, pair, change, message):
    change(copy)
    with pytest.raises(ExportError, match=message):
        checked(copy, pair[1])


def test_neither_verified_nor_served_nor_taken_as_a_new_version(copy, pair, others, tmp_path):
    evil(copy)
    found = verify(copy, require_signature=pair[1])
    assert (found.ok, found.difference) == (False, None)
    with pytest.raises(ExportError, match="evil was not there"):
        serve(copy, port=0, require_signature=pair[1])
    shutil.rmtree(copy / ".git")
    with pytest.raises(ExportError, match=r"another key\. It names the key \w{16}; theirs\.pub is \w{16}"):
        serve(copy, port=0, require_signature=others[1])
    assert "another key" in Preparation(copy, port=0, require_signature=others[1]).check().steps["models"]
    versions = tmp_path / "versions"
    shutil.copytree(copy, versions / "1")
    with serve(versions, port=0, require_signature=pair[1]) as server:
        shutil.copytree(copy, tmp_path / "2")
        (tmp_path / "2" / SIGNATURE).unlink()
        (tmp_path / "2").rename(versions / "2")
        with pytest.raises(DeploykitError, match="is not signed"):
            server.load("versions")
        served = {one["version"]: one["state"] for one in server.models[0]["versions"]}
    assert served == {"1": "AVAILABLE", "2": "END"}


def test_a_model_without_a_manifest_cannot_be_required_to_be_signed(home, pair):
    with pytest.raises(ServeError, match=r"is not an exported artifact, and a signature by ours\.pub is required"):
        serve(exportable("cnn_onnx", home).path, port=0, require_signature=pair[1])


def test_a_statement_that_leaves_files_out_is_refused(copy, pair):
    """A signature by the right key that does not say enough, as model-signing makes it by default."""
    evil(copy)
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=pair[0])
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=True)
    signer.set_hashing_config(hashing).sign(copy, copy / SIGNATURE)
    verifier(pair[1]).verify(copy, copy / SIGNATURE)  # what this is about
    with pytest.raises(ExportError, match=r"signed by ours\.pub, but not as an artifact is: it leaves out \.git"):
        checked(copy, pair[1])


def test_keys_that_are_none(home, signed, pair):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    kinds = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (home / "ed.pub").write_bytes(edwards.public_bytes(*kinds))
    for public, message in (
        (pair[0], r"holds a private key; expected a public key \(PEM\)\. Remedy: give the file that ends in \.pub"),
        (home / "missing.pub", "Cannot read the public key"),
        (home / "ed.pub", "holds a key of the kind .*Ed25519.*; signatures of models take secp256r1"),
        (signed / MANIFEST, "holds something else"),
    ):
        with pytest.raises(SettingError, match=message):
            verify(signed, require_signature=public)
    artifact = Artifact.open(signed)
    open_key = home / "open.key"
    shutil.copy(pair[0], open_key)
    open_key.chmod(0o644)
    with pytest.raises(SettingError, match="Other users may read or write the private key"):
        artifact.sign(open_key)
    shutil.copy(pair[1], open_key)
    with pytest.raises(SettingError, match=r"holds a public key.*Remedy: give the file that ends in \.key"):
        artifact.sign(open_key)
    with pytest.raises(SettingError, match=r"ours\.key is there already"):
        new_key_pair(home / "ours")


def test_a_signed_artifact_can_be_replaced_and_settings_need_a_new_signature(copy, pair, tmp_path, home):
    checked(copy, pair[1])
    artifact = Artifact.open(copy)
    artifact.served_with(artifact.manifest.serving).save()
    checked(copy, pair[1])  # nothing changed
    assert SIGNATURE in artifact.own_files
    export(exportable("cnn_onnx", tmp_path), copy)
    assert not (copy / SIGNATURE).exists()
