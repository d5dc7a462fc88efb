"""Self-attention over the pixels of feature maps, full and linear."""

from keras import layers, ops

HEAD_DIM = 64


def full_attention(tokens):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2), quadratic in the positions.

    Args:
        tokens: `(batch, positions, channels)`.

    Returns:
        A tensor of the same shape.
    """
    num_heads, head_dim = heads_of(tokens.shape[-1])
    return layers.MultiHeadAttention(num_heads, head_dim)(tokens, tokens)


def single_head_attention(tokens):
    """Self-attention with one head, whose output starts at zero (Ho et al. 2020, their code).

    Args:
        tokens: `(batch, positions, channels)`.

    Returns:
        A tensor of the same shape.
    """
    positions, channels = tokens.shape[1:]

    def project():
        return layers.Reshape((positions, 1, channels))(layers.Dense(channels)(tokens))

    attended = ops.dot_product_attention(project(), project(), project())
    attended = layers.Reshape((positions, channels))(attended)
    return layers.Dense(channels, kernel_initializer="zeros")(attended)


def linear_attention(tokens):
    """Multi-head efficient attention (Shen et al. 2021), linear in the number of positions.

    Args:
        tokens: `(batch, positions, channels)`.

    Returns:
        A tensor of the same shape.
    """
    positions, channels = tokens.shape[1:]
    num_heads, head_dim = heads_of(channels)

    def project():
        projected = layers.Dense(num_heads * head_dim, use_bias=False)(tokens)
        return layers.Reshape((positions, num_heads, head_dim))(projected)

    attended = efficient_attention(queries=project(), keys=project(), values=project())
    attended = layers.Reshape((positions, num_heads * head_dim))(attended)
    return layers.Dense(channels)(attended)


def efficient_attention(*, queries, keys, values):
    """softmax(queries) (softmax(keys)^T values) for each head (Shen et al. 2021, section 3.2).

    The softmax of the queries is over the channels, that of the keys over the positions.

    Args:
        queries: `(batch, positions, heads, channels)`.
        keys: Likewise.
        values: Likewise.

    Returns:
        A tensor of the same shape.
    """
    queries, keys = ops.softmax(queries, axis=-1), ops.softmax(keys, axis=1)
    contexts = ops.einsum("bnhk,bnhv->bhkv", keys, values)
    return ops.einsum("bnhk,bhkv->bnhv", queries, contexts)


def heads_of(channels):
    """Number of heads and channels of each: one head for each 64 channels."""
    num_heads = max(1, channels // HEAD_DIM)
    return num_heads, channels // num_heads
