"""Adam and Muon with a moving average of the weights that warms up."""

import re

import keras
from keras import ops


class Averaging:
    """Averages the weights with a momentum of min(`ema_momentum`, (1 + n) / (10 + n)).

    n counts the updates. Without the warm-up the average of a short run is dominated by the
    untrained weights (the rule is that of TensorFlow's `ExponentialMovingAverage`). `fit` puts
    the averages into the weights when it ends.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`.
        ema_momentum: Final momentum, in [0, 1]; `None` keeps no averages.
        **kwargs: Other options of the `keras.optimizers.Optimizer` that this is mixed into.
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
        changed = [variable, *self._moments(variable)]
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


class AveragedAdam(Averaging, keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) that averages the weights."""

    def _moments(self, variable):
        index = self._get_variable_index(variable)
        return [self._momentums[index], self._velocities[index]]


class AveragedMuon(Averaging, keras.optimizers.Muon):
    """Muon (Jordan et al. 2024) that averages the weights, and takes kernels of convolutions too.

    The momentum of a matrix is replaced by the nearest orthogonal matrix, times 0.2 sqrt(the longer
    side), so that learning rates are of the size that Adam's have (Liu et al. 2025). The kernel of
    a convolution counts as the matrix of its outputs by all its inputs, as in Jordan et al.'s code;
    Keras alone leaves it to Adam. Other than they advise, that includes the first and the last
    layer. All but kernels is left to Adam: biases, scales and embeddings.
    Without weight decay by default.
    """

    def __init__(self, learning_rate=1e-3, ema_momentum=0.999, **kwargs):
        decays = {"weight_decay": None, "adam_weight_decay": None}
        super().__init__(learning_rate, ema_momentum, **decays | kwargs)

    def zeropower_via_newtonschulz5(self, x, steps):
        """Orthogonalises a kernel, `(..., outputs)`, as a matrix."""
        return ops.reshape(super().zeropower_via_newtonschulz5(as_matrix(x), steps), x.shape)

    def lr_adjust(self, x):
        """Scales a kernel by the longer side of its matrix."""
        return ops.reshape(super().lr_adjust(as_matrix(x)), x.shape)

    def _should_use_adamw(self, variable):
        excluded = any(re.search(name, variable.path) for name in self.exclude_layers)
        return excluded or variable.name != "kernel"

    def _moments(self, variable):
        index = self._get_variable_index(variable)
        moments = (self.momentums[index], self.adam_velocities[index])
        return [moment for moment in moments if moment is not None]


def as_matrix(kernel):
    """`(..., inputs, outputs) -> (... * inputs, outputs)`."""
    return ops.reshape(kernel, (-1, kernel.shape[-1]))
