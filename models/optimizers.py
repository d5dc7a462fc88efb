"""Adam with a moving average of the weights that warms up."""

import keras
from keras import ops


class AveragedAdam(keras.optimizers.Adam):
    """Adam that averages the weights with a momentum of min(`ema_momentum`, (1 + n) / (10 + n)).

    n counts the updates. Without the warm-up the average of a short run is dominated by the
    untrained weights (the rule is that of TensorFlow's `ExponentialMovingAverage`). `fit` puts
    the averages into the weights when it ends.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`.
        ema_momentum: Final momentum, in [0, 1]; `None` keeps no averages.
        **kwargs: Other options of `keras.optimizers.Adam`.
    """

    _period, _turn = 1, 0

    def __init__(self, learning_rate=1e-3, ema_momentum=0.999, **kwargs):
        averages = {} if ema_momentum is None else {"use_ema": True, "ema_momentum": ema_momentum}
        super().__init__(learning_rate, **averages, **kwargs)

    def take_turns(self, *, period, turn):
        """Updates at every `period`-th step only: at steps number `turn`, `turn + period`...

        At the other steps weights, moments and averages stay as they are. A learning rate
        schedule goes by all steps.
        """
        self._period, self._turn = period, turn

    @property
    def iterations(self):
        """Number of updates so far, by which Adam corrects its moments."""
        if self._period == 1:
            return self._iterations
        return (self._iterations + self._period - 1 - self._turn) // self._period

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable and its moments, if it is their turn."""
        if self._period == 1:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        changed = [variable, self._momentums[index], self._velocities[index]]
        before = [ops.copy(state) for state in changed]
        super().update_step(gradient, variable, learning_rate)
        for state, value in zip(changed, before, strict=True):
            state.assign(ops.where(self._is_its_turn(), ops.convert_to_tensor(state), value))

    @property
    def ema_momentum(self):
        updates = ops.cast(self.iterations, "float32")
        momentum = ops.minimum(self._final_ema_momentum, (1.0 + updates) / (10.0 + updates))
        return momentum if self._period == 1 else ops.where(self._is_its_turn(), momentum, 1.0)

    @ema_momentum.setter
    def ema_momentum(self, value):
        self._final_ema_momentum = value

    def _is_its_turn(self):
        return ops.equal(self._iterations % self._period, self._turn)
