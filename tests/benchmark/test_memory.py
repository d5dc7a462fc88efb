from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers, ops

from benchmark import memory
from benchmark.errors import UserError
from benchmark.memory import activation_bytes, check_batch_fits


def two_networks():
    """Inputs of 4 and 2 numbers; 8 before and 8 after the ReLU; 4, then 2 in half precision."""
    first, second = keras.Input((2, 2, 1)), keras.Input((2,))
    convolved = layers.Conv2D(2, 1, activation="relu")(first)
    dense = layers.Dense(2, dtype="bfloat16")(ops.concatenate([second, second], axis=-1))
    networks = [keras.Model(first, convolved), keras.Model(second, dense)]
    return SimpleNamespace(layers=[*networks, layers.Dense(7)], name="some")


def test_the_activations_of_all_networks_by_hand():
    assert activation_bytes(two_networks()) == 4 * (4 + 2 * 8) + 4 * (2 + 4) + 2 * 2


def test_a_model_without_a_network_of_layers_takes_something():
    assert activation_bytes(SimpleNamespace(layers=[layers.Dense(7)])) == 1


def test_a_batch_is_refused_that_is_larger_than_the_memory(monkeypatch):
    model = two_networks()
    monkeypatch.setattr(memory, "physical_bytes", lambda: 10 * activation_bytes(model) + 1)
    check_batch_fits(model, 10)
    with pytest.raises(UserError, match="model=some take.*training.batch_size=11$"):
        check_batch_fits(model, 11)
    monkeypatch.setattr(memory, "has_gpu", lambda: True)
    check_batch_fits(model, 11)


def test_this_machines_memory_is_known_where_it_is_told(monkeypatch):
    assert memory.physical_bytes() is None or memory.physical_bytes() > 2**28
    monkeypatch.setattr(memory, "physical_bytes", lambda: None)
    check_batch_fits(two_networks(), int(np.iinfo("int64").max))
