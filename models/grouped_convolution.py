"""A convolution in groups that is fast on a CPU too."""

import functools

import keras
from keras import layers, ops


class GroupedConv2D(layers.Layer):
    """A 2D convolution of stride 1 in groups of channels (Xie et al. 2017), of the same size.

    TensorFlow on a CPU computes `keras.layers.Conv2D(groups=...)` far more slowly than the
    groups one by one. Elsewhere it is one operation.

    Args:
        kernel_size: Height and width of the kernel.
        group_width: Channels of a group, which divides the channels of the inputs. There are as
            many outputs as inputs.
        use_bias: Whether a bias is added.
        kernel_initializer: A `keras.initializers.Initializer`.
        **kwargs: As for `keras.layers.Layer`.

    Raises:
        ValueError: If `group_width` does not divide the channels.
    """

    def __init__(self, kernel_size, group_width, use_bias, kernel_initializer, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.group_width = group_width
        self.use_bias = use_bias
        self.kernel_initializer = kernel_initializer

    def build(self, input_shape):
        """Makes the kernel, `(height, width, group_width, channels)`, and the bias."""
        channels = input_shape[-1]
        if channels % self.group_width:
            raise ValueError(
                "`group_width` must divide the number of channels. Received: "
                f"group_width={self.group_width}, channels={channels}"
            )
        self.num_groups = channels // self.group_width
        shape = (self.kernel_size, self.kernel_size, self.group_width, channels)
        self.kernel = self.add_weight(
            shape=shape, initializer=self.kernel_initializer, name="kernel"
        )
        if self.use_bias:
            self.bias = self.add_weight(shape=(channels,), initializer="zeros", name="bias")

    def call(self, features):
        """`(batch, height, width, channels)` to the same shape."""
        kernel = ops.convert_to_tensor(self.kernel)
        if not has_gpu():
            parts = zip(
                ops.split(features, self.num_groups, axis=-1),
                ops.split(kernel, self.num_groups, axis=-1),
                strict=True,
            )
            convolved = [ops.conv(part, weights, padding="same") for part, weights in parts]
            features = ops.concatenate(convolved, axis=-1)
        else:
            features = ops.conv(features, kernel, padding="same")
        return features + self.bias if self.use_bias else features


@functools.cache
def has_gpu():
    """Whether the backend computes on a GPU or another accelerator."""
    if keras.backend.backend() == "jax":
        import jax  # Keras's list of devices fails where there are none of a kind

        return jax.default_backend() != "cpu"
    return bool(keras.distribution.list_devices("gpu"))
