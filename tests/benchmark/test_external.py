"""Samples made elsewhere: what is accepted, and what each refusal says."""

import dataclasses
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from benchmark.datasets import ImageDataset
from benchmark.errors import UserError
from benchmark.external.samples import choose, choose_name, fit, read_samples

SETTINGS = {
    "preset": "quick",
    "seed": 0,
    "num_samples": 60,
    "metric": {"kid": {"subset_size": 40}, "prdc": {}},
}


def random_images(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), "uint8")


def dataset_of(channels, name):
    images = random_images(20, 28, 28, channels, seed=9)
    labels = np.zeros(20, np.int64)
    return ImageDataset(
        name=name, train_images=images, train_labels=labels, test_images=images,
        test_labels=labels, num_classes=None, fingerprint="0",
    )  # fmt: skip


GREY, COLOR = dataset_of(1, "grey_data"), dataset_of(3, "color_data")


@pytest.fixture
def images():
    return random_images(8, 28, 28, 1)


@pytest.fixture
def save(tmp_path):
    """Writes an npz or npy and returns its path."""

    def save_as(name, array=None, **arrays):
        path = tmp_path / name
        if name.endswith(".npy"):
            np.save(path, array, allow_pickle=array.dtype == object)
        else:
            np.savez(path, *([] if array is None else [array]), **arrays)
        return path

    return save_as


@pytest.fixture
def save_pictures(tmp_path):
    """Writes grey images as files of a folder and returns it."""

    def save_as(images, suffix="png", mode=None, **options):
        folder = tmp_path / "pictures"
        folder.mkdir(exist_ok=True)
        for index, image in enumerate(images):
            picture = Image.fromarray(image.squeeze())
            picture = picture.convert(mode) if mode else picture
            picture.save(folder / f"image_{index}.{suffix}", **options)
        return folder

    return save_as


def read(path):
    return read_samples(str(path), "name")


def refusal(path, dataset=GREY):
    """The one line that says why samples are refused."""
    with pytest.raises(UserError) as caught:
        fit(read(path), dataset)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def mended(message, x):
    """Runs the line of NumPy that a message ends with on `x`."""
    variables = {"np": np, "x": x}
    exec(re.search(r"\bx = .*", message)[0], variables)
    return variables["x"]


def test_arrays_are_taken_as_they_are(save, images):
    renamed = save("b.npz", only=images)
    renamed = renamed.rename(renamed.with_suffix(".NPZ"))
    for path in (save("a.npy", images), save("a.npz", images), renamed):
        np.testing.assert_array_equal(fit(read(path), GREY).images, images)


@pytest.mark.parametrize("name", ["samples", "images", "arr_0"])
def test_of_several_arrays_the_usual_name_is_taken_and_told(save, images, name):
    samples = read(save("a.npz", labels=np.arange(8), **{name: images}))
    np.testing.assert_array_equal(samples.images, images)
    assert samples.stored == f"a.npz, array `{name}`"


@pytest.mark.parametrize("names", [("a", "b"), ("samples", "images")])
def test_a_choice_of_arrays_is_refused(save, images, names):
    message = refusal(save("a.npz", **dict.fromkeys(names, images)))
    assert ", ".join(names) in message


def test_an_npz_without_arrays_is_refused(save):
    assert "Received: none" in refusal(save("a.npz"))


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_a_file_cut_anywhere_is_refused(save, images, name):
    path = save(name, images)
    content = path.read_bytes()
    for length in np.linspace(0, len(content) - 1, 40).astype(int):
        path.write_bytes(content[:length])
        assert re.search("damaged|is not a|must hold", refusal(path))


def test_a_damaged_archive_is_refused(tmp_path, images):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "damaged" in refusal(path)


def test_a_file_of_another_kind_under_the_name_is_refused(save, images):
    path = save("a.npz", images)
    assert "not a .npy file" in refusal(path.rename(path.with_suffix(".npy")))


def test_objects_are_not_loaded(save, images):
    objects = np.array([images, None], dtype=object)
    assert "Python objects" in refusal(save("a.npy", objects))
    assert "Python objects" in refusal(save("a.npz", objects))


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda x: x / np.float32(127.5) - 1, "float32 from -1 to 1"),
        (lambda x: x / 255, "float64 from 0 to 1"),
        (lambda x: x.astype("float16"), "float16 from 0 to 255"),
        (lambda x: x.astype("int64"), "int64 from 0 to 255"),
    ],
)
def test_another_type_is_refused_with_the_line_that_converts(save, images, change, received):
    images[0, 0, :2, 0] = 0, 255
    message = refusal(save("a.npy", change(images)))
    assert received in message
    np.testing.assert_array_equal(mended(message, change(images)), images)


def test_binary_images_are_refused_with_the_line_that_converts(save, images):
    for binary in (images > 127, (images > 127).astype("int8")):
        converted = mended(refusal(save("a.npy", binary)), binary)
        assert converted.dtype == np.uint8
        np.testing.assert_array_equal(converted, 255 * (images > 127))


def test_values_of_no_usual_scale_get_no_line(save, images):
    for unusual in (images.astype("float32") * 9 - 500, images.astype("int16") - 128):
        message = refusal(save("a.npy", unusual))
        assert "not a usual scale" in message and f"from {unusual.min():.4g}" in message


def test_images_with_nan_are_counted(save, images):
    floats = images / 127.5 - 1
    floats[2, 0, 0, 0], floats[5] = np.nan, np.inf
    message = refusal(save("a.npy", floats))
    assert "NaN or infinite in 2 of 8 images" in message and "from -1 to 1" in message
    assert "all NaN or infinite" in refusal(save("a.npy", np.full_like(floats, np.nan)))


def test_what_is_no_number_is_refused(save):
    assert "not a type of pixels" in refusal(save("a.npy", np.array(["a", "b"])))
    assert "not a type of pixels" in refusal(save("a.npy", np.zeros((2, 28, 28, 1), complex)))


def test_no_images_are_refused(save, images):
    assert "none" in refusal(save("a.npy", images[:0]))
    assert "none" in refusal(save("a.npy", np.array(7, np.uint8)))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.transpose(0, 3, 1, 2),
        lambda x: x.reshape(8, -1),
        lambda x: x.reshape(2, 4, 28, 28, 1),
        lambda x: np.repeat(x, 3, axis=-1),
        lambda x: np.repeat(x, 2, axis=-1),
    ],
)
def test_another_shape_is_refused_with_the_line_that_mends_it(save, images, change):
    changed = change(images)
    message = refusal(save("a.npy", changed))
    assert "(N, 28, 28, 1)" in message and str(changed.shape) in message
    np.testing.assert_array_equal(mended(message, changed), images)


def test_another_number_of_channels_is_refused_with_the_line_that_mends_it(save, images):
    colors = random_images(8, 28, 28, 3)
    assert mended(refusal(save("a.npy", colors)), colors).shape == (8, 28, 28, 1)
    assert mended(refusal(save("a.npy", colors)), colors).dtype == np.uint8
    assert mended(refusal(save("a.npy", images), COLOR), images).shape == (8, 28, 28, 3)
    flat = images[..., 0]
    assert mended(refusal(save("a.npy", flat), COLOR), flat).shape == (8, 28, 28, 3)
    alpha = random_images(8, 28, 28, 4)
    assert mended(refusal(save("a.npy", alpha), COLOR), alpha).shape == (8, 28, 28, 3)


@pytest.mark.parametrize(
    ("shape", "dataset"), [((28, 28, 1), GREY), ((28, 28, 3), GREY), ((3, 28, 28), COLOR)]
)
def test_a_single_image_is_refused(save, shape, dataset):
    assert "a single image" in refusal(save("a.npy", random_images(*shape)), dataset)


@pytest.mark.parametrize("shape", [(8,), (2, 2), (8, 28, 28, 7), (1, 2, 3, 4, 5, 6)])
def test_what_is_no_batch_of_images_is_refused(save, shape):
    assert "(N, 28, 28, 1)" in refusal(save("a.npy", random_images(*shape)))


def test_another_size_is_refused_with_two_ways_out(save):
    for shape in ((32, 32, 1), (32, 32)):
        message = refusal(save("a.npy", random_images(8, *shape)))
        assert "resize them to 28x28" in message and "dataset.image_size=32" in message
    for height, width in ((32, 28), (4, 4)):
        message = refusal(save("a.npy", random_images(8, height, width, 1)))
        assert "resize them to 28x28" in message and "dataset.image_size" not in message


def test_grey_images_without_a_channel_are_taken_and_told(save, images):
    samples = fit(read(save("a.npy", images[..., 0])), GREY)
    np.testing.assert_array_equal(samples.images, images)
    assert samples.remarks == ("shape (8, 28, 28): taken as 8 grey images",)


def test_images_that_lost_their_greys_are_refused(save, images):
    message = refusal(save("a.npy", (images / 255).astype("uint8")))
    assert "no pixel is above 1 of 255" in message
    np.testing.assert_array_equal(mended(message, images / 255), images)


def test_repeated_images_are_allowed_with_a_warning(save, images):
    repeated = np.repeat(images[:1], 8, axis=0)
    assert fit(read(save("a.npy", repeated)), GREY).warnings == ("all 8 images are the same",)
    half = np.concatenate([images[:4], images[:4]])
    (warning,) = fit(read(save("a.npy", half)), GREY).warnings
    assert "only 4 of 8 images differ" in warning
    assert not fit(read(save("a.npy", images)), GREY).warnings


def test_exchanged_black_and_white_is_allowed_with_a_warning(save, images):
    dark = dataclasses.replace(GREY, train_images=GREY.train_images // 8)
    (warning,) = fit(read(save("a.npy", 255 - images // 8)), dark).warnings
    assert "255 - x" in warning
    assert not fit(read(save("a.npy", images // 8)), dark).warnings


def test_a_folder_is_read_in_natural_order(save_pictures):
    images = random_images(12, 28, 28, 1)
    samples = fit(read(save_pictures(images)), GREY)
    np.testing.assert_array_equal(samples.images, images)
    assert samples.stored == "pictures/, 12 PNG"
    assert not samples.warnings and not samples.remarks


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "TIFF", "webp", "ppm"])
def test_colours_come_back_from_every_format(save_pictures, suffix):
    images = random_images(3, 28, 28, 3)
    options = {"lossless": True} if suffix == "webp" else {}
    samples = fit(read(save_pictures(images, suffix, **options)), COLOR)
    np.testing.assert_array_equal(samples.images, images)
    assert not samples.warnings


@pytest.mark.parametrize(
    ("suffix", "options", "kind"),
    [("jpg", {}, "JPEG"), ("webp", {}, "WEBP"), ("tif", {"compression": "jpeg"}, "TIFF")],
)
def test_lossy_compression_leaves_a_warning(save_pictures, suffix, options, kind):
    samples = read(save_pictures(random_images(3, 28, 28, 3), suffix, **options))
    assert samples.warnings == (f"3 images are {kind}, whose compression changes the scores",)


def test_other_files_are_passed_over_and_told(save_pictures, images):
    folder = save_pictures(images)
    for name in ("notes.txt", ".hidden.png", ".DS_Store"):
        (folder / name).write_text("")
    (folder / "more").mkdir()
    assert read(folder).remarks == ("skipped: folders: more; files: 1 .txt",)


def test_a_folder_without_images_is_refused_with_what_was_found(tmp_path):
    assert "Found: nothing" in refusal(tmp_path)
    (tmp_path / "0").mkdir()
    (tmp_path / "a.pt").write_text("")
    assert "Found: folders: 0; files: 1 .pt" in refusal(tmp_path)


def test_a_damaged_picture_is_named(save_pictures, images):
    folder = save_pictures(images)
    path = folder / "image_3.png"
    content = path.read_bytes()
    for damage in (b"", b"text", content[:100], content[:-24], content[:60] + b"\0" * 99):
        path.write_bytes(damage)
        assert "image_3.png cannot be read as an image" in refusal(folder)


def test_a_picture_beyond_pillows_limit_is_refused(save_pictures, images, monkeypatch):
    folder = save_pictures(images)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 28 * 28 - 1)
    assert "decompression bomb" in refusal(folder)


def test_a_picture_unlike_the_others_is_named(save_pictures, images):
    folder = save_pictures(images)
    Image.new("L", (300, 200)).save(folder / "all.png")
    message = refusal(folder)
    assert "all.png is 300x200 grey, but 8 of the 9 images are 28x28 grey" in message
    Image.new("RGB", (28, 28)).save(folder / "all.png")
    assert "all.png is 28x28 RGB" in refusal(folder)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("1", "black and white without greys"),
        ("P", "palette"),
        ("LA", "alpha"),
        ("RGBA", "alpha"),
        ("I;16", "more than 8 bits"),
    ],
)
def test_pictures_that_are_not_plain_are_named(save_pictures, images, mode, reason):
    message = refusal(save_pictures(images, mode=mode))
    assert "image_0.png" in message and reason in message


def test_colours_of_16_bits_and_transparency_are_not_dropped_silently(tmp_path):
    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(24)) * 4)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert "more than 8 bits" in refusal(tmp_path)
    path.unlink()
    (tmp_path / "a.ppm").write_bytes(b"P6 4 4 1023\n" + bytes(96))
    assert "more than 8 bits" in refusal(tmp_path)
    (tmp_path / "a.ppm").unlink()
    Image.new("RGB", (4, 4)).save(path, transparency=(1, 2, 3))
    assert "transparent" in refusal(tmp_path)


def test_a_file_of_several_pages_is_refused(save_pictures, images):
    pages = [Image.fromarray(image[..., 0]) for image in images]
    folder = save_pictures(images[:1], "tif", save_all=True, append_images=pages)
    assert "holds 9 images" in refusal(folder)


def test_grey_pictures_stored_as_rgb_are_taken_and_told(save_pictures, images):
    samples = fit(read(save_pictures(images, mode="RGB")), GREY)
    np.testing.assert_array_equal(samples.images, images)
    assert "stored as RGB" in samples.remarks[0]


def test_pictures_of_other_colours_than_the_dataset_are_refused(save_pictures, images):
    folder = save_pictures(images, mode="RGB")
    Image.fromarray(random_images(1, 28, 28, 3)[0]).save(folder / "image_5.png")
    message = refusal(folder)
    assert "image_5.png" in message and "convert('L')" in message
    assert "convert('RGB')" in refusal(save_pictures(images), COLOR)


@pytest.mark.parametrize("name", ["missing.npz", "model.pt", "image.png"])
def test_what_is_no_file_of_samples_is_refused_with_the_kinds(tmp_path, name):
    path = tmp_path / name
    if name != "missing.npz":
        path.write_text("")
    message = refusal(path)
    for kind in (".npz", ".npy", "folder of images", ".png"):
        assert kind in message


def test_too_few_samples_are_refused_with_options_that_do(save):
    samples = fit(read(save("a.npy", random_images(59, 28, 28, 1))), GREY)
    with pytest.raises(UserError, match="59 images.*num_samples=60.*: num_samples=59$"):
        choose(samples, SETTINGS)
    strict = {**SETTINGS, "metric": {"kid": {"subset_size": 60}}}
    with pytest.raises(UserError, match="num_samples=59 metric.kid.subset_size=29$"):
        choose(samples, strict)
    few = dataclasses.replace(samples, images=samples.images[:9])
    with pytest.raises(UserError, match="9 images.*Make more$"):
        choose(few, SETTINGS)


def test_of_too_many_samples_some_are_drawn_and_told(save):
    images = random_images(90, 28, 28, 1)
    samples = fit(read(save("a.npy", images)), GREY)
    drawn = choose(samples, SETTINGS)
    assert drawn.warnings == ("60 of 90 samples, drawn with seed 0",)
    numbers = [
        next(i for i, image in enumerate(images) if (image == taken).all())
        for taken in drawn.images
    ]
    assert len(set(numbers)) == 60
    np.testing.assert_array_equal(choose(samples, SETTINGS).images, drawn.images)
    assert (choose(samples, {**SETTINGS, "seed": 1}).images != drawn.images).any()
    exact = dataclasses.replace(samples, images=images[:60])
    assert choose(exact, SETTINGS) is exact


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a/my_gan.npz", "my_gan"),
        ("my gan (2).npy", "my_gan_2_"),
        ("_.hidden.npz", "hidden"),
        ("v1.5.npz", "v1.5"),
    ],
)
def test_the_name_is_made_of_the_files(source, name):
    assert choose_name(None, source) == name


def test_the_name_is_made_of_the_folders(tmp_path):
    (tmp_path / "run.1").mkdir()
    assert choose_name(None, str(tmp_path / "run.1")) == "run.1"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("noise", "a.npz"),
        (None, "test_images.npz"),
        ("../up", "a.npz"),
        ("a b", "a.npz"),
        ("", "a.npz"),
        ("n" * 65, "a.npz"),
        (None, "样本.npz"),
    ],
)
def test_a_name_that_cannot_stand_in_the_table_is_refused(name, source):
    with pytest.raises(UserError, match="`name` must.*Give name="):
        choose_name(name, source)
