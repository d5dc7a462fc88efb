"""Checks of the options that networks are built from."""

import math


def check_widths(base_width, multipliers):
    """Raises `ValueError` if the levels' widths are not those of a network."""
    check_at_least(2, base_width=base_width)
    if base_width % 2:
        raise ValueError(f"`base_width` must be even. Received: base_width={base_width}")
    if not multipliers:
        raise ValueError("`multipliers` must name at least one level. Received: multipliers=[]")
    for multiplier in multipliers:
        check_at_least(1, multipliers=multiplier)


def check_at_least(minimum, **options):
    """Raises `ValueError` if an option is neither `None` nor an integer from `minimum` on."""
    for name, value in options.items():
        if value is not None and (not isinstance(value, int) or value < minimum):
            raise ValueError(
                f"`{name}` must be an integer of at least {minimum}. Received: {name}={value!r}"
            )


def check_rate(name, value):
    """Raises `ValueError` if `value` is not in [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"`{name}` must be in [0, 1). Received: {name}={value!r}")


def check_size(image_shape, patch_size, num_levels):
    """Raises `ValueError` if the patches and levels do not divide the image."""
    height, width, _ = image_shape
    divisor = patch_size * 2 ** (num_levels - 1)
    if height % divisor or width % divisor:
        mended = " x ".join(str(math.ceil(size / divisor) * divisor) for size in (height, width))
        raise ValueError(
            f"height and width must be divisible by {divisor} (`patch_size` times 2 for each "
            f"further level of `multipliers`): resize the images, {mended} is the next size, or "
            f"give fewer `multipliers`. Received: image_shape={tuple(image_shape)}"
        )


def check_choice(name, value, choices):
    """Raises `ValueError` if `value` is not one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
