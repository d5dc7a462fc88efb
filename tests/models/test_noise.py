import numpy as np
import pytest
from keras import ops

from models.noise import step_noise, threefry

# Known answers of the Random123 distribution (kat_vectors, threefry2x32 20).
KNOWN_ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


def uint32(values):
    return ops.convert_to_tensor(np.array(values, dtype="uint32"))


def seeds_of(indices, seed=0):
    return uint32([[seed, index] for index in indices])


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN_ANSWERS)
def test_threefry_gives_the_known_answers(key, counter, answer):
    bits = threefry(tuple(map(uint32, key)), tuple(map(uint32, counter)))
    assert tuple(int(word) for word in bits) == answer


def test_step_noise_is_standard_normal():
    noise = ops.convert_to_numpy(step_noise(seeds_of(range(500)), 3, (28, 28, 1)))
    assert noise.shape == (500, 28, 28, 1)
    assert abs(noise.mean()) < 0.005
    assert abs(noise.std() - 1.0) < 0.005
    assert abs((noise**4).mean() - 3.0) < 0.05
    correlations = np.corrcoef(noise.reshape(500, -1)[:50])
    assert np.abs(correlations - np.eye(50)).max() < 0.2


def test_step_noise_belongs_to_the_image_not_to_the_batch():
    together = ops.convert_to_numpy(step_noise(seeds_of([5, 6, 7]), 2, (5, 5, 3)))
    alone = ops.convert_to_numpy(step_noise(seeds_of([6]), 2, (5, 5, 3)))
    np.testing.assert_allclose(together[1:2], alone, atol=1e-6)  # beyond rounding


def test_step_noise_changes_with_step_seed_and_image():
    noises = [
        ops.convert_to_numpy(step_noise(seeds_of([index], seed), step, (4, 4, 1)))
        for index, seed, step in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    ]
    for i in range(4):
        for j in range(i):
            assert np.abs(noises[i] - noises[j]).max() > 0.1
