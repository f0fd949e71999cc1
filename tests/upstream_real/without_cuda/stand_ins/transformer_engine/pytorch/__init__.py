import torch
from cuda_as_cpu import exact

from . import attention as attention
from . import distributed as distributed


class RMSNorm(torch.nn.Module):
    """Normalises in float32; the result has autocast's type, as the library's has (ops/_common.py)."""

    def __init__(self, normalized_shape, eps=1e-5, **_):
        super().__init__()
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(normalized_shape))

    def reset_parameters(self, **_):
        torch.nn.init.ones_(self.weight)

    def forward(self, x):
        wide = x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return (normed * self.weight.float()).to(_dtype(x))


def _dtype(x):
    if exact[0]:
        return torch.float32
    return torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype


LayerNorm, Linear = torch.nn.LayerNorm, torch.nn.Linear
