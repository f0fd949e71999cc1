"""A double of cosmos_transfer2/inference.py."""

import errno
import os
import sys
from pathlib import Path

import torch

from cosmos_transfer2._src import collective
from cosmos_transfer2._src.imaginaire.utils import checkpoint_db, distributed, log
from cosmos_transfer2._src.imaginaire.visualize.video import save_img_or_video
from cosmos_transfer2._src.transfer2.inference.inference_pipeline import ControlVideo2WorldInference

LOAD = os.environ.get("DOUBLE_LOAD", "")


class GatedRepoError(Exception):
    """As huggingface_hub's."""


class LocalEntryNotFoundError(Exception):
    """As huggingface_hub's."""


class Blocklist:
    def is_safe(self, prompt):  # guardrail/blocklist/blocklist.py, 188-223
        if "[blocked prompt]" in prompt:
            return False, "Prompt blocked by exact match blocklist: Prompt: a kitchen, Exact Match Word: blocked"
        return True, "Input is safe"


class Qwen3Guard:
    def is_safe(self, _prompt):
        return True, ""


class VideoContentSafetyFilter:
    def is_safe(self, frames):
        return (False, "unsafe frames detected") if frames is None else (True, "safe frames detected")


class RetinaFaceFilter:
    def postprocess(self, frames):
        return frames


class GuardrailRunner:  # guardrail/common/core.py, 38-79
    def __init__(self, safety_models, postprocessors=None):
        self.safety_models, self.postprocessors = safety_models, postprocessors

    def run_safety_check(self, asked):
        for guardrail in self.safety_models:
            safe, message = guardrail.is_safe(asked)
            if not safe:
                return False, f"{type(guardrail).__name__.upper()}: {message}"
        return True, "Prompt is safe"


class guardrail_presets:  # noqa: N801 - a module in upstream
    @staticmethod
    def run_text_guardrail(prompt, runner):  # guardrail/common/presets.py, 46-60
        is_safe, message = runner.run_safety_check(prompt)
        if not is_safe:
            log.critical(f"GUARDRAIL BLOCKED: {message}")
        return is_safe

    @staticmethod
    def run_video_guardrail(frames, runner):  # 63-78
        is_safe, message = runner.run_safety_check(frames)
        if not is_safe:
            log.critical(f"GUARDRAIL BLOCKED: {message}")
            return None
        for guardrail in runner.postprocessors:
            frames = guardrail.postprocess(frames)
        return frames


class Control2WorldInference:
    def __init__(self, args, batch_hint_keys):
        _fail_to_load()
        self.setup_args = args
        self.batch_hint_keys = batch_hint_keys
        self.is_distilled = args.model_key.distilled
        if collective.SIZE > 1:  # lines 80-88
            distributed.init()
        leads = collective.RANK == 0
        wrong = "('net.x_embedder.weight', (3, 5), (64, 72))" if LOAD == "other shape" else ""
        # checkpointer.py, 444-501, and text2world_model_rectified_flow.py, 920: it is told, and the model goes on.
        log.critical(f"_IncompatibleKeys(missing_keys=[], unexpected_keys=[], incorrect_shapes=[{wrong}])")
        self.text_guardrail_runner = self.video_guardrail_runner = None
        if leads and not args.disable_guardrails:  # lines 90-101
            self.text_guardrail_runner = GuardrailRunner([Blocklist(), Qwen3Guard()])
            self.video_guardrail_runner = GuardrailRunner([VideoContentSafetyFilter()], [RetinaFaceFilter()])
        torch.backends.cudnn.benchmark = True  # predict2/utils/model_loader.py, 107
        self.inference_pipeline = ControlVideo2WorldInference(1 if self.is_distilled else 2)
        if LOAD == "other version":
            del type(self.inference_pipeline)._get_num_chunks
        if LOAD == "other writer":
            del globals()["save_img_or_video"]
        if leads:  # lines 145-157
            args.output_dir.mkdir(parents=True, exist_ok=True)
            (args.output_dir / "config.yaml").write_text("model: {}\n")

    def generate(self, samples, output_dir):
        # Lines 158-183: what the guardrail refused is missing from the list.
        written = [self._generate_sample(sample, output_dir) for sample in samples]
        return [path for path in written if path is not None]

    def _generate_sample(self, sample, output_dir):  # noqa: C901 - it has many ways to fail
        path = output_dir / sample.name  # line 187: the name is taken as it is
        negative = None if self.is_distilled else sample.negative_prompt
        if "[exits]" in sample.prompt:
            sys.exit(1)  # as config.py, 102 and 378
        if "[chdir]" in sample.prompt:
            os.chdir("/")  # as config.py, 370
        if collective.RANK == 0:
            Path(f"{path}.json").write_text(sample.model_dump_json())
            for text in filter(None, [sample.prompt, negative]):  # lines 210-242
                runner = self.text_guardrail_runner
                if runner is not None and not guardrail_presets.run_text_guardrail(text, runner):
                    return None
        weights = ",".join(
            str(getattr(sample, key).control_weight) if getattr(sample, key) else "0.0" for key in self.batch_hint_keys
        )
        video, controls, fps = self.inference_pipeline.generate_img2world(
            sample, weights, negative, None if self.is_distilled else sample.guidance
        )
        if "[rank 1 fails late]" in sample.prompt and collective.RANK == 1:
            raise RuntimeError("the end is unwell")
        extension = "jpg" if len(video) == 1 else "mp4"  # lines 293-296
        if collective.RANK == 0:
            if "[disk full]" in sample.prompt:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            for key, control in controls.items():
                save_img_or_video(_tensor((control + 1) / 2), f"{path}_control_{key}", fps=fps)
            if self.video_guardrail_runner is not None:  # lines 318-327
                frames = None if "[blocked video]" in sample.prompt else video
                if guardrail_presets.run_video_guardrail(frames, self.video_guardrail_runner) is None:
                    return None
            save_img_or_video(_tensor(video / 255), str(path), fps=fps)
            Path(f"{path}.txt").write_text(sample.prompt)
        torch.cuda.empty_cache()
        return f"{path}.{extension}"  # line 350: also in the ranks that wrote nothing


def _tensor(pictures):
    """Pictures (T, H, W, C) as upstream hands them to its writer: a tensor (C, T, H, W), from 0 to 1."""
    return torch.Tensor(pictures.transpose(3, 0, 1, 2).astype("float32"), "cuda:0")


def _fail_to_load():
    if LOAD == "exits":
        sys.exit(1)
    if LOAD == "out of memory":
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 MiB.")
    if LOAD == "gated":
        raise GatedRepoError(
            "403 Client Error. Cannot access gated repo for url "
            "https://huggingface.co/nvidia/Cosmos-Guardrail1/resolve/main/README.md."
        )
    if LOAD == "offline":
        raise LocalEntryNotFoundError(
            "Cannot find an appropriate cached snapshot folder for nvidia/Cosmos-Predict2.5-2B and outgoing traffic "
            "has been disabled. To enable repo look-ups and downloads online, set 'HF_HUB_OFFLINE=0'."
        )
    if LOAD in ("command", "no uvx"):  # checkpoint_db.py, 198-210
        revision = "b67b64abda3801a9aceddbff2bdb86126c06db74"
        checkpoint_db._hf_download(
            ["nvidia/Cosmos-Transfer2.5-2B", "--repo-type", "model", "--revision", revision, "general/edge/w.pt"]
        )
