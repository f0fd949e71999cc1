import torch


def apply_rotary_pos_emb(t, freqs, tensor_format="sbhd", **_):
    """Turn the first part of each vector; `freqs` are (sequence, 1, 1, size)."""
    freqs = freqs[: t.shape[0 if tensor_format == "sbhd" else 1]].float()
    if tensor_format == "bshd":
        freqs = freqs.transpose(0, 1)
    turned, rest = t[..., : freqs.shape[-1]].float(), t[..., freqs.shape[-1] :]
    one, other = turned.chunk(2, dim=-1)
    across = torch.cat((-other, one), dim=-1)
    return torch.cat(((turned * freqs.cos() + across * freqs.sin()).to(t.dtype), rest), dim=-1)
