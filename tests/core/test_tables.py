from html.parser import HTMLParser

from deploykit.core.model import MAX_LAYERS, Layer, Model, TensorSpec

EVIL = "<img src=x onerror=alert(1)>\"'&"


def model(**changes):
    fields = {
        "path": "/m/net.onnx",
        "format": "onnx",
        "inputs": (TensorSpec("image", (None, 28, 28, 1), "int8", 0.5, -3),),
        "outputs": (TensorSpec("scores", None, "float32"), TensorSpec("loss", (), "float32")),
        "layers": (Layer("conv", "Conv", (None, 26, 26, 8), 1080), Layer("relu", "Relu")),
        "parameter_count": 1080,
        "size_bytes": 12_345,
        "digest": "ab" * 32,
    }
    return Model(**{**fields, **changes})


class Reader(HTMLParser):
    """The text of a page, its tags, and whether each is closed."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.tags, self.open = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(page):
    reader = Reader(page)
    assert reader.open == []
    assert {tag for tag, _ in reader.tags} <= {
        "div", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"
    }  # fmt: skip
    assert all(set(attrs) <= {"style", "class"} for _, attrs in reader.tags)
    return reader.texts


def test_a_model_as_a_card():
    texts = read(model()._repr_html_())
    assert texts[0] == "net.onnx"
    assert "onnx · 1,080 parameters · 12 kB · 2 layers · sha256 abababababab" in texts
    for cells in (
        ["input", "image", "int8 × 0.5, zero -3", "? × 28 × 28 × 1"],
        ["output", "scores", "float32", "output", "loss", "float32", "scalar"],
        ["conv", "Conv", "? × 26 × 26 × 8", "1,080", "relu", "Relu"],
    ):
        at = texts.index(cells[0]) if cells[0] != "output" else texts.index("output")
        assert texts[at : at + len(cells)] == cells


def test_text_from_files_stays_text():
    page = model(
        origin=EVIL,
        format=EVIL,
        inputs=(TensorSpec(EVIL, (1,), EVIL),),
        layers=(Layer(EVIL, EVIL),),
        warnings=(EVIL,),
        digest=EVIL,
    )._repr_html_()
    assert "<img" not in page
    assert read(page).count(EVIL) == 5  # title, input name and type, layer name and type
    assert f"⚠ {EVIL}" in read(page)


def test_warnings_are_shown():
    assert "⚠ NaN in conv" in read(model(warnings=("NaN in conv",))._repr_html_())


def test_long_lists_are_cut_and_counted():
    layers = tuple(Layer(f"layer{i}", "Relu") for i in range(MAX_LAYERS + 5))
    texts = read(model(layers=layers)._repr_html_())
    assert f"205 layers (the first {MAX_LAYERS})" in texts
    assert "layer199" in texts
    assert "layer200" not in texts


def test_colors_come_from_the_theme_with_fallbacks():
    page = model(warnings=("x",))._repr_html_()
    parts = page.split("var(--jp-")[1:]
    assert len(parts) > 10
    assert all("," in part.split(")")[0] for part in parts)
