"""The page of a server in a real browser, and the description of its protocols."""

import json
import shutil

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

import deploykit as dk
from deploykit.core.security.tokens import Tokens
from deploykit.serving._serve import serve

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
ROW = np.random.default_rng(0).integers(0, 255, (8, 8))


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.mark.browser
def test_a_request_is_tried_on_the_page(served, browser, ask):
    server = served("cnn_onnx")
    page = browser.new_page(viewport={"width": 1100, "height": 1000})
    asked, problems = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.goto(server.url)
        page.locator("#models td").first.wait_for()
        assert page.locator("#models td").all_inner_texts()[:4] == [
            server.name, "1", "all that name no version", "onnxruntime, onnx",
        ]  # fmt: skip
        assert json.loads(page.get_by_label("Request").input_value()) == {"instances": [np.zeros((8, 8)).tolist()]}
        page.get_by_label("Request").fill(json.dumps({"instances": [ROW.tolist()]}))
        page.get_by_role("button", name="Predict").click()
        page.locator("#answer pre").wait_for()
        scores = np.array(json.loads(page.locator("#answer pre").inner_text())["predictions"])
        np.testing.assert_allclose(scores, server.predict(ROW[None].astype(np.uint8)), rtol=1e-6)
        bars = page.locator(".bar").all_inner_texts()
        assert float(bars[0].split()[-1]) == pytest.approx(scores.max(), rel=1e-3)
        page.get_by_label("Request").fill('{"instances": "x"}')
        page.get_by_role("button", name="Predict").click()
        page.locator("#answer .problem").wait_for()
        page.locator("#monitor h3").wait_for()
        assert page.locator("#alarms").inner_text() == "No alarms."
        violations = Axe().run(page).response["violations"]
        assert [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in violations] == []
        page.set_viewport_size({"width": 380, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        page.set_viewport_size({"width": 1100, "height": 1000})
    page.wait_for_function("Number(document.getElementById('answered').textContent) > 0")
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []
    assert [p for p in problems if "400" not in p] == []  # the request that was refused
    page.close()


@pytest.mark.browser
def test_a_page_asks_for_a_token(made, browser, tmp_path):
    tokens = Tokens()
    secret = tokens.add("all", scopes=("predict", "metrics"))
    tokens.save(tmp_path / "tokens.json")
    with serve(made("cnn_onnx"), port=0, tokens=tmp_path / "tokens.json") as server:
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_text("This server asks for a token.").wait_for()
        assert server.name not in page.content()
        page.get_by_label("Token").fill(secret)
        page.get_by_role("button", name="Use").click()
        page.locator("#models td").first.wait_for()
        page.get_by_role("button", name="Predict").click()
        page.locator("#answer pre").wait_for()
        page.close()


def test_the_description_names_what_there_is(served, ask):
    for kind in ("cnn_onnx", "two_inputs_onnx"):
        server = served(kind)
        described = ask(server, "GET", "/openapi.json").json
        assert described["openapi"] == "3.1.0"
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                body = None
                if schema := operation.get("requestBody"):
                    assert schema["content"]["application/json"]["schema"]
                    body = {}
                assert ask(server, method.upper(), path, body).status == (200 if body is None else 400)
        (model,) = described["x-models"]
        assert model["name"] == server.name
        assert [i["name"] for i in model["inputs"]] == [i.name for i in server.artifact.manifest.inputs]


def test_the_page_lets_nothing_else_in(served, ask):
    answer = ask(served("cnn_onnx"), "GET", "/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert ask(served("cnn_onnx"), "GET", "/page.js").headers["x-content-type-options"] == "nosniff"
    assert ask(served("cnn_onnx"), "GET", "/page/../x").status == 404


@pytest.mark.browser
def test_versions_come_and_go_on_the_page(made, browser, tmp_path):
    for version in ("1", "2"):
        shutil.copytree(made("cnn_onnx").path, tmp_path / "cnn" / version)
    with serve(tmp_path / "cnn", port=0, versions="all", labels={"stable": 1}, poll_seconds=0) as server:
        server.split("cnn", dk.Split(canary="2", share=0.1))
        page = browser.new_page(viewport={"width": 1100, "height": 1000})
        page.goto(server.url)
        rows = page.locator("#models tr")
        rows.nth(1).wait_for()
        shown = [row.locator("td").all_inner_texts()[:3] for row in rows.all()]
        assert shown == [["cnn", "1, stable", "90%"], ["cnn", "2", "10% (canary)"]]
        page.get_by_label("Model", exact=True).select_option(label="cnn, version 2")
        page.get_by_label("Request", exact=True).fill("mine")
        server.split("cnn", dk.Split(shadow="2", shadow_share=0.5))
        shutil.copytree(made("cnn_onnx").path, tmp_path / "cnn" / "3")
        broken = tmp_path / "cnn" / "4"
        shutil.copytree(made("cnn_onnx").path, broken)
        (broken / "model.onnx").write_bytes(b"no model")
        with pytest.raises(dk.DeploykitError):
            server.load("cnn")
        rows.nth(3).wait_for()
        shown = [row.locator("td").all_inner_texts()[:3] for row in rows.all()]
        assert shown == [
            ["cnn", "1, stable", "those that name it"], ["cnn", "2", "copies of 50% (shadow)"],
            ["cnn", "3", "all that name no version"], ["cnn", "4", "not served"],
        ]  # fmt: skip
        assert "has changed since the export" in rows.nth(3).inner_text()
        assert page.get_by_label("Request", exact=True).input_value() == "mine"
        assert page.get_by_label("Model", exact=True).locator("option:checked").inner_text() == "cnn, version 2"
        page.screenshot(path=tmp_path / "page.png")
        page.close()
