import torch

from .rope import apply_rotary_pos_emb as apply_rotary_pos_emb


class DotProductAttention(torch.nn.Module):
    """Attention of (batch, sequence, heads, size); the result is (batch, sequence, heads * size)."""

    def __init__(self, num_attention_heads, kv_channels, qkv_format="bshd", **_):
        super().__init__()
        del num_attention_heads, kv_channels
        self.qkv_format = qkv_format

    def set_context_parallel_group(self, *_, **__):
        """Do nothing: one process has it all."""

    def forward(self, q, k, v, **_):
        if self.qkv_format != "bshd":
            raise NotImplementedError(self.qkv_format)
        q, k, v = (one.transpose(1, 2) for one in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
