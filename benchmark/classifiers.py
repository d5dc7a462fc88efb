"""The mode classifier of a dataset, trained once for each machine."""

from benchmark import console
from benchmark.machine import pause
from benchmark.provenance import code_version
from benchmark.results import Folder, digest

SEED = 2020
CLASSIFIER_EPOCHS = 4
CLASSIFIER_CODE = ("metrics/base.py", "metrics/calibration.py", "metrics/classifier.py")


def load_classifier(dataset, cache: Folder):
    """Finds the dataset's mode classifier in the cache, or trains it."""
    from metrics.classifier import ModeClassifier, train_classifier

    key = digest([dataset.fingerprint, code_version(CLASSIFIER_CODE)])
    name = f"classifiers/{dataset.name}_{key}.npz"
    arrays = cache.recall_arrays(name)
    if arrays is not None:
        return ModeClassifier.from_arrays(arrays)
    with cache.waiting_lock("classifier"):
        arrays = cache.recall_arrays(name)
        if arrays is not None:
            return ModeClassifier.from_arrays(arrays)
        console.say(f"training the mode classifier for {dataset.name}, once for this machine")
        with console.progress("epoch", CLASSIFIER_EPOCHS) as update:
            classifier = train_classifier(
                images=dataset.train_images,
                labels=dataset.train_labels,
                test_images=dataset.test_images,
                test_labels=dataset.test_labels,
                num_classes=dataset.num_classes,
                seed=SEED,
                epochs=CLASSIFIER_EPOCHS,
                callbacks=[epoch_progress(update)],
            )
        cache.write_arrays(name, classifier.to_arrays())
    console.say(
        f"test accuracy {classifier.test_accuracy:.2%}, "
        f"calibration error {classifier.calibration_error:.2%}"
    )
    return classifier


def epoch_progress(update):
    """A Keras callback that shows finished epochs and their loss."""
    import keras

    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: update(epoch + 1, f"loss {logs['loss']:.4f}"),
        on_train_batch_end=lambda batch, logs: pause(),  # an epoch is long
    )
