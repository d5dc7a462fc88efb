"""A folder of pictures: every kind that people have becomes images, and nothing is left out."""

import os

import numpy as np
import pytest
from PIL import Image

from benchmark import config as configuration
from benchmark.cli import RunBuilder
from benchmark.datasets import image_folder
from benchmark.errors import UserError


@pytest.fixture
def load(compose_config, tmp_path):
    """Loads a folder as `python -m benchmark dataset=image_folder` does."""

    def load(folder, *overrides):
        options = [f"dataset.{override}" for override in (f"source={folder}", *overrides)]
        config = compose_config("dataset=image_folder", f"cache_dir={tmp_path}/cache", *options)
        return RunBuilder(configuration.validate(config), []).load_dataset()

    return load


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def save(path, value=0, size=(20, 20), mode="RGB", **options):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new(mode, size, value).save(path, **options)


def save_numbered(folder, count, **options):
    for index in range(count):
        save(folder / f"{index}.png", (index, 100, 200), **options)


def values(images):
    return images[:, 0, 0, 0].tolist()


def refusal(load, *arguments):
    with pytest.raises(UserError) as caught:
        load(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestPictures:
    def test_one_picture_is_enough(self, load, folder):
        generator = np.random.default_rng(0)
        pixels = generator.integers(0, 256, (50, 90, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photo.png")
        dataset = load(folder, "image_size=50")
        np.testing.assert_array_equal(dataset.train_images, pixels[None, :, 20:70])
        np.testing.assert_array_equal(dataset.test_images, dataset.train_images)
        assert dataset.name == "pictures" and dataset.num_classes is None
        assert load(folder).image_shape == (64, 64, 3)

    def test_the_file_of_a_single_picture_is_a_source_too(self, load, folder):
        save_numbered(folder, 3)
        dataset = load(folder / "2.png")
        assert values(dataset.train_images) == values(dataset.test_images) == [2]
        assert dataset.name == "2"
        with pytest.raises(UserError, match="no_picture.png cannot be read as an image"):
            (folder / "no_picture.png").write_bytes(b"")
            load(folder / "no_picture.png")

    def test_any_sizes_become_squares_of_one_size(self, load, folder):
        for index, size in enumerate([(8, 300), (64, 64), (301, 200), (1, 1)]):
            save(folder / f"{index}.png", (index, index, 9), size)
        images = load(folder).train_images
        assert images.shape == (4, 64, 64, 3)
        for index, image in enumerate(images):
            assert (image == (index, index, 9)).all()

    @pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "tif", "tiff", "webp", "ppm"])
    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_every_format_is_read(self, load, folder, suffix, mode):
        save(folder / f"a.{suffix}", "gold" if mode == "RGB" else 80, mode=mode)
        image = load(folder, "image_size=20").train_images[0].astype(int)
        expected = (255, 215, 0) if mode == "RGB" else (80,)
        assert image.shape == (20, 20, len(expected))
        assert np.abs(image - expected).max() <= 3

    def test_grey_pictures_stay_grey_however_they_are_stored(self, load, folder):
        save(folder / "a.png", 7, mode="L")
        save(folder / "b.png", (9, 9, 9))
        save(folder / "c.png", 1, mode="1")
        dataset = load(folder)
        assert values(dataset.train_images) == [7, 9, 255]
        assert dataset.image_shape == (64, 64, 1)
        assert load(folder, "channels=3").train_images[1].tolist() == [[[9, 9, 9]] * 64] * 64

    def test_one_colour_picture_makes_all_rgb_unless_grey_is_asked_for(self, load, folder):
        save(folder / "a.png", 7, mode="L")
        save(folder / "b.png", (255, 0, 0))
        images = load(folder).train_images
        assert images[:, 0, 0].tolist() == [[7, 7, 7], [255, 0, 0]]
        grey = load(folder, "channels=1")
        assert values(grey.train_images) == [7, 76]  # 0.299 of red
        assert grey.image_shape == (64, 64, 1)

    def test_what_is_transparent_is_shown_on_white_and_told(self, load, folder, capsys):
        save(folder / "a.png", (200, 0, 0, 255), mode="RGBA")
        save(folder / "b.png", (200, 0, 0, 0), mode="RGBA")
        save(folder / "c.png", (0, 0, 0, 51), mode="RGBA")
        save(folder / "d.png", (1, 2, 3), transparency=(1, 2, 3))
        images = load(folder).train_images
        assert images[:, 5, 5].tolist() == [[200, 0, 0], [255] * 3, [204] * 3, [255] * 3]
        assert "3 pictures are partly transparent: drawn on white" in capsys.readouterr().out

    def test_palettes_and_colours_for_print_are_converted(self, load, folder):
        picture = Image.new("P", (20, 20), 1)
        picture.putpalette([0, 0, 0, 10, 20, 30])
        picture.save(folder / "a.png")
        save(folder / "b.tif", (255, 0, 0, 0), mode="CMYK")
        images = load(folder).train_images
        assert images[:, 5, 5].tolist() == [[10, 20, 30], [0, 255, 255]]

    def test_a_cameras_rotation_is_honoured(self, load, folder):
        pixels = np.zeros((20, 20, 3), np.uint8)
        pixels[:5] = 255
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the top is shown on the right
        Image.fromarray(pixels).save(folder / "a.png", exif=exif)
        image = load(folder, "image_size=20").train_images[0]
        assert image[:, 15:].min() == 255 and image[:, :15].max() == 0

    def test_a_phones_jpeg_with_variants_is_its_photograph(self, load, folder):
        variant = Image.new("RGB", (20, 20), "black")
        options = {"format": "MPO", "save_all": True, "append_images": [variant]}
        Image.new("RGB", (20, 20), "white").save(folder / "a.jpg", **options)
        assert load(folder).train_images.min() > 250

    def test_crop_size_is_that_of_the_central_square(self, load, folder):
        pixels = np.zeros((60, 80, 3), np.uint8)
        pixels[20:40, 30:50] = 255
        Image.fromarray(pixels).save(folder / "a.png")
        assert load(folder, "crop_size=20").train_images.min() == 255
        assert load(folder, "crop_size=22").train_images.min() < 255

    def test_mirroring_is_left_to_training(self, load, folder):
        save_numbered(folder, 3)
        plain, flipped = load(folder), load(folder, "horizontal_flip=true")
        assert flipped.horizontal_flip and flipped.fingerprint != plain.fingerprint
        np.testing.assert_array_equal(flipped.train_images, plain.train_images)


class TestRandomCrops:
    @pytest.fixture
    def ramps(self, folder):
        """Pictures whose pixels tell their place, and in blue their picture."""
        for number in range(12):
            rows, columns = np.mgrid[:40, : 50 + number]
            pixels = np.stack([rows, columns, np.full_like(rows, number)], axis=-1)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        return folder

    options = ("num_crops=30", "crop_size=16", "image_size=16")

    def test_are_squares_of_the_pictures(self, load, ramps):
        dataset = load(ramps, *self.options)
        assert dataset.train_images.shape == (11 * 30, 16, 16, 3)
        for image in dataset.train_images:
            top, left, _ = image[0, 0]
            rows, columns = np.mgrid[top : top + 16, left : left + 16]
            np.testing.assert_array_equal(image[..., :2], np.stack([rows, columns], axis=-1))
        tops, lefts = dataset.train_images[:, 0, 0, 0], dataset.train_images[:, 0, 0, 1]
        assert tops.min() == 0 and tops.max() == 24 and lefts.max() > 30
        assert len({*zip(tops.tolist(), lefts.tolist(), strict=True)}) > 200

    def test_of_a_held_out_picture_are_not_trained_on(self, load, ramps):
        dataset = load(ramps, *self.options)
        assert set(dataset.test_images[..., 2].ravel()) == {9}
        assert (
            dataset.train_images[:, 0, 0, 2].tolist() == np.repeat([*range(9), 10, 11], 30).tolist()
        )

    def test_are_drawn_once_and_by_their_seed(self, load, ramps):
        first, other = load(ramps, *self.options), load(ramps, *self.options, "crop_seed=1")
        fewer = load(ramps, *self.options, "num_crops=10")
        assert (first.train_images != other.train_images).any()
        assert first.fingerprint != other.fingerprint
        np.testing.assert_array_equal(fewer.train_images[:10], first.train_images[:10])
        np.testing.assert_array_equal(fewer.train_images[10:20], first.train_images[30:40])

    def test_are_scaled_and_may_be_the_whole_picture(self, load, folder):
        save(folder / "a.png", (1, 2, 3), (16, 40))
        dataset = load(folder, "num_crops=5", "crop_size=16", "image_size=24")
        assert dataset.train_images.shape == (5, 24, 24, 3)
        assert (dataset.train_images == (1, 2, 3)).all()

    def test_need_a_side_and_a_number(self, load, folder):
        save_numbered(folder, 1)
        assert "dataset.crop_size=<pixels>" in refusal(load, folder, "num_crops=5")
        for wrong in ("num_crops=0", "num_crops=2.5", "num_crops=some"):
            assert "num_crops" in refusal(load, folder, wrong, "crop_size=16")


class TestSplits:
    def test_every_tenth_picture_is_held_out_in_natural_order(self, load, folder):
        save_numbered(folder, 23)
        dataset = load(folder)
        assert values(dataset.test_images) == [9, 19]
        assert values(dataset.train_images) == [*range(9), *range(10, 19), 20, 21, 22]

    @pytest.mark.parametrize(("count", "num_train", "num_test"), [(9, 9, 9), (10, 9, 1)])
    def test_of_fewer_than_ten_all_are_for_both(self, load, folder, count, num_train, num_test):
        save_numbered(folder, count)
        dataset = load(folder)
        assert (len(dataset.train_images), len(dataset.test_images)) == (num_train, num_test)

    def test_folders_are_classes(self, load, folder):
        for number, (name, count) in enumerate([("cat", 15), ("dog 2", 6), ("dog 10", 9)]):
            for index in range(count):
                save(folder / name / f"{index}.png", (number, 5, 5))
        dataset = load(folder)
        assert dataset.class_names == ("cat", "dog 2", "dog 10") and dataset.num_classes == 3
        assert values(dataset.train_images) == dataset.train_labels.tolist()
        assert values(dataset.test_images) == dataset.test_labels.tolist() == [0, 1, 2]
        assert len(dataset.train_images) == 27

    def test_a_single_folder_is_no_class(self, load, folder):
        save_numbered(folder / "all", 4)
        dataset = load(folder)
        assert len(dataset.train_images) == 4 and dataset.num_classes is None


class TestCaching:
    def test_the_second_load_decodes_nothing(self, load, folder, monkeypatch):
        save_numbered(folder, 5)
        first = load(folder)
        monkeypatch.setattr(image_folder, "_read", None)
        assert load(folder).fingerprint == first.fingerprint

    @pytest.mark.parametrize("change", ["touch", "rename", "add"])
    def test_changed_files_are_decoded_again(self, load, folder, change):
        save_numbered(folder, 5)
        before = load(folder)
        if change == "touch":
            save(folder / "0.png", (77, 100, 200))
            os.utime(folder / "0.png", (1, 1))
        elif change == "rename":
            (folder / "0.png").rename(folder / "9.png")
        else:
            save(folder / "5.png", (5, 100, 200))
        after = load(folder)
        assert after.fingerprint != before.fingerprint
        expected = {"touch": [77, 1, 2, 3, 4], "rename": [1, 2, 3, 4, 0], "add": [*range(6)]}
        assert values(after.train_images) == expected[change]

    @pytest.mark.parametrize(
        ("folder_name", "expected"),
        [
            ("holiday", "holiday"),
            ("My photos (2)", "My-photos-2"),
            ("_Übung", "bung"),
            ("写真", None),
        ],
    )
    def test_the_name_is_made_of_the_folders(self, load, tmp_path, folder_name, expected):
        save_numbered(tmp_path / folder_name, 1)
        source = f"source='{tmp_path / folder_name}'"
        assert load("x", source).name == (expected or "image_folder")
        assert load("x", source, "name=mine").name == "mine"


class TestMistakes:
    def test_all_unusable_pictures_are_listed_together(self, load, folder):
        save_numbered(folder, 4)
        whole = (folder / "0.png").read_bytes()
        (folder / "broken.png").write_bytes(whole[:60])
        (folder / "empty.jpg").write_bytes(b"")
        save(folder / "wide.png", 40_000, mode="I;16")
        save(folder / "pages.tif", save_all=True, append_images=[Image.new("RGB", (20, 20))])
        message = refusal(load, folder)
        assert message.startswith("4 of the 8 pictures in")
        for part in (
            "broken.png cannot be read as an image (",
            "empty.jpg cannot be read as an image (cannot identify",
            "wide.png has more than 8 bits per channel",
            "pages.tif holds 2 images",
        ):
            assert part in message
        assert "0.png" not in message

    def test_of_many_unusable_pictures_ten_are_listed(self, load, folder):
        for index in range(13):
            (folder / f"{index}.png").write_bytes(b"text")
        message = refusal(load, folder)
        assert "9.png cannot" in message and "10.png" not in message and "and 3 more." in message

    def test_pictures_smaller_than_the_crop_are_listed(self, load, folder):
        for index, size in enumerate([(30, 30), (20, 30), (30, 29)]):
            save(folder / f"{index}.png", size=size)
        message = refusal(load, folder, "crop_size=30")
        assert "2 of the 3 pictures" in message and "0.png" not in message
        assert "1.png is 20x30, smaller than dataset.crop_size=30" in message

    def test_a_broken_link_is_told(self, load, folder):
        (folder / "gone.png").symlink_to(folder / "nowhere.png")
        assert "gone.png cannot be read (No such file" in refusal(load, folder)

    def test_a_source_is_needed(self, load, folder, tmp_path):
        assert "needs dataset.source=<folder" in refusal(load, "null")
        assert "There is no folder" in refusal(load, tmp_path / "nowhere")
        (folder / "a.gif").write_bytes(b"")
        message = refusal(load, folder / "a.gif")
        assert "a.gif must be a folder or a picture (.png" in message
        assert "Received: a .gif." in message

    def test_an_empty_folder_is_told_with_what_was_found(self, load, folder):
        (folder / ".hidden.png").write_bytes(b"")
        assert "must hold pictures (.png" in refusal(load, folder)
        assert "Found: nothing" in refusal(load, folder)
        (folder / "a.gif").write_bytes(b"")
        assert "Found: files: 1 .gif" in refusal(load, folder)

    def test_folders_of_folders_are_told_with_a_guess(self, load, folder):
        save_numbered(folder / "test" / "cat", 1)
        save_numbered(folder / "train" / "cat", 1)
        message = refusal(load, folder)
        assert f"folders of folders ({os.path.join('test', 'cat')})" in message
        assert "dataset.source=" in message

    def test_pictures_beside_folders_are_told(self, load, folder):
        save_numbered(folder, 2)
        save_numbered(folder / "more", 2)
        assert "holds 2 pictures beside folders (folders: more)" in refusal(load, folder)

    def test_a_class_without_pictures_is_told(self, load, folder):
        save_numbered(folder / "cat", 2)
        (folder / "dog").mkdir()
        assert "dog must hold pictures" in refusal(load, folder)

    def test_other_files_are_passed_over_and_told(self, load, folder, capsys):
        save_numbered(folder, 2)
        (folder / "notes.txt").write_text("")
        assert len(load(folder).train_images) == 2
        assert "skipped in" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("image_size=null", "dataset.image_size=<pixels>"),
            ("image_size=4", "image_size"),
            ("channels=2", "must be 1, 3 or null. Received: 2"),
            ("horizontal_flip=no", "must be true or false. Received: 'no'"),
            ("name='a/b'", "dataset.name"),
        ],
    )
    def test_wrong_options_are_told(self, load, folder, override, message):
        save_numbered(folder, 1)
        assert message in refusal(load, folder, override)
