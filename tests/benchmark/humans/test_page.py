import http.client
import json
import shutil
import threading

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmark.errors import EnvironmentProblem, UserError
from benchmark.humans import __main__ as humans
from benchmark.humans.server import Server
from benchmark.humans.sitting import Sitting, arrange, choose_samples, rows_of_dataset
from benchmark.stored_results import StoredRow, collect_rows

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
BRIGHT, DARK = 250, 5  # what real images and samples look like here


@pytest.fixture
def results(tmp_path):
    """A results folder with samples of two models."""
    for model, sampler in (("vae", "decoder"), ("dcgan", "generator")):
        run = tmp_path / "runs" / "mnist" / model / "0123456789abcdef"
        samples = run / "samplers" / sampler
        measured = samples / "measurements" / "0a0a"
        measured.mkdir(parents=True)
        row = {
            "dataset": "mnist", "model": model, "sampler": sampler, "status": "finished", "seed": 0,
            "preset": "smoke", "protocol": "p", "run": "01234567", "num_samples": 30,
        }  # fmt: skip
        (measured / "metrics.json").write_text(json.dumps({"row": row, "numbers": {}}))
        (run / "run.json").write_text("{}")
        dataset = {"_target_": "benchmark.datasets.mnist.load_mnist", "cache_dir": str(tmp_path)}
        config = {"model": {"name": model}, "seed": 0, "dataset": dataset}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        np.save(samples / "samples.npy", np.full((30, 28, 28, 1), DARK, "uint8"))
    return tmp_path


def sitting_of(results, count=8, **options):
    rows = rows_of_dataset(collect_rows(results), results, "")
    samples = choose_samples(rows, results, [])
    real = np.full((100, 28, 28, 1), BRIGHT, "uint8")
    return Sitting(*arrange(samples, real, count, 0, results), results_dir=results, **options)


def judge(sitting):
    """Answers truly, by the brightness of the images."""
    for number, item in enumerate(sitting.items):
        sitting.answer(number, bool(item.image.mean() > 100), 10.0)


class TestSitting:
    def test_half_of_the_images_are_real_and_each_model_has_as_many(self, results):
        sitting = sitting_of(results, count=20)
        kinds = pd.Series([item.samples for item in sitting.items]).value_counts()
        assert len(sitting.items) == 20 and kinds[""] == 10 and set(kinds[kinds < 10]) == {5}
        real = [item.image.mean() > 100 for item in sitting.items]
        assert real == [item.samples == "" for item in sitting.items]
        assert real != sorted(real) and real != sorted(real, reverse=True)

    def test_answers_are_kept_at_once_and_become_columns(self, results):
        sitting = sitting_of(results)
        sitting.answer(0, True, 12.6)
        assert json.loads(sitting.path.read_text())["answers"][0]["milliseconds"] == 13
        sitting.answer(0, True, 1)  # sent twice
        sitting.answer(5, True, 1)  # of an image that was not shown yet
        assert sitting.num_answers == 1
        sitting.record["answers"].clear()
        judge(sitting)
        assert sitting.is_done and [score["rate"] for score in sitting.scores()] == [0, 0]
        rows = collect_rows(results)
        assert rows["human_error"].tolist() == [0, 0]
        assert rows["human_answers"].tolist() == [2, 2]

    def test_models_are_chosen_by_name(self, results):
        rows = rows_of_dataset(collect_rows(results), results, "mnist")
        assert list(choose_samples(rows, results, ["vae"])) == ["vae decoder"]
        assert list(choose_samples(rows, results, ["dcgan/generator"])) == ["dcgan generator"]
        with pytest.raises(UserError, match="dcgan/generator, vae/decoder. Received: model=ddpm"):
            choose_samples(rows, results, ["ddpm"])
        with pytest.raises(UserError, match="one of those with samples.*mnist.*dataset=cifar10"):
            rows_of_dataset(collect_rows(results), results, "cifar10")
        with pytest.raises(UserError, match="of which there are none"):
            rows_of_dataset(pd.DataFrame(), results, "")

    def test_samples_that_are_gone_or_too_few_are_told(self, results):
        with pytest.raises(UserError, match="has 30 stored samples, but 50"):
            sitting_of(results, count=200)
        next(results.rglob("samples.npy")).unlink()
        with pytest.raises(UserError, match="has 0 stored samples"):
            sitting_of(results)

    def test_real_images_are_those_that_the_run_was_tested_on(self, results):
        rows = collect_rows(results)
        images = humans.real_images([StoredRow(results, rows["path"].iloc[0])])
        assert images.shape == (10_000, 28, 28, 1)


@pytest.fixture
def serve():
    """Serves sittings in threads that end with the test."""
    servers = []

    def start(sitting):
        servers.append(Server(sitting))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class TestServer:
    def ask(self, server, method, name, body=None, secret=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
        connection.request(method, f"/{secret or server.secret}/{name}", body)
        reply = connection.getresponse()
        return reply.status, reply.read()

    def test_it_shows_one_image_after_the_other_and_takes_answers(self, results, serve):
        server = serve(sitting_of(results))
        status, page = self.ask(server, "GET", "")
        assert status == 200 and b"Real or generated?" in page
        for number in range(8):
            status, state = self.ask(server, "GET", "state")
            state = json.loads(state)
            assert (state["number"], state["total"]) == (number, 8)
            assert state["image"].startswith("data:image/png;base64,")
            assert state.keys() == {"done", "number", "total", "seconds", "image"}  # no hint
            body = json.dumps({"number": number, "real": True, "milliseconds": 5})
            status, state = self.ask(server, "POST", "answer", body)
        assert json.loads(state)["done"] and len(json.loads(state)["scores"]) == 2

    @pytest.mark.parametrize(
        "body",
        [
            "{}", "no json", "3", '{"number": 0, "real": 1, "milliseconds": 3}',
            '{"number": 0, "real": true, "milliseconds": -1}', "[" * 500,
            '{"number": "x", "real": true, "milliseconds": 1}',
        ],
    )  # fmt: skip
    def test_what_is_no_answer_is_refused(self, results, serve, body):
        server = serve(sitting_of(results))
        assert self.ask(server, "POST", "answer", body)[0] == 400
        assert server.sitting.num_answers == 0

    def test_only_who_knows_the_address_can_answer(self, results, serve):
        server = serve(sitting_of(results))
        body = json.dumps({"number": 0, "real": True, "milliseconds": 5})
        for arguments in (("GET", ""), ("GET", "state"), ("POST", "answer", body)):
            assert self.ask(server, *arguments, secret="guess")[0] == 404
        assert self.ask(server, "POST", "answer", "x" * 5000)[0] == 404
        assert server.sitting.num_answers == 0

    def test_a_port_that_is_taken_is_told(self, results, serve):
        sitting = sitting_of(results)
        server = serve(sitting)
        with pytest.raises(EnvironmentProblem, match="give another one, port=<number>"):
            Server(sitting, server.server_address[1])


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
class TestBrowser:
    @pytest.fixture
    def page(self):
        """A page of a real browser; what its console says is an error of the test."""
        playwright = pytest.importorskip("playwright.sync_api")
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 390, "height": 800})
            page.set_default_timeout(20_000)
            said = []
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            yield page
            browser.close()
            assert said == []

    def test_a_person_answers_with_keys_and_buttons(self, page, results, serve):
        server = serve(sitting_of(results))
        page.goto(server.url)
        page.keyboard.press("Enter")
        for number, item in enumerate(server.sitting.items):
            page.get_by_text(f"Image {number + 1} of 8").wait_for()
            page.locator("#real:enabled").wait_for()
            is_real = item.samples == ""
            if number % 2:
                page.keyboard.press("r" if is_real else "g")
            else:
                page.locator("#real" if is_real else "#generated").click()
        page.get_by_text("Done. Thank you.").wait_for()
        assert page.locator("#scores tr").count() == 2
        assert "0 %" in page.locator("#scores").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert [score["rate"] for score in server.sitting.scores()] == [0, 0]

    def test_an_image_is_hidden_when_its_time_is_over(self, page, results, serve):
        server = serve(sitting_of(results, seconds=0.05))
        page.goto(server.url)
        page.get_by_role("button", name="Begin").click()
        page.wait_for_function("document.getElementById('image').style.visibility == 'hidden'")
        page.keyboard.press("ArrowRight")
        page.get_by_text("Image 2 of 8").wait_for()
        assert server.sitting.record["answers"][0]["said_real"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["count=2"], "`count` must be a whole number from 4"),
        (["count=x"], "`count` must be a whole number"),
        (["seconds=0"], "`seconds` must be from 0.01"),
        (["seconds=soon"], "`seconds` must be from 0.01"),
        (["port=99999"], "`port` must be a whole number"),
        (["results_dir=no/such"], "no results folder 'no/such'"),
        (["vae"], "cannot read the arguments"),
        (["models=vae"], "cannot read the arguments"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        humans.parse(arguments)
