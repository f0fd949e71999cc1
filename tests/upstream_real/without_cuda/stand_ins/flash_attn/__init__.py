"""Stands in for flash_attn, which is built for CUDA alone: what upstream's text encoder uses, on torch's attention."""

from .flash_attn_interface import flash_attn_func as flash_attn_func
from .flash_attn_interface import flash_attn_varlen_func as flash_attn_varlen_func

__version__ = "2.7.4.post1"
