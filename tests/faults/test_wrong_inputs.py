"""Wrong inputs: each gets one line that names what is wrong, before any work starts."""

import gzip
import io
import re
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from benchmark import cli, runner
from benchmark.evaluation import build_evaluator
from benchmark.sampling import build_samplings
from tests.conftest import small

pytestmark = pytest.mark.faults
RUN, EVALUATE = "config", "evaluate"
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 28, 28, 1), dtype="uint8")

# Arguments of `python -m benchmark`, and what the error line must name.
OPTIONS = [
    (["model=nosuch"], "nosuch"),
    (["model="], "model"),
    (["model=[vae,ddpm]"], "model"),
    (["model=ddpm,vae"], "--multirun|model"),
    (["dataset=nosuch"], "nosuch"),
    (["dataset=MNIST"], "MNIST"),
    (["encoder=nosuch"], "nosuch"),
    (["preset=fast"], "fast"),
    (["preset=null"], "Config group override"),
    (["experiment=nosuch"], "nosuch"),
    (["sampler=nosuch"], "nosuch"),
    (["metric=[nosuch]"], "nosuch"),
    (["metric=nosuch"], "nosuch"),
    (["model/schedule=nosuch"], "nosuch"),
    (["model/network=nosuch"], "nosuch"),
    (["sede=1"], "sede.*seed"),
    (["models=vae"], "models.*model"),
    (["trainig.num_steps=1"], "trainig.*training"),
    (["training.steps=1"], "training.steps"),
    (["model.latentdim=2"], "model.latentdim"),
    (["sampling.batchsize=2"], "sampling.batchsize"),
    (["seed"], "expected seed="),
    (["seed="], "seed"),
    (["seed=abc"], "abc"),
    (["seed=1.5"], "1.5"),
    (["seed=-1"], "seed.*not negative"),
    (["seed=4294967296"], r"below 2\*\*32"),
    (["seed=null"], "seed"),
    (["seed=[1,2]"], "seed"),
    (["seed=1e400"], "seed"),
    (["num_samples=0"], "num_samples.*at least 1"),
    (["num_samples=-3"], "num_samples.*at least 1"),
    (["num_samples=many"], "many"),
    (["num_samples=null"], "num_samples"),
    (["num_samples=10"], "subset_size"),
    (["num_reference_images=0"], "num_reference_images.*at least 1"),
    (["num_reference_images=10"], "subset_size"),
    (["device=tpu"], "auto, cpu, gpu"),
    (["device=gpu"], "finds no GPU"),
    (["force=perhaps"], "perhaps"),
    (["results_dir=/dev/null/x"], "results_dir"),
    (["results_dir=/proc/x"], "results_dir"),
    (["cache_dir=/dev/null/x"], "cache_dir"),
    (["results_dir=a=b"], "quotes"),
    (["results_dir={a}"], "results_dir"),
    (["training.num_steps=0"], "training.num_steps.*at least 1"),
    (["training.num_steps=-1"], "training.num_steps.*at least 1"),
    (["training.num_steps=1.5"], "1.5"),
    (["training.num_steps=null"], "num_steps"),
    (["training.batch_size=0"], "training.batch_size.*at least 1"),
    (["training.batch_size=1000000000"], "too large for this machine's memory"),
    (["training.num_checkpoints=0"], "num_checkpoints.*at least 1"),
    (["training.jit=maybe"], "auto, true, false"),
    (["training.precision=float16"], "auto, float32, mixed_bfloat16"),
    (["training.strategy=many"], "none, mirrored"),
    (["training.pictures_every=0"], "pictures_every.*at least 1"),
    (["training.validation.every=0"], "every.*at least 1"),
    (["training.validation.num_samples=1"], "at least 2"),
    (["training.validation.num_samples=nan"], "num_samples"),
    (["training=null"], "training"),
    (["sampling.seeds=0"], "sampling.seeds.*at least 1"),
    (["sampling.batch_size=0"], "sampling.batch_size.*at least 1"),
    (["sampling.checkpoint=first"], "last, best, both"),
    (["sampling.checkpoint=best", "training.validation.every=null"], "validation.every"),
    (["sampling.num_steps=[0]"], "sampling.num_steps.*at least 1"),
    (["sampling.num_steps=5"], "sampling.num_steps|list"),
    (["sampling.jit=2"], "auto, true, false"),
    (["samplers=[]"], "at least one way to sample"),
    (["teacher=somewhere"], "no teacher"),
    (["model=distilled", "teacher=/nowhere"], "/nowhere"),
    (["model=vae", "model.latent_dim=0"], "latent_dim.*at least 1"),
    (["model=vae", "model.latent_dim=two"], "latent_dim"),
    (["model=vae", "model.widths=[]"], "widths"),
    (["model=vae", "model.widths=[0]"], "widths"),
    (["model=vae", "model.widths=[8,8,8,8]"], "divisible"),
    (["model=vae", "model.likelihood=nosuch"], "likelihood"),
    (["model=vae", "model.beta=-1"], "beta.*not negative"),
    (["model=vae", "preset=paper"], "no preset=paper"),
    (["model=vae", "sampler=ddim"], "not for model=vae"),
    (["model=vae", "model.num_classes=7"], "num_classes"),
    (["model=vae", "model.optimizer.learning_rate=-1"], "learning_rate.*not negative"),
    (["model=vae", "model.optimizer.ema_momentum=2"], "ema_momentum"),
    (["model=vae", "model.optimizer._target_=nosuch.Adam"], "nosuch"),
    (["model=vae", "model._target_=nosuch.Model"], "nosuch"),
    (["model=dcgan", "model.widths=[]"], "widths"),
    (["model=dcgan", "model.latent_dim=-1"], "latent_dim"),
    (["model=dcgan", "dataset.image_size=29"], "divisible by"),
    (["model=ddgan", "model.discriminator_widths=[]"], "widths"),
    (["model=ddgan", "model.discriminator_widths=[0]"], "widths.*at least 1"),
    (["model=ddgan", "model.num_steps=0"], "num_steps.*at least 1"),
    (["model=ddgan", "model.r1_interval=0"], "r1_interval"),
    (["model=ddgan", "training.batch_size=6"], "training.batch_size.*multiple"),
    (["model=ddpm", "model.base_width=0"], "base_width"),
    (["model=ddpm", "model.base_width=7"], "base_width|divisible|groups"),
    (["model=ddpm", "model.multipliers=[]"], "multipliers"),
    (["model=ddpm", "model.multipliers=[1,2,2,2,2]"], "28|divisible|multipliers"),
    (["model=ddpm", "model.prediction=nosuch"], "prediction"),
    (["model=ddpm", "model.schedule.num_timesteps=0"], "num_timesteps.*at least 1"),
    (["model=ddpm", "model/schedule=continuous_cosine"], "num_steps"),
    (["model=ddpm", "model.attention_levels=[9]"], "attention_levels"),
    (["sampler=ddim", "sampler.num_steps=0"], "num_steps.*at least 1"),
    (["sampler=ddim", "sampler.num_steps=500"], "1..100"),
    (["sampler=ddim", "sampler.eta=-1"], "eta.*not negative"),
    (["sampler=ddim", "sampler.guidance_scale=2"], "class-conditional"),
    (["sampler=ddpm", "sampler.variance=nosuch"], "variance"),
    (["sampler=ddpm", "sampler.variance=learned"], "learned_variance"),
    (["sampler=euler"], "not for model=ddpm"),
    (["model=flow", "sampler=ddim"], "not for model=flow"),
    (["model=flow", "model.logit_std=-1"], "logit_std"),
    (["model=r3gan", "model.widths=[]"], "widths"),
    (["dataset=image_folder"], "source"),
    (["dataset=image_folder", "dataset.source=/nowhere"], "/nowhere"),
    (["dataset=tfds"], "dataset.name"),
    (["dataset=mnist", "dataset.source=/nowhere"], "/nowhere"),
    (["dataset.image_size=0"], "image_size"),
    (["dataset.image_size=big"], "image_size"),
    (["dataset.image_size=100000"], "image_size"),
    (["encoder.weights=/nowhere.h5"], "/nowhere.h5"),
    (["encoder.image_size=1"], "image_size"),
    (["metric.kid.subset_size=0"], "subset_size.*at least 1"),
    (["metric.kid.num_subsets=0"], "num_subsets.*at least 1"),
    (["metric.prdc.nearest_k=0"], "nearest_k"),
    (["metric.latency.max_batch_size=0"], "max_batch_size.*at least 1"),
    (["metric.kid=null"], "metric"),
]  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def give(monkeypatch, tmp_path, capsys, cache):
    """Gives a command up to where its work would begin; returns its exit code and its errors."""

    def prepare(parts):
        settings = parts.settings
        acceleration = runner.choose_acceleration(settings)
        runner.check_device(settings["device"])
        dataset = parts.load_dataset()
        runner.take_teacher(settings, dataset.name)
        runner.build_model(parts, dataset, acceleration)
        build_samplings(parts)
        build_evaluator(parts, dataset)

    def give_command(kind, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(runner, "run", prepare)
        names = {argument.partition("=")[0] for argument in arguments}
        folders = {"results_dir": tmp_path / "results", "cache_dir": cache}
        more = [f"{key}={path}" for key, path in folders.items() if key not in names]
        monkeypatch.setattr(sys, "argv", ["benchmark", *arguments, *more])
        with pytest.raises(SystemExit) as stopped:
            (cli.main if kind == RUN else cli.main_of_evaluation)()
        return stopped.value.code, capsys.readouterr().err

    return give_command


def check(code, text, expected):
    lines = text.strip().splitlines()
    assert code in (2, 3), text[-2000:]
    assert lines[-1].startswith("error: "), text[-2000:]
    assert "Traceback" not in text
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert re.search(expected, lines[-1]), lines[-1]


@pytest.mark.parametrize(("arguments", "expected"), OPTIONS, ids=lambda value: str(value)[:60])
def test_a_wrong_option_is_one_line(give, arguments, expected):
    narrow = [] if any(text.startswith("model") for text in arguments) else small("ddpm")
    check(*give(RUN, *arguments, *narrow), expected)


def png(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def pictures(folder, content, name="a.png"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder


def bomb():
    """A PNG whose header says that it has 100,000 by 100,000 pixels."""
    content = bytearray(png(Image.new("L", (8, 8))))
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def animated():
    frames = [Image.new("L", (8, 8), level) for level in (0, 128, 255)]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="WEBP", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


WHOLE = png(Image.fromarray(IMAGES[0, :, :, 0]))
FOLDERS = {
    "empty": lambda folder: folder.mkdir(),
    "texts": lambda folder: pictures(folder, b"text", "a.txt"),
    "no image": lambda folder: pictures(folder, b"text"),
    "empty file": lambda folder: pictures(folder, b""),
    "cut": lambda folder: pictures(folder, WHOLE[: len(WHOLE) // 2]),
    "16 bits": lambda folder: pictures(
        folder, png(Image.fromarray(np.full((8, 8), 40_000, "uint16")))
    ),
    "animated": lambda folder: pictures(folder, animated(), "a.webp"),
    "bomb": lambda folder: pictures(folder, bomb()),
    "a folder named as a picture": lambda folder: (folder / "a.png").mkdir(parents=True),
    "a dangling link": lambda folder: (
        folder.mkdir(),
        (folder / "a.png").symlink_to(folder / "gone.png"),
    ),
    "a loop of links": lambda folder: (
        folder.mkdir(),
        (folder / "a.png").symlink_to(folder / "a.png"),
    ),
    "a loop of folders": lambda folder: (
        folder.mkdir(),
        (folder / "deeper").symlink_to(folder),
    ),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_without_usable_pictures_is_one_line(give, tmp_path, kind):
    FOLDERS[kind](tmp_path / "pictures")
    source = f"dataset.source={tmp_path / 'pictures'}"
    code, text = give(RUN, "dataset=image_folder", source, "dataset.image_size=28", *small("ddpm"))
    check(code, text, "pictures")


def idx(array, magic=None):
    kind = 0x00000800 + array.ndim if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", kind, *array.shape) + array.astype("uint8").tobytes()


LABELS = np.arange(60) % 10


def idx_folder(folder, **changed):
    folder.mkdir()
    files = {
        "train-images-idx3-ubyte": idx(IMAGES[..., 0]),
        "train-labels-idx1-ubyte": idx(LABELS),
        "t10k-images-idx3-ubyte": idx(IMAGES[..., 0]),
        "t10k-labels-idx1-ubyte": idx(LABELS),
    }
    files |= {name.replace("_", "-"): content for name, content in changed.items()}
    for name, content in files.items():
        if content is not None:
            (folder / name).write_bytes(content)


IDX = {
    "no labels": {"train_labels_idx1_ubyte": None},
    "wrong magic": {"train_images_idx3_ubyte": idx(IMAGES[..., 0], magic=0x1234)},
    "another type": {"train_images_idx3_ubyte": idx(IMAGES[..., 0], magic=0x0D03)},
    "cut": {"train_images_idx3_ubyte": idx(IMAGES[..., 0])[:-1]},
    "too long": {"train_images_idx3_ubyte": idx(IMAGES[..., 0]) + b"\0"},
    "empty": {"train_images_idx3_ubyte": b""},
    "a header alone": {"train_images_idx3_ubyte": idx(IMAGES[..., 0])[:10]},
    "fewer labels": {"train_labels_idx1_ubyte": idx(LABELS[:-1])},
    "labels out of range": {"train_labels_idx1_ubyte": idx(LABELS + 200)},
    "other sizes": {"t10k_images_idx3_ubyte": idx(IMAGES[:, :20, :20, 0])},
    "no images": {"train_images_idx3_ubyte": idx(IMAGES[:0, ..., 0])},
    "a huge header": {"train_images_idx3_ubyte": struct.pack(">4I", 0x0803, 2**31, 2**15, 2**15)},
    "cut gzip": {
        "train_images_idx3_ubyte": None,
        "train_images_idx3_ubyte.gz": gzip.compress(idx(IMAGES[..., 0]))[:-20],
    },
    "no gzip": {"train_images_idx3_ubyte": None, "train_images_idx3_ubyte.gz": b"text"},
}


@pytest.mark.parametrize("kind", IDX)
def test_damaged_idx_files_are_one_line(give, tmp_path, kind):
    idx_folder(tmp_path / "idx", **IDX[kind])
    code, text = give(RUN, "dataset=mnist", f"dataset.source={tmp_path / 'idx'}", *small("ddpm"))
    check(code, text, "idx")


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


HUGE = b"\x93NUMPY\x01\x00v\x00" + (
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 28, 28, 1), }".ljust(117)
    + b"\n"
)
SAMPLES = {
    "not there": ("s.npz", None),
    "another suffix": ("s.txt", b"text"),
    "a single image": ("s.png", WHOLE),
    "empty": ("s.npy", b""),
    "text": ("s.npy", b"text"),
    "cut": ("s.npy", npy(IMAGES)[:-9]),
    "huge": ("s.npy", HUGE),
    "floats": ("s.npy", npy(IMAGES / 255)),
    "signed floats": ("s.npy", npy(IMAGES / 127.5 - 1)),
    "integers": ("s.npy", npy(IMAGES.astype("int64"))),
    "bools": ("s.npy", npy(IMAGES > 127)),
    "texts": ("s.npy", npy(np.array(["a"]))),
    "objects": ("s.npy", npy(np.array([{}], dtype=object), allow_pickle=True)),
    "NaN": ("s.npy", npy(np.full((60, 28, 28, 1), np.nan))),
    "no samples": ("s.npy", npy(IMAGES[:0])),
    "a number": ("s.npy", npy(np.uint8(3))),
    "another size": ("s.npy", npy(IMAGES[:, :20, :20])),
    "three channels": ("s.npy", npy(IMAGES.repeat(3, axis=-1))),
    "flat": ("s.npy", npy(IMAGES.reshape(60, -1))),
    "too few": ("s.npy", npy(IMAGES[:5])),
    "black": ("s.npy", npy(np.zeros((60, 28, 28, 1), "uint8"))),
    "two arrays": ("s.npz", npz(a=IMAGES, b=IMAGES)),
    "no arrays": ("s.npz", npz()),
    "a cut archive": ("s.npz", npz(samples=IMAGES)[:-300]),
    "no archive": ("s.npz", npy(IMAGES)),
    "a name of a check": ("noise.npy", npy(IMAGES)),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_that_cannot_be_measured_are_one_line(give, tmp_path, kind):
    name, content = SAMPLES[kind]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    fewer = ["num_samples=60", "metric=[fid]"]
    code, text = give(EVALUATE, f"samples={tmp_path / name}", *fewer)
    check(code, text, name.partition(".")[0])


NAMES_OF_ROWS = ("../up", "a/b", "a b", "<b>", "", ".", "-", "x" * 65, "test_images", "é", "a\nb")


@pytest.mark.parametrize("name", NAMES_OF_ROWS)
def test_a_name_that_is_none_is_one_line(give, tmp_path, name):
    (tmp_path / "s.npy").write_bytes(npy(IMAGES))
    quoted = f"name='{name}'" if name.isascii() and "\n" not in name else f'name="{name}"'
    check(*give(EVALUATE, f"samples={tmp_path / 's.npy'}", quoted), "name")


def test_there_are_enough_wrong_inputs():
    assert len(OPTIONS) + len(FOLDERS) + len(IDX) + len(SAMPLES) + len(NAMES_OF_ROWS) >= 120
