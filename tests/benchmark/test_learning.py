"""Pictures of the training: what they show, and that training and validation do not notice."""

import io
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from tensorflow import make_ndarray

from benchmark import checkpoints, learning, tensorboard, training
from benchmark import config as configuration
from benchmark.checkpoints import Progress
from benchmark.cli import RunBuilder
from benchmark.datasets import ImageDataset
from benchmark.learning import SHARDS, LearningPictures, write_animation
from benchmark.results import Folder, RunFolder
from benchmark.runner import run_folder
from benchmark.tensorboard import EVENTS, EventWriter
from benchmark.training import weights
from benchmark.validation import Validation
from models.base import to_uint8
from models.optimizers import AveragedAdam
from models.samplers import DDIM
from tests.conftest import small

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 28, 28, 1), dtype="uint8")
DATASET = ImageDataset(
    name="random",
    train_images=IMAGES,
    train_labels=np.arange(70) % 10,
    test_images=IMAGES[:30],
    test_labels=np.arange(30) % 10,
    num_classes=10,
    fingerprint="random",
    class_names=tuple("0123456789"),
)
PLAN = {"batch_size": 8, "num_steps": 12, "num_checkpoints": 3}
# One of each way to sample; batch statistics; averages of the weights.
MODELS = ("vae", "dcgan", pytest.param("ddpm", marks=pytest.mark.slow))


class Killed(Exception):
    pass


class PixelEncoder:
    """Features are a coarse grid of pixels."""

    name, label, recipe = "pixels", "pixels", {"encoder": "pixels"}

    def __call__(self, images, progress=None):
        return images[:, ::4, ::4].reshape(len(images), -1) / np.float32(255)


@pytest.fixture
def build(compose_config):
    def build_model(name, *overrides):
        keras.utils.clear_session(free_memory=False)  # as a new process would be
        plan = [f"training.{key}={value}" for key, value in PLAN.items()]
        config = compose_config(f"model={name}", "preset=smoke", *plan, *small(name), *overrides)
        return RunBuilder(configuration.validate(config), []).build_model(IMAGES.shape[1:])

    return build_model


@pytest.fixture
def run_of(tmp_path):
    return lambda name: RunFolder(tmp_path, "random", "model", name)


def method_of(model):
    return DDIM(num_steps=3) if model.name == "ddpm" else None


def pictures_of(model, run, every=1):
    return LearningPictures(model, run=run, method=method_of(model), every=every)


def validation_of(model, cache):
    return Validation(
        model,
        dataset=DATASET,
        headline="fid",
        encoder=PixelEncoder(),
        cache=Folder(cache),
        method=method_of(model),
        every=1,
        num_samples=20,
        batch_size=20,
    )


def train(model, run, **watched):
    return training.train(model, DATASET, run=run, seed=0, **PLAN, **watched)


def shards_of(run):
    """What was kept of each checkpoint, by the file's name."""
    paths = sorted((run.path / SHARDS).iterdir())
    return {path.name: run.read_arrays(f"{SHARDS}/{path.name}") for path in paths}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key], err_msg=key)


@pytest.mark.parametrize("name", MODELS)
def test_pictures_leave_no_trace_in_training_and_validation(build, run_of, tmp_path, name):
    plain, pictured = build(name), build(name)
    expected = train(plain, run_of("plain"), validation=validation_of(plain, tmp_path))
    run = run_of("pictured")
    received = train(
        pictured,
        run,
        validation=validation_of(pictured, tmp_path),
        pictures=pictures_of(pictured, run),
    )
    assert_same(*(checkpoints.state(model, Progress()) for model in (plain, pictured)))
    for key in ("loss", "validation_fid"):
        assert [row[key] for row in received.history] == [row[key] for row in expected.history]
    assert len(shards_of(run)) == 3


def test_tensorboard_gets_the_history_and_samples_of_a_training_that_was_killed(
    build, run_of, monkeypatch
):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model, run = build("vae"), run_of("events")

    def watched(model):
        events = EventWriter(run.path / EVENTS)
        return {"pictures": pictures_of(model, run, every=2), "events": events}

    def kill(monitor, batch, logs=None):
        end(monitor, batch, logs)
        if monitor.step == 9:
            raise Killed

    end = training.TrainingMonitor.on_train_batch_end
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training.TrainingMonitor, "on_train_batch_end", kill)
        train(model, run, **watched(model))
    model = build("vae")
    history = train(model, run, **watched(model)).history

    shown = accumulator.EventAccumulator(str(run.path / EVENTS), size_guidance={"tensors": 0})
    shown.Reload()
    losses = history[0].keys() - {"step", "images_seen", "seconds"}
    assert losses and set(shown.Tags()["tensors"]) == losses | {"samples"}
    for name in losses:
        curve = [(each.step, make_ndarray(each.tensor_proto)) for each in shown.Tensors(name)]
        assert [step for step, _ in curve] == [4, 8, 12]
        np.testing.assert_allclose([value for _, value in curve], [row[name] for row in history])
    pictures = shown.Tensors("samples")
    assert [each.step for each in pictures] == [8, 12]
    _, _, png = make_ndarray(pictures[-1].tensor_proto)
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    last = shards_of(run)["00003.npz"]["images"]
    np.testing.assert_array_equal(pixels[2:58:2, 2:58:2], last[0, :, :, 0])  # the first, doubled


def test_nothing_is_written_for_tensorboard_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda name: None)
    EventWriter(tmp_path / EVENTS).write(1, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("every", "steps"), [(1, [4, 8, 12]), (2, [8, 12]), (5, [12])])
def test_every_so_many_checkpoints_have_a_picture_and_the_last(build, run_of, every, steps):
    model, run = build("vae"), run_of("every")
    train(model, run, pictures=pictures_of(model, run, every))
    shards = shards_of(run)
    assert list(shards) == [f"{step // 4:05d}.npz" for step in steps]
    counts = [(int(each["step"]), int(each["images_seen"])) for each in shards.values()]
    assert counts == [(step, 8 * step) for step in steps]


def test_a_picture_is_of_the_averages_and_always_of_the_same_latents(build, run_of):
    model, run = build("vae"), run_of("averages")
    model.compile(optimizer=AveragedAdam(1e-2))
    train(model, run, pictures=pictures_of(model, run))
    sampler = model.sampler()
    expected = to_uint8(sampler.sample(*sampler.inputs(0, 25)))
    first, _, last = (shard["images"] for shard in shards_of(run).values())
    np.testing.assert_array_equal(last, expected)  # training has ended with the averages
    assert first.shape == last.shape == (25, 28, 28, 1) and (first != last).any()


def test_a_class_conditional_model_shows_its_classes(build, run_of):
    model = build("vae", "model.num_classes=10")
    _, seeds = pictures_of(model, run_of("classes")).inputs
    np.testing.assert_array_equal(seeds[:, 1] % 10, np.arange(25) % 10)


def test_a_killed_training_has_the_same_pictures(build, run_of, monkeypatch):
    whole, killed = run_of("whole"), run_of("killed")
    model = build("vae")
    train(model, whole, pictures=pictures_of(model, whole))

    def kill(monitor, batch, logs=None):
        end(monitor, batch, logs)
        if monitor.step == 9:
            raise Killed

    end = training.TrainingMonitor.on_train_batch_end
    model = build("vae")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training.TrainingMonitor, "on_train_batch_end", kill)
        train(model, killed, pictures=pictures_of(model, killed))
    assert list(shards_of(killed)) == ["00001.npz", "00002.npz"]
    model = build("vae")
    train(model, killed, pictures=pictures_of(model, killed))
    expected, received = shards_of(whole), shards_of(killed)
    assert expected.keys() == received.keys()
    for name in expected:
        assert_same(expected[name], received[name])


class Scripted:
    """A picture or a validation that takes an hour; it keeps the weights that it sees."""

    headline, history_column, encoder = "fid", "validation_fid", PixelEncoder()

    def __init__(self, model, clock, every=1):
        self.model, self.clock, self.every = model, clock, every
        self.seen = []

    def is_due(self, checkpoint, num_checkpoints):
        return checkpoint % self.every == 0

    def take(self, checkpoint, *, step, images_seen):
        self.seen.append(weights(self.model))
        self.clock.now += 3600.0

    def sample(self):
        self.take(0, step=0, images_seen=0)

    def distance(self, images):
        return 1.0

    def rejected_fraction_of(self, images):
        return {}


def test_the_time_of_pictures_is_their_own_and_the_averages_are_shared(build, run_of, monkeypatch):
    model, run, clock = build("vae"), run_of("time"), SimpleNamespace(now=0.0)
    monkeypatch.setattr(training, "working_seconds", lambda: clock.now)
    averaged, original = [], training.averaged_weights
    monkeypatch.setattr(
        training, "averaged_weights", lambda model: averaged.append(1) or original(model)
    )
    validation, pictures = Scripted(model, clock, every=2), Scripted(model, clock)
    history = train(model, run, validation=validation, pictures=pictures).history
    assert [row["seconds"] for row in history] == [0.0, 0.0, 0.0]
    seconds = run.state["stage_seconds"]
    assert (seconds["validation"], seconds["pictures"]) == (3600.0, 3 * 3600.0)
    assert len(averaged) == 3
    assert_same(validation.seen[0], pictures.seen[1])


def test_another_rhythm_of_pictures_finds_the_same_weights(compose_config):
    def key(*overrides):
        settings = configuration.validate(compose_config("model=vae", *overrides))
        return run_folder(settings, DATASET, 1).path

    assert key() == key("training.pictures_every=null") == key("training.pictures_every=7")
    assert key() != key("training.validation.every=7")


def write_shards(run, count, size=28):
    for number in range(1, count + 1):
        arrays = {
            "images": np.full((25, size, size, 1), number, np.uint8),
            "step": np.array(100 * number),
            "images_seen": np.array(6400 * number),
        }
        run.write_arrays(f"{SHARDS}/{number:05d}.npz", arrays)


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn instead of a GIF."""
    calls = []

    def animation(frames, **options):
        calls.append((frames, options))
        return b"GIF89a"

    monkeypatch.setattr(learning.figures, "animation", animation)
    return calls


def test_the_animation_shows_all_pictures_and_rests_on_the_last(run_of):
    run = run_of("drawn")
    write_shards(run, 3)
    write_animation(run)
    gif = Image.open(io.BytesIO((run.path / "learning.gif").read_bytes()))
    durations = []
    for index in range(gif.n_frames):
        gif.seek(index)
        durations.append(gif.info["duration"])
    assert durations == [300, 300, 3000]
    assert gif.width == 5 * 58 + 2 and gif.height > gif.width  # there is a line below the images


def test_each_frame_says_when_it_was_taken(run_of, drawn):
    run = run_of("captions")
    write_shards(run, 2)
    write_animation(run)
    ((_, options),) = drawn
    assert options["captions"] == ["step 100, 6,400 images seen", "step 200, 12,800 images seen"]


def test_of_many_pictures_the_first_the_last_and_some_between_are_shown(run_of, drawn):
    run = run_of("many")
    write_shards(run, 100)
    write_animation(run)
    ((frames, _),) = drawn
    numbers = frames[:, 0, 0, 0, 0].tolist()
    assert len(numbers) == len(set(numbers)) == learning.MOST_FRAMES
    assert (numbers[0], numbers[-1]) == (1, 100) and set(np.diff(numbers)) == {2, 3}


@pytest.mark.parametrize(("size", "scale"), [(32, 2), (64, 1)])
def test_large_images_are_not_enlarged(run_of, drawn, size, scale):
    run = run_of("large")
    write_shards(run, 1, size)
    write_animation(run)
    ((_, options),) = drawn
    assert options["scale"] == scale


def test_without_pictures_there_is_no_animation(run_of):
    write_animation(run_of("none"))
    assert not run_of("none").has("learning.gif")
