"""Models as graphs in JupyterLab, and notebooks made for them, driven in Chromium; nothing from the network."""

import io
import shutil

import nbformat
import pytest
from lab_driver import TOKEN, poll, run_all_cells
from PIL import Image, ImageStat

from deploykit.reporting.views.drawing import MIME_TYPE
from deploykit.testing import models

pytestmark = pytest.mark.browser

FOLDER = "graphs"
KINDS = (
    "cnn_onnx", "cnn_tflite", "cnn_keras", "cnn_h5", "cnn_saved_model", "cnn_pytorch", "script_pytorch",
    "cnn_frozen_pb", "cnn_caffe", "dense_pmml",
)  # fmt: skip
#: File → an operator of its graph, for those that a double click opens.
OPENED = {
    "cnn_onnx.onnx": "Conv", "cnn_tflite.tflite": "Conv2D", "cnn_keras.keras": "Conv2D", "cnn_pytorch.pt2": "conv2d",
    "script_pytorch.pt": "_convolution", "cnn_frozen_pb.pb": "Conv2D", "cnn_caffe.caffemodel": "conv",
}  # fmt: skip


@pytest.fixture(scope="module")
def graphs(lab):
    folder = lab.root / FOLDER
    folder.mkdir()
    for kind in KINDS:
        models.build(kind, folder)
    shutil.copy(lab.root / "hostile.onnx", folder)
    return folder


@pytest.fixture
def page(lab, browser, graphs):
    page, outside = browser
    page.set_viewport_size({"width": 1400, "height": 1000})
    page.goto(f"{lab.url}/lab/tree/{FOLDER}?token={TOKEN}&reset")
    item(page, "cnn_onnx.onnx").wait_for()
    yield page
    assert outside == []


def item(page, name):
    return page.locator(".jp-DirListing-item").filter(has=page.get_by_text(name, exact=True))


def graph(page):
    """The frame of the graph in front."""
    return page.frame_locator(".dk-Graph:visible iframe")


def pick(page, name, *labels):
    """Choose from the context menu of a file or folder."""
    item(page, name).click(button="right")
    for label in labels:
        entry = page.locator(".lm-Menu-item:visible").filter(has=page.get_by_text(label, exact=True))
        entry.last.hover()
        last = entry.last
    last.click()


def node(page, text):
    return graph(page).locator("#canvas .node").filter(has_text=text).first


def test_models_of_every_format_open_as_graphs(page, graphs):
    before = contents(graphs)
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda answer: errors.append(answer.url) if answer.status >= 400 else None)
    for name, layer in OPENED.items():
        item(page, name).dblclick()
        node(page, layer).wait_for()
    for name, layer in (("cnn_h5.h5", "DepthwiseConv2D"), ("cnn_caffe.prototxt", "Convolution")):
        pick(page, name, "Open With", "Graph (deploykit)")
        node(page, layer).wait_for()
    pick(page, "cnn_saved_model", "Open With", "Graph (deploykit)")
    page.locator(".dk-Graph-place:visible").get_by_text(f"{FOLDER}/cnn_saved_model", exact=True).wait_for()
    graph(page).locator("#canvas .node").first.wait_for()
    titles = page.locator("#jp-main-dock-panel .lm-TabBar-tabLabel").all_text_contents()
    assert {*OPENED, "cnn_h5.h5", "cnn_caffe.prototxt", "saved_model.pb"} <= set(titles)
    assert errors == []
    assert graph(page).locator(".message-text").is_hidden()  # no consent, no "please update"
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save-all')")
    assert contents(graphs) == before  # looking changes nothing and copies nothing


def test_what_a_file_can_be_opened_with(page, graphs):
    """Of PMML there is no graph; what lies beside a model does not give one."""
    (graphs / "page.ts").write_text("const a = 1;")
    page.get_by_role("button", name="Refresh the file browser.").click()
    menu = page.locator(".lm-Menu-item:visible")
    optimize, graph_entry = (menu.filter(has_text=text) for text in ("Optimize with deploykit", "Graph (deploykit)"))
    for name, optimized, drawn in (
        ("cnn_caffe.prototxt", 1, 1), ("dense_pmml.pmml", 1, 0), ("cnn_caffe.caffemodel", 0, 1), ("page.ts", 0, 0),
    ):  # fmt: skip
        item(page, name).click(button="right")
        menu.filter(has_text="Open With").last.hover()
        menu.filter(has_text="Editor").first.wait_for()
        assert (name, optimize.count(), graph_entry.count()) == (name, optimized, drawn)
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
    opened = "path => window.jupyterapp.commands.execute('deploykit:open-graph', { path }).then(() => null)"
    page.evaluate(opened, f"{FOLDER}/dense_pmml.pmml")
    page.get_by_text("Netron, which draws the graphs, does not read .pmml files.").wait_for()


def contents(folder):
    """Files of a folder and their bytes."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_graph_names_its_tab_and_stays_beside_what_asked_for_it(page, graphs):
    (graphs / "damaged.onnx").write_bytes(b"\x08\x07\x12\xff\xff")
    opened = """async ([path, title, pair]) => {
        await window.jupyterapp.commands.execute('deploykit:open-graph', { path, title, pair }); }"""
    page.evaluate("() => void window.jupyterapp.shell.closeAll()")
    page.evaluate("() => window.jupyterapp.commands.execute('launcher:create')")
    page.evaluate(opened, [f"{FOLDER}/cnn_tflite.tflite", "original · TFLite", False])
    graph(page).locator("#canvas .node", has_text="float32").first.wait_for()  # types of numbers, and operators
    assert "Conv2D" in graph(page).locator("#canvas").text_content()
    page.evaluate(opened, [f"{FOLDER}/damaged.onnx", "A · damaged", True])
    page.get_by_text("damaged.onnx cannot be shown as a graph").wait_for()
    titles = page.locator("#jp-main-dock-panel .lm-TabBar-tabLabel").all_text_contents()
    assert {"original · TFLite", "A · damaged"} <= set(titles)
    assert page.locator(".jp-Launcher:visible").count() == 1
    assert page.locator(".dk-Graph:visible").count() == 2
    assert (graphs / "cnn_tflite.tflite").is_file()  # a title renames no file
    page.evaluate("() => void window.jupyterapp.shell.closeAll()")


def test_a_folder_that_is_no_saved_model_says_so(page, graphs):
    (graphs / "plain").mkdir(exist_ok=True)
    page.get_by_role("button", name="Refresh the file browser.").click()
    pick(page, "plain", "Open With", "Graph (deploykit)")
    page.locator(".jp-Dialog").get_by_text("The folder does not contain saved_model.pb.").wait_for()
    page.keyboard.press("Enter")


def test_layers_are_linked_both_ways(page, graphs):
    page.evaluate(
        "() => { window.layers = [];"
        " window.addEventListener('deploykit-layer-selected', e => window.layers.push(e.detail)); }"
    )
    for name in ("cnn_onnx.onnx", "cnn_keras.keras"):
        item(page, name).dblclick()
        node(page, "Conv").wait_for()
    node(page, "DepthwiseConv2D").locator(".node-item-type").click()
    poll(page, lambda: page.evaluate("() => window.layers.length"), "the click is reported")
    (told,) = page.evaluate("() => window.layers")
    assert told == {
        "path": f"{FOLDER}/cnn_keras.keras",
        "layer": "depthwise",
        "names": told["names"],
        "operator": "DepthwiseConv2D",
    }
    # As a widget of a notebook asks, which knows the path in the file system.
    detail = {"layer": "conv", "path": str(graphs / "cnn_onnx.onnx")}
    page.evaluate("detail => window.dispatchEvent(new CustomEvent('deploykit-show-layer', { detail }))", detail)
    poll(page, lambda: page.evaluate("() => window.layers.length") == 2, "the layer is selected in the other graph")
    assert page.evaluate("() => window.layers[1].path") == f"{FOLDER}/cnn_onnx.onnx"
    page.locator(".dk-Graph-place:visible", has_text="cnn_onnx.onnx").wait_for()  # it has come to the front
    graph(page).locator("#canvas .node.select").wait_for()
    shown = page.evaluate(
        "() => window.jupyterapp.commands.execute('deploykit:show-layer', { layer: 'nothing', path: 'cnn_onnx.onnx' })"
    )
    assert shown is True
    page.get_by_text("This graph does not have a layer named nothing.").wait_for()


def test_graphs_side_by_side_move_and_zoom_together_unless_told_otherwise(page, graphs):
    opened = """async ([path, mode]) => void await window.jupyterapp.commands.execute('docmanager:open',
        { path, factory: 'Graph (deploykit)', options: { mode } })"""
    for name, mode in (("cnn_onnx.onnx", "tab-after"), ("cnn_keras.keras", "split-right")):
        page.evaluate(opened, [f"{FOLDER}/{name}", mode])
    frames = [page.frame_locator(".dk-Graph:visible iframe >> nth=" + str(at)) for at in (0, 1)]
    for frame in frames:
        frame.locator("#canvas .node").first.wait_for()

    def look(place):
        """Zoom of the graph at a place from the left, and the share of it that the middle of its room is at."""
        frame = frames[place]
        room, drawn = (frame.locator(f"#{name}").bounding_box() for name in ("target", "canvas"))
        _, _, width, _ = map(float, frame.locator("#canvas").get_attribute("viewBox").split())
        return drawn["width"] / width, (room["y"] + room["height"] / 2 - drawn["y"]) / drawn["height"]

    def together():
        (zoom, at), (other_zoom, other_at) = map(look, (0, 1))
        return abs(zoom - other_zoom) < 0.01 and abs(at - other_at) < 0.02

    box = min((g.bounding_box() for g in page.locator(".dk-Graph:visible").all()), key=lambda box: box["x"])
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, 1)  # what is shown to begin with is known
    before = look(0)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    poll(page, lambda: look(0)[0] > before[0] + 0.05 and together(), "both are zoomed")
    page.mouse.wheel(0, 250)
    poll(page, together, "both have moved")

    page.locator(".dk-Graph-link:visible").get_by_role("button", pressed=True).first.click()
    alone = look(1)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    moved = look(0)
    page.mouse.wheel(0, -300)
    poll(page, lambda: look(0)[1] < moved[1] - 0.02, "the first one moves")
    page.wait_for_function(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
    )
    assert look(1) == alone
    page.evaluate("() => window.jupyterapp.commands.execute('application:close-all')")


def test_graphs_follow_the_theme(page):
    item(page, "cnn_onnx.onnx").dblclick()
    node(page, "Conv").wait_for()
    graph(page).locator("body.default").wait_for()  # before, the color is that of the welcome page

    def brightness():
        """Mean brightness of the graph, from 0 to 255; -1 while it is hidden."""
        frame = page.locator(".dk-Graph iframe:visible")
        if not frame.count():
            return -1
        picture = Image.open(io.BytesIO(frame.first.screenshot()))
        return ImageStat.Stat(picture.convert("L")).mean[0]

    assert brightness() > 200
    set_theme(page, "JupyterLab Dark")  # hides the page for a moment
    poll(page, lambda: 0 <= brightness() < 80, "the graph is dark")
    set_theme(page, "JupyterLab Light")
    poll(page, lambda: brightness() > 200, "the graph is light again")


def set_theme(page, name):
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name)


def test_names_of_layers_are_text(page):
    item(page, "hostile.onnx").dblclick()
    node(page, "<img src=x").wait_for()
    assert graph(page).locator('img[src="x"]').count() == 0
    assert page.evaluate("() => window.ran ?? null") is None
    assert inside(page, "window.ran ?? null") is None


def inside(page, expression):
    """The value of an expression in the page of the graph in front, whose own eval Netron takes away."""
    frame = page.locator(".dk-Graph:visible iframe").element_handle().content_frame()
    session = page.context.new_cdp_session(frame)
    return session.send("Runtime.evaluate", {"expression": expression, "returnByValue": True})["result"].get("value")


def test_the_page_of_a_graph_can_do_nothing_in_the_name_of_the_user(page):
    """Netron parses files from anywhere: what such a file made it do must stay in the frame."""
    item(page, "cnn_onnx.onnx").dblclick()
    node(page, "Conv").wait_for()
    caught = "(() => {{ try {{ {} ; return 'done' }} catch (error) {{ return error.name }} }})()"
    assert inside(page, "window.origin") == "null"
    assert inside(page, caught.format("parent.document.title")) == "SecurityError"
    assert inside(page, caught.format("document.cookie")) == "SecurityError"
    # Its port answers like the one of Netron's own requests, for files of the model's folder alone.
    ask = """name => new Promise(done => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = ({ data }) => done(data.reason ?? data.bytes.byteLength);
        parent.postMessage({ source: 'deploykit-graph', type: 'read', name }, location.origin, [port2]);
    })"""
    frame = page.locator(".dk-Graph:visible iframe").element_handle().content_frame()
    session = page.context.new_cdp_session(frame)

    def asked(name):
        given = {"expression": f"({ask})({name!r})", "awaitPromise": True, "returnByValue": True}
        return session.send("Runtime.evaluate", given)["result"]["value"]

    assert asked("cnn_tflite.tflite") > 0
    assert asked("../hostile.onnx") == "../hostile.onnx is not in the folder of the model."
    assert "404" in asked("nothing.data")
    # What it asks the server for itself is asked as a stranger.
    away = "fetch(location.origin + '{}', {{ credentials: 'include' }}).then(a => a.status, e => e.name)"
    url = f"{page.url.partition('/lab')[0].partition('://')[2].partition('/')[2]}/files/{FOLDER}/cnn_onnx.onnx"
    given = {"expression": away.format("/" + url), "awaitPromise": True, "returnByValue": True}
    assert session.send("Runtime.evaluate", given)["result"]["value"] == "TypeError"


def test_a_notebook_is_made_beside_the_model_and_shows_the_workbench(page, graphs):
    pick(page, "cnn_onnx.onnx", "Optimize with deploykit")
    page.locator(".jp-NotebookPanel .dk-Workbench").get_by_text("cnn_onnx.onnx").first.wait_for()
    book = (graphs / "cnn_onnx-optimize.ipynb").read_text("utf-8")
    assert 'model_path: str = \\"cnn_onnx.onnx\\"' in book
    item(page, "cnn_onnx.onnx").dblclick()
    page.locator(".jp-Document:visible").get_by_text("Optimize with deploykit").click()
    poll(page, (graphs / "cnn_onnx-optimize-2.ipynb").exists, "a second notebook has another name")
    shut_down(page)


def test_the_launcher_opens_a_workbench(page, graphs):
    page.locator(".jp-LauncherCard", has_text="deploykit Workbench").click()
    page.locator(".jp-NotebookPanel .dk-Workbench").first.wait_for()
    assert (graphs / "workbench.ipynb").is_file()
    shut_down(page)


_CHART = """
import altair as alt
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.tradeoff import LIGHT

shown(alt.Chart(alt.Data(values=[{"a": 1, "b": 2}])).mark_circle(color=LIGHT[0]).encode(x="a:Q", y="b:Q"))
"""


def test_charts_are_drawn_in_the_theme_and_again_when_a_notebook_is_opened(page, lab):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(_CHART.strip())])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, lab.root / "chart.ipynb")
    run_all_cells(page, lab, "chart.ipynb")
    mark = page.locator(".dk-Chart svg .mark-symbol path")
    poll(page, lambda: mark.count() and mark.get_attribute("fill").lower() == "#0f4c9c", "the chart is drawn")
    set_theme(page, "JupyterLab Dark")
    poll(page, lambda: mark.count() and mark.get_attribute("fill").lower() == "#4596ff", "it takes its dark colors")
    set_theme(page, "JupyterLab Light")
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    shut_down(page)
    page.goto(lab.address("chart.ipynb"))
    mark.wait_for()
    saved = nbformat.read(lab.root / "chart.ipynb", 4).cells[0].outputs[0].data
    assert saved["image/svg+xml"].startswith("<svg")


def test_a_chart_of_somebody_else_asks_for_nothing_and_runs_nothing(page, lab):
    """The page fixture asserts that nothing was asked of other machines."""
    spec = {
        "data": {"values": [{"a": 1}]},
        "transform": [{"calculate": "[].constructor.constructor('window.ran = 1')()", "as": "b"}],
        "layer": [
            {"mark": "circle", "encoding": {"x": {"field": "a", "type": "quantitative"}}},
            {"mark": "image", "encoding": {"url": {"value": "https://example.org/x.png"}}},
            {"data": {"url": "https://example.org/x.csv"}, "mark": "circle"},
        ],
        "usermeta": {"embedOptions": {"ast": False, "patch": "https://example.org/x.json", "loader": {}}},
    }
    picture = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    output = nbformat.v4.new_output("display_data", {MIME_TYPE: spec, "image/svg+xml": picture, "text/plain": ""})
    plain = spec | {"transform": [], "layer": spec["layer"][:1]}
    last = nbformat.v4.new_output("display_data", {MIME_TYPE: plain, "text/plain": "a chart"})
    cells = [nbformat.v4.new_code_cell("", outputs=[o]) for o in (output, last)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), lab.root / "theirs.ipynb")
    page.goto(lab.address("theirs.ipynb"))
    page.locator(".jp-Cell").last.locator(".dk-Chart svg .mark-symbol path").wait_for()
    page.locator(".jp-Cell").first.get_by_text("This chart cannot be shown here.").wait_for()
    page.locator(".jp-Cell").first.locator(".dk-Chart img").wait_for()
    assert page.evaluate("() => window.ran") is None


def shut_down(page):
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
