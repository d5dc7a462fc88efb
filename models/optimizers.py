"""Adam with a moving average of the weights that warms up."""

import keras
from keras import ops


class AveragedAdam(keras.optimizers.Adam):
    """Adam that averages the weights with a momentum of min(`ema_momentum`, (1 + n) / (10 + n)).

    n counts the steps. Without the warm-up the average of a short run is dominated by the
    untrained weights (the rule is that of TensorFlow's `ExponentialMovingAverage`). `fit` puts
    the averages into the weights when it ends.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`.
        ema_momentum: Final momentum, in [0, 1].
        **kwargs: Other options of `keras.optimizers.Adam`.
    """

    def __init__(self, learning_rate=1e-3, ema_momentum=0.999, **kwargs):
        super().__init__(learning_rate, use_ema=True, ema_momentum=ema_momentum, **kwargs)

    @property
    def ema_momentum(self):
        steps = ops.cast(self.iterations, "float32")
        return ops.minimum(self._final_ema_momentum, (1.0 + steps) / (10.0 + steps))

    @ema_momentum.setter
    def ema_momentum(self, value):
        self._final_ema_momentum = value
