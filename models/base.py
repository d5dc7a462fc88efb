"""What every generative model and every sampler of the benchmark offers."""

import functools
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

# Of the layers that end a network, whatever the precision of the others.
OUTPUT_DTYPE = "float32"
NUM_INTERPOLATIONS, NUM_INTERPOLATED = 5, 11


@dataclass(frozen=True)
class Illustration:
    """A table of images that shows what a model does.

    Attributes:
        images: uint8 `(rows, columns, height, width, channels)`.
        row_labels: A label for each row, or empty.
        column_labels: A label for each column, or empty.
        x_label: What changes from column to column.
        y_label: What changes from row to row.
    """

    images: np.ndarray
    row_labels: tuple[str, ...] = ()
    column_labels: tuple[str, ...] = ()
    x_label: str = ""
    y_label: str = ""


@dataclass(frozen=True)
class Animation:
    """What some images go through, frame by frame.

    Attributes:
        images: uint8 `(frames, count, height, width, channels)`.
        columns: Number of images in a row; `None` for as many rows as columns, where `count` is a
            square number.
        captions: A line for each frame, or empty.
    """

    images: np.ndarray
    columns: int | None = None
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassPoints:
    """Points in a plane, each of a class: where a model puts images of known classes.

    Attributes:
        points: Float `(N, 2)`.
        classes: int64 `(N,)`.
        x_label: What the first coordinate is.
        y_label: What the second coordinate is.
    """

    points: np.ndarray
    classes: np.ndarray
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Bars:
    """Values side by side, and a threshold that marks the small ones.

    Attributes:
        values: Float `(N,)`, not negative, in the order in which they are shown.
        names: A name for each value.
        threshold: Values below it are marked.
        threshold_label: What it means to lie below the threshold.
        title: What the picture says, in one line.
        x_label: What the names are.
        y_label: What the values are, with their unit.
    """

    values: np.ndarray
    names: tuple[str, ...]
    threshold: float
    threshold_label: str
    title: str
    x_label: str
    y_label: str


class GenerativeModel(keras.Model):
    """A model of images that trains under plain `fit` and hands out samplers.

    Subclasses build their networks in `__init__`, implement `call(images, training)` and
    `compute_loss`, and return their samplers from `build_sampler`. Images enter as uint8; a model
    with `num_classes` is called with pairs `(images, labels)`.

    Attributes:
        num_classes: Number of classes that the model is conditioned on, or `None`.
        batch_multiple: What the size of a training batch must be a multiple of.
        image_jit: Whether XLA compiles the sampling of a single image; `"auto"` leaves it to Keras.
        batch_jit: Whether XLA compiles the sampling of several images at once; likewise.

    Args:
        image_shape: `(height, width, channels)` of the training images.
        seed: Integer that every random number of training descends from.
        optimizer: A `keras.optimizers.Optimizer`; `None` for a model that only samples.
        **kwargs: `name`, as for `keras.Model`.
    """

    num_classes = None
    batch_multiple = 1
    image_jit = batch_jit = "auto"

    def __init__(self, *, image_shape, seed, optimizer=None, **kwargs):
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # The layers' initializers draw their seeds from the global generator.
        keras.utils.set_random_seed(seed)
        if optimizer is not None:
            self.compile(optimizer=optimizer)

    def sampler(self, method=None):
        """Returns a `Sampler` that shares this model's weights and compiles as the model says.

        Args:
            method: How to sample, for models with a choice (see `models.samplers`).
        """
        sampler = self.build_sampler(method)
        sampler.image_jit, sampler.batch_jit = self.image_jit, self.batch_jit
        return sampler

    def build_sampler(self, method=None):
        """Returns a new `Sampler` that shares this model's weights."""
        raise NotImplementedError

    def warnings(self):
        """What a user should know of the chosen options before training starts.

        Returns:
            A tuple of sentences without a full stop; empty by default.
        """
        return ()

    def illustrate(self, images, labels):
        """Pictures of the trained model at work, by file name.

        Args:
            images: uint8 `(N, height, width, channels)`, real images.
            labels: Their classes, int64 `(N,)`.

        Returns:
            `dict[str, Illustration | Animation | ClassPoints | Bars]`; empty by default.
        """
        return {}

    def adapt(self, images):
        """Computes from the training images what the model needs before its first step.

        Called once, before a training that starts from scratch. The results must be weights, so
        that they are saved and loaded with the others. Nothing by default.

        Args:
            images: uint8 `(N, height, width, channels)`, perhaps too many for the memory: slices of
                them are arrays.
        """

    def update_statistics(self):
        """Adapts statistics, such as those of batches, to weights that were put in."""

    def facts(self, images, labels):
        """Numbers about the trained model that no metric measures, by column of the results.

        Args:
            images: uint8 `(N, height, width, channels)`, real images.
            labels: Their classes, int64 `(N,)`.

        Returns:
            `dict[str, float]`; empty by default.
        """
        return {}

    @property
    def network(self):
        """The `keras.Model` that sampling passes through; its parameters are counted."""
        raise NotImplementedError


class Sampler(keras.Model):
    """The whole way from prior noise to images, as one compiled call.

    `sampler((latents, seeds))` gives images in [-1, 1]. Image i depends on the weights, its
    latents and its seeds alone, not on the batch it is in.

    Args:
        network: The `keras.Model` that a network pass runs.
        network_passes: Passes of `network` for each image.
        latent_shape: Shape of the prior noise of one image.
        seed: Integer that the latents and the step noise descend from.
        num_classes: Number of classes that the model is conditioned on, or `None`. Image i is of
            class i modulo `num_classes`.
        **kwargs: `name`, as for `keras.Model`.

    Attributes:
        deterministic: Whether the image is a function of the weights and the latents alone.
        num_steps: Steps on the way from noise to images.
        image_jit: Whether XLA compiles calls on a single image, as for `keras.Model.compile`.
        batch_jit: Whether XLA compiles calls on several images, likewise.
        parts: List of the layers and models whose weights sampling uses; `[network]` by default.
    """

    deterministic = True
    num_steps = 1
    image_jit = batch_jit = "auto"

    def __init__(self, *, network, network_passes, latent_shape, seed, num_classes=None, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.network = network
        self.network_passes = network_passes
        self.latent_shape = tuple(latent_shape)
        self.seed = seed
        self.parts = [network]
        self._program = functools.cache(self._compile)

    def build(self, input_shape=None):
        """Nothing to do: the network is built before the sampler."""

    def call(self, inputs):
        """Maps `(latents, seeds)` to images in [-1, 1]."""
        raise NotImplementedError

    def pass_inputs(self, latents):
        """The inputs of one network pass on `latents`."""
        return latents

    def inputs(self, start, count):
        """The latents and seeds of the images `start` to `start + count - 1`.

        Returns:
            `(latents, seeds)`: float32 `(count, *latent_shape)` and uint32 `(count, 2)`.
        """
        indices = np.arange(start, start + count)
        latents = np.stack([prior_noise(self.seed, index, self.latent_shape) for index in indices])
        seeds = np.stack([np.full(count, self.seed), indices], axis=1).astype("uint32")
        return latents, seeds

    def labels(self, start, count):
        """The classes that the images `start` to `start + count - 1` are asked to show.

        Returns:
            int64 `(count,)`, or `None` where the model is not conditioned on classes.
        """
        return np.arange(start, start + count) % self.num_classes if self.num_classes else None

    def illustrate(self):
        """Pictures of the sampler at work, by file name.

        Returns:
            `dict[str, Illustration | Animation]`: interpolations in latent space, if that is all
            an image depends on.
        """
        return {"interpolation": self.interpolation()} if self.deterministic else {}

    def interpolation(self):
        """Images along the way from one latent to another, a row for each pair of latents."""
        latents, seeds = self.inputs(0, 2 * NUM_INTERPOLATIONS)
        fractions = np.linspace(0.0, 1.0, NUM_INTERPOLATED)
        pairs = zip(latents[::2], latents[1::2], strict=True)
        paths = np.stack([slerp(start, end, fractions) for start, end in pairs])
        images = self.sample(
            paths.reshape(-1, *self.latent_shape), np.repeat(seeds[::2], len(fractions), axis=0)
        )
        return Illustration(
            to_uint8(images).reshape(*paths.shape[:2], *images.shape[1:]),
            column_labels=tuple(f"{fraction:.1f}" for fraction in fractions),
            x_label="fraction of the way from one latent to another",
        )

    def sample(self, latents, seeds):
        """Runs the compiled sampler; the float32 images in [-1, 1] are in host memory."""
        return self._run("call", (latents, seeds), len(latents))

    def single_pass(self, latents):
        """Runs one compiled network pass; the result is in host memory."""
        return self._run("pass_once", latents, len(latents))

    def pass_once(self, latents):
        """One network pass on `latents`, not compiled."""
        return self.network(self.pass_inputs(latents), training=False)

    def _run(self, method, inputs, batch_size):
        jit = self.image_jit if batch_size == 1 else self.batch_jit
        return self._program(method, jit).run(inputs)

    def _compile(self, method, jit):
        # A name of its own: one that counts up would change the order of the graph.
        name = f"{self.name}_{method.strip('_')}"
        return Program(getattr(self, method), self.parts, jit_compile=jit, name=name)


class NetworkSampler(Sampler):
    """Turns vectors of latents into images in one pass of `network([latents, labels?])`."""

    def call(self, inputs):
        """Maps `(latents, seeds)` to images in [-1, 1]: noise -> images."""
        images = self.network(self.network_inputs(*inputs), training=False)
        return ops.clip(images, -1.0, 1.0)  # not all networks end with tanh

    def network_inputs(self, latents, seeds):
        """The latents and, where there are classes, each image's label."""
        if self.num_classes is None:
            return [latents]
        return [latents, ops.cast(seeds[:, 1], "int32") % self.num_classes]

    def pass_inputs(self, latents):
        """The inputs of a pass; with classes, of the first one."""
        return self.network_inputs(latents, ops.zeros((ops.shape(latents)[0], 2), "int32"))


class Program(keras.Model):
    """A function of tensors as a compiled program.

    Args:
        function: From tensors to tensors.
        parts: List of the layers and models whose weights it uses.
        jit_compile: As for `keras.Model.compile`.
        **kwargs: `name`, as for `keras.Model`.
    """

    def __init__(self, function, parts, jit_compile="auto", **kwargs):
        super().__init__(**kwargs)
        self.function = function
        self.parts = parts
        self.built = True  # else JAX's first call would run twice, once without being compiled
        self.compile(jit_compile=jit_compile)

    def call(self, inputs):
        """Calls the function."""
        return self.function(inputs)

    def run(self, inputs):
        """Runs the program on arrays; the result is in host memory."""
        return np.asarray(self.predict_on_batch(inputs))


def prior_noise(seed, index, shape):
    """Standard normal noise of image `index`, from a counter-based generator (Philox)."""
    generator = np.random.Generator(np.random.Philox(key=[seed, index]))
    return generator.standard_normal(shape, dtype="float32")


def slerp(start, end, fractions):
    """Spherical interpolation (Shoemake 1985), which keeps the length of Gaussian latents.

    Args:
        start: Array of any shape.
        end: Array of the same shape.
        fractions: `(K,)`, 0 at `start` and 1 at `end`.

    Returns:
        float32 `(K, *start.shape)`.
    """
    cosine = np.vdot(start, end) / (np.linalg.norm(start) * np.linalg.norm(end))
    angle = np.arccos(np.clip(cosine, -1.0 + 1e-6, 1.0 - 1e-6))
    fractions = np.reshape(fractions, (-1,) + (1,) * np.ndim(start))
    path = np.sin((1.0 - fractions) * angle) * start + np.sin(fractions * angle) * end
    return (path / np.sin(angle)).astype("float32")


def to_float(images):
    """Maps uint8 images 0..255 to float32 in [-1, 1], on the device."""
    return ops.cast(images, "float32") / 127.5 - 1.0


def to_uint8(images):
    """Maps float images in [-1, 1] to uint8 0..255, rounded to the nearest, on the host."""
    return np.clip(np.rint((np.asarray(images) + 1.0) * 127.5), 0, 255).astype("uint8")


def count_steps():
    """The weight of a model that counts its steps: a run that goes on knows how far it was."""
    return keras.Variable(
        0, dtype="int32", trainable=False, aggregation="only_first_replica", name="steps_done"
    )
