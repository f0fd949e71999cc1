"""CUDA's device as the CPU: whatever upstream asks of "cuda" is done on the CPU."""

from __future__ import annotations

import contextlib

exact = [0]
"""How many of upstream's autocasts to float32 are open."""


def install(torch):  # noqa: C901 - what it defines shares torch
    """Adjust torch for this process."""
    functional, tensor = torch.nn.functional, torch.Tensor
    heavy = {
        *(torch.conv2d, torch.conv3d, functional.conv2d, functional.conv3d, functional.linear, torch.matmul, torch.bmm),
        *(functional.scaled_dot_product_attention, tensor.matmul, tensor.__matmul__),
    }

    class OnCpu(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            del types
            if func is tensor.cuda:
                return args[0]
            kwargs = {key: here(value) for key, value in (kwargs or {}).items()}
            if func in heavy:
                given = {one.dtype for one in (*args, *kwargs.values()) if isinstance(one, tensor)}
                if torch.bfloat16 in given:
                    made = func(*map(wide, args), **{key: wide(value) for key, value in kwargs.items()})
                    return made if len(given) > 1 or exact[0] else made.bfloat16()
            return func(*map(here, args), **kwargs)

    def here(value):
        if isinstance(value, str) and value.startswith("cuda"):
            return "cpu"
        if isinstance(value, torch.device) and value.type == "cuda":
            return torch.device("cpu")
        return value

    def wide(value):
        """A processor without bf16 instructions takes minutes for what it does in seconds in float32."""
        return value.float() if isinstance(value, tensor) and value.dtype is torch.bfloat16 else here(value)

    mode = OnCpu()
    mode.__enter__()  # never left
    torch.povwatch_mode = mode
    _stand_in_for_devices(torch, here)

    class Autocast(contextlib.ContextDecorator):
        """CUDA's autocast as far as upstream uses it: float32 for what is to be exact, and nothing else."""

        def __init__(self, device_type="cuda", dtype=None, enabled=True, **_):  # noqa: FBT002 - as torch has it
            del device_type
            self.wanted = enabled and dtype is torch.float32

        def __enter__(self):
            exact[0] += self.wanted
            return self

        def __exit__(self, *_):
            exact[0] -= self.wanted

    torch.amp.autocast = torch.autocast = torch.cuda.amp.autocast = Autocast


def _stand_in_for_devices(torch, here):
    """What takes a device without passing through a function mode, and the calls about devices themselves."""
    generator, load, cuda = torch.Generator, torch.load, torch.cuda

    class Generator(generator):
        def __new__(cls, device="cpu"):
            return generator.__new__(generator, here(device))

    def loaded(*args, map_location=None, **kwargs):
        return load(*args, map_location=here(map_location), **kwargs)

    torch.Generator, torch.load = Generator, loaded
    calls = ("synchronize", "empty_cache", "reset_peak_memory_stats", "set_device", "manual_seed", "manual_seed_all")
    for name in calls:
        setattr(cuda, name, lambda *_, **__: None)
    cuda.current_device = cuda.device_count = lambda: 0
    nothing = {"__init__": lambda *_, **__: None, "wait_stream": lambda *_: None}
    cuda.Stream = cuda.Event = type("Stream", (), nothing)
    cuda.stream, cuda.current_stream = contextlib.nullcontext, lambda *_: cuda.Stream()
    begin = torch.distributed.init_process_group
    torch.distributed.init_process_group = lambda backend, **how: begin("gloo" if backend == "nccl" else backend, **how)
