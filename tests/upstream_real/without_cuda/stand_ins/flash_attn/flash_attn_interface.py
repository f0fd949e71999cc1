import torch


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, **_):  # noqa: FBT002, PLR0917 - the library's
    """Attention of (batch, sequence, heads, size)."""
    q, k, v = (one.transpose(1, 2) for one in (q, k, v))
    made = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, dropout_p=dropout_p, scale=softmax_scale, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1]
    )
    return made.transpose(1, 2).contiguous()


def flash_attn_varlen_func(*_, **__):
    raise NotImplementedError("sequences of several lengths in one")


_flash_attn_backward = _flash_attn_varlen_backward = flash_attn_varlen_func
