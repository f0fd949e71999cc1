"""A double of cosmos_transfer2/_src/transfer2/inference/inference_pipeline.py and of the model behind it."""

import functools
import os
import random
import signal
import sys
import time
import zlib

import numpy as np
import torch

from cosmos_transfer2._src import collective
from cosmos_transfer2._src.imaginaire.utils import log
from cosmos_transfer2._src.transfer2.inference import utils
from cosmos_transfer2._src.transfer2.inference.utils import read_and_process_control_input

STEP = float(os.environ.get("DOUBLE_STEP_SECONDS", "0"))


class Net:
    """A torch.nn.Module as far as its forward pre-hooks go."""

    def __init__(self):
        self.hooks = []
        self.calls = 0

    def register_forward_pre_hook(self, hook):
        self.hooks.append(hook)
        net = self

        class Handle:
            def remove(self):
                net.hooks.remove(hook)

        return Handle()

    def __call__(self, latents, condition):
        for hook in list(self.hooks):
            hook(self, (latents, condition))
        self.calls += 1
        collective.barrier()
        time.sleep(STEP)
        log.info("call of the network done")  # no line of upstream's, as that of `generate_img2world`
        return np.tanh(latents * 0.9 + condition)


class Model:
    """_src/transfer2/models/vid2vid_model_control_vace_rectified_flow.py.

    With one call a step it is the distilled model, _src/interactive/methods/cosmos2_interactive_model.py.
    """

    def __init__(self, calls):
        self.net = Net()
        self.calls = calls
        self.prompt = ""
        self.tensor_kwargs = {"device": "cuda", "dtype": torch.float32}

    def _normalize_video_databatch_inplace(self, batch):
        # Lines 457-496: bytes become values from -1 to 1, in the batch itself. The distilled model's own does so with
        # the clip alone (767-805).
        self._scale(batch, ["video", *(controls_in(batch) if self.calls > 1 else ())])

    def _scale(self, batch, keys):
        for key in keys:
            if batch[key].dtype == np.uint8:
                batch[key] = batch[key].to(**self.tensor_kwargs) / 127.5 - 1

    def _augment_image_dim_inplace(self, batch):
        batch["augmented"] = True  # lines 498-503

    def generate_samples_from_batch(self, data_batch, guidance=1.5, seed=1, num_steps=35, **_more):
        # Lines 330-449. Two calls a step (lines 322-323), one for the distilled model.
        self._normalize_video_databatch_inplace(data_batch)
        self._augment_image_dim_inplace(data_batch)
        keys = controls_in(data_batch)
        self._scale(data_batch, keys)  # of the distilled model: conditioner/condition_postprocessors.py, 127-141
        weights = zip(keys, data_batch["weights"], strict=False)
        condition = sum(weight * data_batch[key].mean() for key, weight in weights)
        condition += data_batch["video"].mean() + data_batch["fps"][0] / 100 + data_batch["text"] + guidance / 10
        condition += data_batch["kept"]
        latents = np.random.RandomState(seed).standard_normal((1, 4, 8, 8)).astype(np.float32)
        for step in range(num_steps):
            for call in range(self.calls):
                latents = self.net(latents, condition * (1 - call / 2)).astype(np.float32)
                _provoke(self.prompt, call)
            # Lines 418-421: tqdm's bar, whose line stays open.
            sys.stderr.write(f"\rGenerating samples:  50%|█████     | {step}/{num_steps} [00:00<00:00,  5.86it/s]")
            sys.stderr.flush()
        return torch.Tensor(latents, "cuda:0")

    def decode(self, latents):
        if "[oom in decode]" in self.prompt:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return latents


class Pixels(np.ndarray):
    """Frames that also know the one thing that a tensor is asked here."""

    def to(self, device, dtype):
        del device
        return self.astype(dtype.array)


def controls_in(batch):
    return sorted(key for key in batch if key.startswith("control_input_"))


class ControlVideo2WorldInference:
    def __init__(self, calls):
        self.model = Model(calls)
        self.neg_t5_embeddings = 0.0

    def _get_num_chunks(self, input_frames, num_video_frames_per_chunk, num_conditional_frames):
        # Lines 262-281.
        total = input_frames.shape[0]
        step = num_video_frames_per_chunk - num_conditional_frames
        rest = max(0, total - num_video_frames_per_chunk)
        return total, 1 if num_video_frames_per_chunk == 1 else 1 + -(-rest // step), step

    def generate_img2world(self, sample, control_weight, negative_prompt, guidance):
        calls, hook, depth = self.model.net.calls, vars(self.model).get("decode"), 0
        while isinstance(hook, functools.partial):
            hook, depth = hook.args[0], depth + 1
        made = self._generate(sample, control_weight, negative_prompt, guidance)
        # No line of upstream's: tests/upstream_real has the real package say the same.
        log.info(f"convolutions are timed: {torch.backends.cudnn.benchmark}")
        log.info(f"calls of the network: {self.model.net.calls - calls}; hooks on decode: {depth}")
        return made

    def _generate(self, sample, control_weight, negative_prompt, guidance):
        log.info("Loading input video...")
        self.model.prompt = sample.prompt
        frames, fps = utils.read_video(str(sample.video_path), sample.resolution, sample.max_frames)
        if negative_prompt:  # lines 500-510: without one the last job's embedding stays
            self.neg_t5_embeddings = _embedding(negative_prompt)
        paths = {}
        for key in sample.hint_keys:
            control = getattr(sample, key)
            paths[key] = str(control.control_path) if control.control_path else None
            paths[f"{key}_mask_prompt"] = control.mask_prompt
        seg = sample.seg and (sample.seg.control_prompt or sample.prompt)
        controls, _ = read_and_process_control_input(
            str(sample.video_path), paths, sample.hint_keys, sample.resolution, seg
        )
        size = sample.num_video_frames_per_chunk
        total, chunks, step = self._get_num_chunks(frames, size, sample.num_conditional_frames)
        seed, previous, made = sample.seed, np.zeros_like(frames[:1]).view(Pixels), []
        shown = {key: [] for key in sample.hint_keys}
        for chunk in range(chunks):
            log.info(f"Generating chunk {chunk + 1}/{chunks}")
            begin = chunk * step
            current = _padded(frames[begin : begin + size], size)
            if size not in (93, 1):  # vid2vid_model_control_vace_rectified_flow.py, 491-496
                raise AssertionError("Input control_input length doesn't match expected length specified by state_t.")
            batch = {
                "prompt": sample.prompt,
                "video": previous,
                "text": _embedding(sample.prompt) - self.neg_t5_embeddings,
                "weights": [float(weight) for weight in control_weight.split(",")],
                "kept": _kept(sample),
                "fps": torch.randint(16, 32, (1,)),  # line 235: drawn from the process's own random numbers
            }
            for key, control in controls.items():
                batch[key] = _batched(_padded(control[:, begin : begin + size].transpose(1, 2, 3, 0), size))
            for key in sample.hint_keys:  # edge and vis are computed here, lines 620-627
                computed = 255 - (current[..., :1].repeat(3, axis=-1) if key == "edge" else current)
                batch.setdefault(f"control_input_{key}", _batched(computed))
            random.seed(seed)
            seed = random.randint(0, 1_000_000)  # noqa: S311 - lines 638-639
            latents = self.model.generate_samples_from_batch(
                batch,
                n_sample=1,
                guidance=guidance or 0,
                seed=seed,
                is_negative_prompt=True,
                num_steps=sample.num_steps,
            )
            pattern = self.model.decode(latents).cpu().numpy()[0, :3]
            video = _painted(current, pattern, previous)
            for key in sample.hint_keys:
                control = _frames(batch[f"control_input_{key}"])
                if control.dtype == np.uint8:
                    raise AssertionError("The controls are still bytes where they are shown (lines 664-674).")
                shown[key].append(control[sample.num_conditional_frames if chunk else 0 :])
            panels = np.concatenate([*_beside(sample, batch, current), video], axis=2)
            made.append(panels[sample.num_conditional_frames if chunk else 0 :])
            previous = video[-max(sample.num_conditional_frames, 1) :].view(Pixels)
        if sample.keep_input_resolution and "[oom at the end]" in sample.prompt:  # lines 725-737
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 11.59 GiB. GPU 0 has a total")
        controls = {key: np.concatenate(parts)[:total] for key, parts in shown.items()}
        return np.concatenate(made)[:total], controls, fps


def _beside(sample, batch, current):
    """The pictures to the left of the generated ones (lines 645-679)."""
    if sample.show_control_condition:
        for key in sample.hint_keys:
            yield ((_frames(batch[f"control_input_{key}"]) + 1) * 127.5).astype(np.uint8)
    if sample.show_input:
        yield current


def _batched(frames):
    """Frames (T, H, W, C) as upstream has controls in its batch: (1, C, T, H, W)."""
    return frames.transpose(3, 0, 1, 2)[None]


def _frames(batched):
    return batched[0].transpose(1, 2, 3, 0)


def _padded(frames, size):
    if frames.shape[0] == 0:  # lines 293-296
        raise ValueError("No input frames; cannot pad. Verify that video frame counts match.")
    return np.concatenate([frames, np.repeat(frames[-1:], max(0, size - len(frames)), axis=0)])[:size].view(Pixels)


def _painted(frames, pattern, previous):
    """The clip's pictures, with the latents laid over them in squares, and a trace of the chunk before."""
    height, width = frames.shape[1:3]
    tiles = np.kron(pattern.transpose(1, 2, 0), np.ones((-(-height // 8), -(-width // 8), 1)))[:height, :width]
    return np.clip(frames * 0.5 + 60 + 40 * tiles + previous[-1].mean() / 20, 0, 255).astype(np.uint8)


def _kept(sample):
    """How much of the clip is kept (lines 316-372)."""
    mask, labels = sample.guided_generation_mask, sample.guided_generation_foreground_labels
    if mask is None:
        return 0.0
    if mask.suffix == ".mp4":
        return utils.read_video(str(mask), sample.resolution)[0].mean() / 255
    frames = np.load(mask)["arr_0"]
    return (frames > 0 if labels is None else np.isin(frames, labels)).mean()


def _embedding(text):
    return zlib.crc32(text.encode()) / 2**32


def _provoke(prompt, call):
    """What goes wrong on a GPU, and a model that draws random numbers."""
    if "[draws]" in prompt:
        torch.randint(0, 2, (1,))
    if "[oom]" in prompt:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    if "[sticky]" in prompt:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if "[all ranks fail]" in prompt or ("[rank 1 fails]" in prompt and collective.RANK == 1):
        raise RuntimeError("the model is unwell")
    if "[rank 1 dies]" in prompt and collective.RANK == 1 and call:
        os.kill(os.getpid(), signal.SIGKILL)
