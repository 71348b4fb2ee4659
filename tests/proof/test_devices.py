"""Engines for browsers, phones and boards, against the folders of the layouts `edge` and `microcontroller`.

Headers of ONNX Runtime and of LiteRT, and the sources of TensorFlow Lite Micro, come with no package. They are looked
for in ``.venv-proof/headers``, and what needs them is left out where they are not:

* ``onnxruntime``: ``onnxruntime_cxx_api.h`` and what it includes;
* ``litert``: ``litert/c``;
* ``tflite-micro``: ``tensorflow`` and ``signal``, with ``flatbuffers``, ``fixedpoint``, ``internal`` and ``ruy`` of the
  projects that it is built with.
"""

import contextlib
import functools
import http.server
import json
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from deploykit.artifacts.arrays import load_arrays
from deploykit.artifacts.golden import compare
from deploykit.exporters._edge.graph import graph_of
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.testing.exporters import exportable

PROOF = Path(__file__).parents[2] / ".venv-proof"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """The layout `edge` of each kind of model, made once."""
    folder = tmp_path_factory.mktemp("edge")
    return functools.cache(lambda kind: export(exportable(kind, folder), folder / f"out_{kind}", layout="edge"))


@pytest.fixture(scope="module")
def installed(artifacts):
    """The same, with what its own package.json names installed by npm, as its README says."""

    @functools.cache
    def made(kind):
        artifact = artifacts(kind)
        npm(artifact.path)
        return artifact

    return made


def npm(folder, *packages):
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", *packages]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install {', '.join(packages) or 'the runtime'}: {done.stderr.strip()[-200:]}")


def version(folder, package):
    return json.loads((folder / "node_modules" / package / "package.json").read_text())["version"]


def printed(text):
    """Values by output, as the programs print them."""
    lines = (line.partition(": ") for line in text.splitlines() if ": " in line)
    return {name: [float(v) for v in values.split()] for name, _, values in lines}


def answers(artifact, command):
    """What a program prints for all golden examples, as arrays by output."""
    golden = load_arrays(artifact.path / artifact.manifest.golden_outputs)
    inputs = len(load_arrays(artifact.path / artifact.manifest.golden_inputs))
    rows = []
    for number in range(8):
        files = [artifact.path / f"examples/{number}-in{place}.bin" for place in range(inputs)]
        done = subprocess.run([*command, artifact.model_path, *files], capture_output=True, text=True, check=True)
        rows.append(printed(done.stdout))
    found = {n: np.array([row[n] for row in rows], g.dtype).reshape(g.shape) for n, g in golden.items()}
    return golden, found


def check(artifact, command):
    golden, found = answers(artifact, command)
    _, problems = compare(golden, found, artifact.manifest.tolerance)
    assert not problems


@pytest.mark.proves("edge", "engine", by="onnxruntime-web 1.30 in Node")
@pytest.mark.proof("JavaScript of the layout `edge` gives the golden outputs in Node", against="onnxruntime-web")
@pytest.mark.parametrize("kind", ["cnn_onnx", "two_inputs_onnx"])
def test_node(kind, installed, versions):
    artifact = installed(kind)
    check(artifact, ["node", artifact.path / "javascript/run.mjs"])
    versions(**{"onnxruntime-web": version(artifact.path, "onnxruntime-web")})
    assert verify(artifact).ok  # node_modules beside it changes nothing


@pytest.mark.proves("edge", "engine", by="onnxruntime-web 1.30 and LiteRT.js 2.5 in Chromium")
@pytest.mark.proof(
    "The page of the layout `edge` runs the golden examples in a browser",
    against="onnxruntime-web, LiteRT.js, Chromium",
)
@pytest.mark.parametrize("kind", ["cnn_onnx", "two_inputs_onnx", "cnn_tflite"])
def test_page(kind, installed, versions, tmp_path):
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    artifact = installed(kind)
    package = "@litertjs/core" if kind.endswith("tflite") else "onnxruntime-web"
    with served(artifact.path) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{url}/web/")
        status = page.locator("#status.good, #status.bad")
        status.wait_for(timeout=120_000)
        assert status.inner_text() == "All 8 golden examples are answered as by the measured model."
        assert page.locator("#examples tr").count() == 8
        for place, control in enumerate(page.locator("#files input").all()):
            control.set_input_files(artifact.path / f"examples/2-in{place}.bin")
        page.get_by_role("button", name="Run").click()
        shown = page.locator("#examples tr").nth(2).locator("td").nth(1).inner_text()
        page.wait_for_function("document.getElementById('answer').textContent !== ''")
        assert page.locator("#answer").inner_text() == shown
        versions(**{package: version(artifact.path, package), "chromium": browser.version})
        browser.close()
    assert all(request.startswith((url, "blob:", "data:")) for request in asked)  # nothing leaves the machine


@contextlib.contextmanager
def served(folder):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *parts):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def built(artifact, tmp_path, **places):
    """The C++ program, built with CMake."""
    if shutil.which("cmake") is None or shutil.which("g++") is None:
        pytest.skip("cmake or g++ is not installed")
    settings = [f"-D{name}={place}" for name, place in places.items()]
    quiet = {"stdout": subprocess.DEVNULL, "check": True}
    subprocess.run(["cmake", "-S", artifact.path / "cpp", "-B", tmp_path / "build", *settings], **quiet)
    subprocess.run(["cmake", "--build", tmp_path / "build"], **quiet)
    return tmp_path / "build" / "run"


def headers(name, tmp_path):
    """A folder with ``include`` and ``lib``, as a release has them."""
    found = PROOF / "headers" / name
    if not found.is_dir():
        pytest.skip(f"{found.relative_to(PROOF.parent)} does not hold the headers, which come with no package")
    (tmp_path / "lib").mkdir()
    shutil.copytree(found, tmp_path / "include")
    return tmp_path


@pytest.mark.proves("edge", "engine", by="ONNX Runtime 1.31's C++ interface")
@pytest.mark.proof("C++ of the layout `edge` gives the golden outputs", against="ONNX Runtime, g++, CMake")
@pytest.mark.parametrize("kind", ["cnn_onnx", "two_inputs_onnx"])
def test_cpp_onnx(kind, artifacts, versions, tmp_path):
    import onnxruntime

    release = headers("onnxruntime", tmp_path)
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1*"))
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (release / "lib" / name).symlink_to(library)
    program = built(artifacts(kind), tmp_path, ONNXRUNTIME=release)
    check(artifacts(kind), [program])
    versions(onnxruntime=onnxruntime.__version__)


@pytest.mark.proves("edge", "engine", by="LiteRT 2.3's C interface")
@pytest.mark.proof("C++ of the layout `edge` gives the golden outputs of TFLite files", against="LiteRT, g++, CMake")
@pytest.mark.parametrize("kind", ["cnn_tflite", "cnn_int8_tflite"])
def test_cpp_tflite(kind, artifacts, versions, tmp_path):
    import importlib.metadata

    import ai_edge_litert

    release = headers("litert", tmp_path)
    (release / "lib/libLiteRt.so").symlink_to(Path(ai_edge_litert.__file__).parent / "libLiteRt.so")
    program = built(artifacts(kind), tmp_path, LITERT=release)
    check(artifacts(kind), [program])
    versions(**{"ai-edge-litert": importlib.metadata.version("ai-edge-litert")})


@pytest.mark.proves("edge", "engine", by="Kotlin 2.4 on the JVM (preparation alone)")
@pytest.mark.proof("Kotlin of the layout `edge` compiles and prepares the golden examples", against="kotlinc, Java")
def test_kotlin(artifacts, versions, tmp_path):
    if shutil.which("java") is None:
        pytest.skip("Java is not installed (Debian: default-jre-headless)")
    artifact = artifacts("cnn_int8_tflite")
    npm(tmp_path, "kotlin-compiler@2.4.20")
    home = tmp_path / "node_modules/kotlin-compiler"
    (tmp_path / "Main.kt").write_text(
        "import java.io.File\nfun main(files: Array<String>) = files.forEach {\n"
        '    File("$it.prepared").writeBytes(prepare0(File(it).readBytes()))\n}\n'
    )
    sources = [artifact.path / "kotlin/Model.kt", tmp_path / "Main.kt"]
    compiler = ["java", "-jar", home / "lib/kotlin-compiler.jar", "-kotlin-home", home, "-no-reflect"]
    subprocess.run([*compiler, *sources, "-d", tmp_path / "out.jar"], check=True)
    files = [shutil.copy(artifact.path / f"examples/{n}-in0.bin", tmp_path) for n in range(8)]
    jars = f"{tmp_path / 'out.jar'}:{home / 'lib/kotlin-stdlib.jar'}"
    subprocess.run(["java", "-cp", jars, "MainKt", *files], check=True)
    raw = load_arrays(artifact.path / artifact.manifest.golden_inputs)["image"]
    (spec,) = graph_inputs(artifact)
    wanted = np.rint(raw.astype(np.float32) * np.float32(1 / 255) / np.float32(spec[0])) + spec[1]
    for number, file in enumerate(files):
        found = np.frombuffer(Path(f"{file}.prepared").read_bytes(), np.int8)
        np.testing.assert_array_equal(found, np.clip(wanted[number].ravel(), -128, 127))
    versions(**{"kotlin-compiler": "2.4.20"})


def graph_inputs(artifact):
    """Scale and zero point of each input."""
    from ai_edge_litert.interpreter import Interpreter

    return [detail["quantization"] for detail in Interpreter(str(artifact.model_path)).get_input_details()]


@pytest.mark.proves("edge", "schema", by="tree-sitter's grammars of Swift and Kotlin")
@pytest.mark.proof(
    "Swift and Kotlin of the layout `edge` are of the languages' grammar", against="tree-sitter-swift, -kotlin"
)
@pytest.mark.parametrize("kind", ["cnn_onnx", "two_inputs_onnx", "cnn_tflite", "cnn_int8_tflite"])
def test_grammar(kind, artifacts, packages, versions):
    sources = [f for f in artifacts(kind).path.rglob("*") if f.suffix in (".kt", ".swift")]
    assert len(sources) == 4
    run = packages("tree-sitter==0.26.1", "tree-sitter-swift==0.7.4", "tree-sitter-kotlin==1.1.0")
    found = run("grammar.py", *sources)
    assert found["errors"] == {}
    versions(**found["versions"])


@pytest.mark.proves("edge", "engine", by="MicroPython 1.27 (preparation alone)")
@pytest.mark.proof("MicroPython of the layout `edge` prepares the golden examples", against="MicroPython")
def test_micropython(artifacts, versions, tmp_path):
    package = "@micropython/micropython-webassembly-pyscript"
    npm(tmp_path, package)
    artifact = artifacts("cnn_int8_tflite")
    source = (artifact.path / "micropython/model.py").read_text("utf-8")
    raw = load_arrays(artifact.path / artifact.manifest.golden_inputs)["image"]
    calls = f"print([list(prepare0(e)) for e in {raw.reshape(8, -1).tolist()}], CLASSES, real0(0))"
    (tmp_path / "run.mjs").write_text(
        f"import {{ loadMicroPython }} from {json.dumps(package)};\n"
        "const python = await loadMicroPython({ heapsize: 8 << 20, linebuffer: true });\n"
        f"python.runPython({json.dumps(source + calls)});\n"
    )
    done = subprocess.run(["node", "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = eval(f"[{done.stdout.replace(') ', '), ').replace('] (', '], (')}]")
    scale, zero = graph_inputs(artifact)[0]
    wanted = np.clip(np.rint(raw.astype(np.float32) * np.float32(1 / 255) / np.float32(scale)) + zero, -128, 127)
    assert np.abs(np.array(found[0]) - wanted.reshape(8, -1)).max() <= 1
    assert found[1] == ("boot", "coat", "shirt")
    assert found[2] == pytest.approx(0.5)
    versions(micropython=version(tmp_path, package))


@pytest.mark.proves("microcontroller", "engine", by="TensorFlow Lite Micro 2026-10")
@pytest.mark.proof(
    "TensorFlow Lite Micro runs the model, and its arena is the one that is planned", against="tflite-micro"
)
@pytest.mark.parametrize("kind", ["cnn_int8_tflite", "cnn_tflite"])
def test_micro(kind, packages, versions, tmp_path):
    artifact = export(exportable(kind, tmp_path), tmp_path / "out", layout="microcontroller")
    raw = load_arrays(artifact.path / artifact.manifest.golden_inputs)["image"]
    x = (raw.astype(np.float32) * np.float32(1 / 255)).reshape(-1, 8, 8, 1)
    scale, zero = graph_inputs(artifact)[0]
    if scale:
        x = np.clip(np.rint(x / np.float32(scale)) + zero, -128, 127).astype(np.int8)
    np.savez(tmp_path / "in.npz", x=x)
    run = packages("tflite-micro==0.dev20261023182759", dependencies=False)
    found = run("micro.py", artifact.model_path, tmp_path / "in.npz", tmp_path / "out.npz")
    graph = graph_of(artifact.model_path)
    assert found["head"] == graph.planned_bytes
    assert found["total"] <= graph.arena_bytes <= 2 * found["total"]
    y = np.load(tmp_path / "out.npz")["y"].astype(np.float32)
    ((name, golden),) = load_arrays(artifact.path / artifact.manifest.golden_outputs).items()
    real = (y + 128) / 256 if scale else y
    _, problems = compare({name: golden}, {name: real.astype(golden.dtype)}, artifact.manifest.tolerance)
    assert not problems
    versions(**found["versions"])


#: Kernels of the small CNN, and what they share.
KERNELS = (
    "add", "add_common", "conv", "conv_common", "depthwise_conv", "depthwise_conv_common", "fully_connected",
    "fully_connected_common", "kernel_util", "micro_tensor_utils", "reduce", "reduce_common", "softmax",
    "softmax_common",
)  # fmt: skip
MICRO_FOLDERS = (
    "lite/micro", "lite/micro/arena_allocator", "lite/micro/memory_planner", "lite/micro/tflite_bridge", "lite/core/c",
    "lite/core/api", "lite/kernels", "lite/kernels/internal", "lite/kernels/internal/reference",
    "compiler/mlir/lite/core/api", "compiler/mlir/lite/schema",
)  # fmt: skip
NOT_BUILT = ("test", "recording", "mock", "debug_log_stub", "benchmark", "system_setup_")
MICRO_FLAGS = ("-std=c++17", "-O1", "-DTF_LITE_STATIC_MEMORY", "-fno-exceptions", "-fno-rtti")


@pytest.fixture(scope="module")
def micro_objects():
    """TensorFlow Lite Micro with the kernels of the small CNN, compiled for this machine once; takes minutes."""
    sources = PROOF / "headers" / "tflite-micro"
    if not sources.is_dir() or shutil.which("g++") is None:
        pytest.skip(f"{sources.relative_to(PROOF.parent)} does not hold TensorFlow Lite Micro, or g++ is missing")
    built = PROOF / "tflite-micro-objects"
    built.mkdir(exist_ok=True)
    files = [f for folder in MICRO_FOLDERS for f in (sources / "tensorflow" / folder).glob("*.cc")]
    files = [f for f in files if not any(part in f.name for part in NOT_BUILT)]
    files += [sources / f"tensorflow/lite/micro/kernels/{name}.cc" for name in KERNELS]
    objects = []
    for file in filter(Path.is_file, files):
        made = built / f"{file.relative_to(sources).as_posix().replace('/', '_')}.o"
        if not made.exists():
            subprocess.run(["g++", *MICRO_FLAGS, f"-I{sources}", "-c", file, "-o", made], check=True)
        objects.append(made)
    return sources, objects


@pytest.mark.proves("microcontroller", "engine", by="TensorFlow Lite Micro 2026-08, compiled with g++")
@pytest.mark.proof(
    "The sources of the layout `microcontroller` run on this machine, within the arena they reserve",
    against="TensorFlow Lite Micro, g++",
)
@pytest.mark.parametrize("kind", ["cnn_int8_tflite", "cnn_tflite"])
def test_micro_sources(kind, micro_objects, tmp_path):
    sources, objects = micro_objects
    artifact = export(exportable(kind, tmp_path), tmp_path / "out", layout="microcontroller")
    ((name, golden),) = load_arrays(artifact.path / artifact.manifest.golden_outputs).items()
    (raw,) = load_arrays(artifact.path / artifact.manifest.golden_inputs).values()
    (tmp_path / "raw.bin").write_bytes(raw.tobytes())
    (tmp_path / "main.cc").write_text(
        '#include <cstdio>\n#include "main_functions.h"\nint main(int, char** files) {\n'
        '  if (!Setup()) return 1;\n  unsigned char in[64];\n  float out[3];\n  FILE* file = fopen(files[1], "rb");\n'
        "  while (fread(in, 1, 64, file) == 64) {\n    if (!Run(in, out)) return 2;\n"
        '    printf("%.9g %.9g %.9g\\n", out[0], out[1], out[2]);\n  }\n  return 0;\n}\n'
    )
    own = [tmp_path / "main.cc", *(artifact.path / "src").glob("*.cc")]
    places = [f"-I{sources}", f"-I{artifact.path / 'src'}"]
    subprocess.run(["g++", *MICRO_FLAGS, *places, *own, *objects, "-o", tmp_path / "run"], check=True)
    done = subprocess.run([tmp_path / "run", tmp_path / "raw.bin"], capture_output=True, text=True, check=True)
    used, reserved = (int(word) for word in done.stderr.split() if word.isdigit())
    assert used <= reserved == graph_of(artifact.model_path).arena_bytes
    found = np.array([line.split() for line in done.stdout.splitlines()], np.float32)
    _, problems = compare({name: golden}, {name: found}, artifact.manifest.tolerance)
    assert not problems
