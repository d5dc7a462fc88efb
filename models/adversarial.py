"""What adversarial models share: two networks, each with an optimizer and a loss of its own.

A step of `fit` has one loss. Where both networks are updated at once it is the sum of both, each
of which reaches its own network only. Where they take turns, steps 0, 2, 4... update the
discriminator, the others the generator, each with a batch of its own.

Each network has an optimizer of its own, for another rate and for another reason: with a single one
for both, TensorFlow's rewriting of graphs (Grappler) let the update of a discriminator's weight
overtake the generator's backward pass, which then took the new weight for the old one. That was
seen in one step of a hundred on a busy CPU, never without the rewriting (500 steps), and never with
two optimizers (1,100 steps).
"""

import keras
from keras import ops

DISCRIMINATOR, GENERATOR = range(2)  # whose turn it is: the step's number modulo 2
PERIOD = 2


def build_optimizer(generator, discriminator, *, alternating):
    """Builds the optimizer of both networks, those of the variables under `discriminator/` apart.

    Args:
        generator: A `keras.optimizers.Optimizer`, or `None` for a model that only samples.
        discriminator: Likewise.
        alternating: Whether the networks take turns.

    Returns:
        A `keras.optimizers.MultiOptimizer`, or `None`.

    Raises:
        ValueError: If one of two optimizers is missing, or cannot take turns.
    """
    if generator is None and discriminator is None:
        return None
    if generator is None or discriminator is None:
        raise ValueError(
            "`generator_optimizer` and `discriminator_optimizer` must be given together. "
            f"Received: {generator} and {discriminator}"
        )
    if alternating:
        for turn, optimizer in ((DISCRIMINATOR, discriminator), (GENERATOR, generator)):
            if not hasattr(optimizer, "take_turns"):
                raise ValueError(
                    "networks that are updated in turns need an optimizer of `models.optimizers`. "
                    f"Received: {type(optimizer).__name__}"
                )
            optimizer.take_turns(period=PERIOD, turn=turn)

    def optimizer_of(variable):
        return discriminator if variable.path.startswith("discriminator/") else generator

    return TurnsOptimizer(optimizer_of)


class TurnsOptimizer(keras.optimizers.MultiOptimizer):
    """Takes a missing gradient for 0: a network that waits has none where nothing is compiled."""

    def apply(self, grads, trainable_variables=None):
        """As for `keras.optimizers.Optimizer`."""
        variables = trainable_variables or self._trainable_variables
        grads = [
            ops.zeros_like(variable) if gradient is None else gradient
            for gradient, variable in zip(grads, variables, strict=True)
        ]
        super().apply(grads, trainable_variables)


def frozen_logits(discriminator, inputs, *, training):
    """The discriminator's logits; its weights are constants, and its state stays as it is."""
    logits, _ = discriminator.stateless_call(
        [ops.stop_gradient(variable.value) for variable in discriminator.trainable_variables],
        [variable.value for variable in discriminator.non_trainable_variables],
        inputs,
        training=training,
    )
    return logits


def cond(condition, if_true, if_false, variables):
    """`keras.ops.cond` between functions that use and assign variables.

    Under JAX an assignment within a branch would leak a tracer out of it. Here the branches take
    the variables' values and return the new ones.

    Args:
        condition: Scalar boolean tensor.
        if_true: Function without arguments, returning tensors.
        if_false: Likewise, returning tensors of the same shapes.
        variables: The `keras.Variable`s that any of them uses.

    Returns:
        What the function returns; the variables that it assigned are assigned.
    """
    values = [(variable, ops.convert_to_tensor(variable)) for variable in variables]
    assigned = [variable for variable in variables if not variable.trainable]

    def branch(function):
        def run():
            with keras.StatelessScope(values) as scope:
                outputs = function()
            return outputs, [scope.get_current_value(variable) for variable in assigned]

        return run

    outputs, values_after = ops.cond(condition, branch(if_true), branch(if_false))
    for variable, value in zip(assigned, values_after, strict=True):
        variable.assign(value)
    return outputs


def total_loss(model, generate, generator_losses, discriminator_losses):
    """The loss of one step: the sum of both networks' losses, or that of whose turn it is.

    Args:
        model: An adversarial model, with the attributes `generator`, `discriminator`,
            `alternating`, `steps_done` (an integer variable, which is counted up) and `means`, a
            `keras.metrics.Mean` for each key of the functions' values, which are updated.
        generate: Returns generated images.
        generator_losses: From generated images to `{"generator_loss": ...}`.
        discriminator_losses: From generated images to a dict of the discriminator's losses and,
            under keys that end with `accuracy`, of what is only logged.

    Returns:
        Scalar tensor.
    """
    keys = tuple(model.means)

    def values_of(*functions):
        generated = generate()
        values = {}
        for function in functions:
            values |= function(generated)
        return [ops.cast(values.get(key, 0.0), "float32") for key in keys]

    if model.alternating:
        turn = model.steps_done % PERIOD
        values = cond(
            ops.equal(turn, DISCRIMINATOR),
            lambda: values_of(discriminator_losses),
            lambda: values_of(generator_losses),
            model.generator.variables + model.discriminator.variables,
        )
        weights = {
            key: ops.equal(turn, GENERATOR if key == "generator_loss" else DISCRIMINATOR)
            for key in keys
        }
    else:
        values = values_of(generator_losses, discriminator_losses)
        weights = dict.fromkeys(keys)
    model.steps_done.assign_add(1)
    for key, value in zip(keys, values, strict=True):
        model.means[key].update_state(value, sample_weight=weights[key])
    return sum(
        value for key, value in zip(keys, values, strict=True) if not key.endswith("accuracy")
    )


def accuracies(real_logits, generated_logits):
    """Which fraction of the real and of the generated images the discriminator takes for such."""
    return {
        "real_accuracy": ops.mean(ops.cast(real_logits > 0.0, "float32")),
        "generated_accuracy": ops.mean(ops.cast(generated_logits < 0.0, "float32")),
    }
