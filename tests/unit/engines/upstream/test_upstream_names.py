"""The names and signatures of upstream's that session.py and the modules beside it use."""

import ast
from pathlib import Path

from support.upstream_source import (
    BLOCKLIST,
    CHECKPOINTER,
    CONFIG,
    CONTROLS,
    CORE,
    DATABASE,
    DISTILLED,
    DISTRIBUTED,
    EXPERIMENTS,
    FULL,
    GUARDRAIL,
    INFERENCE,
    INIT,
    LOADER,
    LOG,
    MODEL,
    PIPELINE,
    PRESETS,
    PROMPT_GUARD,
    ROOT,
    TEXT2WORLD,
    UTILS,
    VIDEO,
    assigned,
    called,
    classes,
    functions,
    method,
    needed,
    parameters,
    said,
    tree,
)

from povwatch.core import cosmos
from povwatch.engines import guardrail_filters, text_filters
from povwatch.engines.needs import GUARDS

pytestmark = needed


def test_model_is_built_as_in_session_py():
    """The model is built and asked as session.py does."""
    init = method(INFERENCE, "Control2WorldInference", "__init__")
    assert parameters(init) == ["args", "batch_hint_keys"]
    assert {"inference_pipeline", "text_guardrail_runner", "video_guardrail_runner", "device_rank"} <= assigned(init)
    assert parameters(method(INFERENCE, "Control2WorldInference", "generate")) == ["samples", "output_dir"]
    assert "presets as guardrail_presets" in said(tree(INFERENCE))
    assert parameters(functions(PRESETS)["run_text_guardrail"]) == ["prompt", "guardrail_runner"]
    assert parameters(functions(INIT)["init_environment"]) == []
    # One key loads its own weights, more of them load all four.
    assert "if len(self.batch_hint_keys) == 1" in said(init)
    assert "for key in CONTROL_KEYS" in said(init)


def test_four_controls_in_branch_order():
    """The four controls have their weights in the order of their branches."""
    assert f"model.config.hint_keys={'_'.join(cosmos.CONTROLS)}" in Path(ROOT, EXPERIMENTS).read_text()
    sample = said(method(INFERENCE, "Control2WorldInference", "_generate_sample"))
    assert "for key in self.batch_hint_keys:" in sample


def test_checkpoint_fields_are_there():
    """What is read of a checkpoint is there."""
    assert {"repository", "revision", "_path"} <= {
        node.target.id for node in classes(DATABASE)["_CheckpointHf"].body if isinstance(node, ast.AnnAssign)
    }
    assert parameters(functions(DATABASE)["_hf_download"]) == ["cmd_args"]
    for kind in ("CheckpointFileHf", "CheckpointDirHf"):  # by the module's name, which cached.py puts its own behind
        assert "_hf_download(cmd_args)" in said(method(DATABASE, kind, "_download"))
    assert {"variant", "distilled"} == {
        node.target.id for node in classes(CONFIG)["ModelKey"].body if isinstance(node, ast.AnnAssign)
    }


def test_files_have_the_expected_names():
    """Upstream's result files have the names that are looked for."""
    sample = said(method(INFERENCE, "Control2WorldInference", "_generate_sample"))
    assert "output_path = output_dir / sample.name" in sample
    assert "save_img_or_video(output_video, str(output_path), fps=fps)" in sample
    assert "return f'{output_path}.{ext}'" in sample
    saved = said(functions(VIDEO)["save_img_or_video"])
    assert "ext = '.jpg' if" in saved
    assert "ext = '.mp4' if" in saved


def test_empty_negative_prompt_keeps_it():
    """Why arguments.py refuses one."""
    made = functions(PIPELINE)["generate_img2world"]
    [branch] = [node for node in ast.walk(made) if isinstance(node, ast.If) and said(node.test) == "negative_prompt"]
    assert "self.neg_t5_embeddings = neg_text_embeddings" in said(branch)
    assert not branch.orelse


def test_controls_as_in_leaving_py():
    """Controls come to a chunk as leaving.py takes them and gives them back."""
    body = said(functions(PIPELINE)["generate_img2world"])
    assert "control_input_dict, mask_video_dict = read_and_process_control_input(" in body
    assert "chunk_start_frame = chunk_id * num_frames_per_chunk" in body
    assert "cur_control_input = v[:, chunk_start_frame:chunk_end_frame]" in body
    assert "self._pad_input_frames(cur_control_input, cur_control_input.shape[1]" in body
    assert body.index("get_augmentor_for_eval(") < body.index("generate_samples_from_batch(")
    read = said(functions(UTILS)["read_and_process_control_input"])
    assert "if control_path and os.path.exists(control_path):" in read
    assert "control_input_dict[control_key] = control_attr" in read


def test_latents_as_in_chunks_py():
    """A chunk's latents are asked for as chunks.py passes them on."""
    for file, kind in ((MODEL, "ControlVideo2WorldModelRectifiedFlow"), (DISTILLED, "Cosmos2InteractiveModel")):
        made = method(file, kind, "generate_samples_from_batch")
        assert parameters(made)[0] == "data_batch"
        assert {"seed", "n_sample", "num_steps"} <= set(parameters(made))
        assert made.args.kwarg is not None  # for what one of the two does not take
        # What it returns is whole in every rank, and may be put in its place in all of them.
        assert "cat_outputs_cp(" in said(made)
    body = functions(PIPELINE)["generate_img2world"]
    seeds = said(body).index("random.seed(seed)\n")
    assert (
        seeds < said(body).index("seed = random.randint(0, 1000000)") < said(body).index("generate_samples_from_batch")
    )


def test_network_is_called_as_a_module():
    """Else its forward pre-hooks would not be."""
    for file, kind in ((FULL, "Video2WorldModelRectifiedFlow"), (DISTILLED, "Cosmos2InteractiveModel")):
        calls = [node for node in ast.walk(method(file, kind, "denoise")) if isinstance(node, ast.Call)]
        assert [said(call.func) for call in calls].count("self.net") == 1, kind
    asked = said(method(DISTILLED, "Cosmos2InteractiveModel", "get_x0_fn_from_batch"))
    assert asked.rstrip().endswith("return x0_fn")
    assert "return self.denoise(noise_x, time, condition, net_type=net_type).x0" in asked


def test_controls_are_scaled_as_in_chunks_py():
    """The full model does it where it scales the clip, the distilled one where it encodes the controls."""
    scaled = "data_batch[hint_key].to(**self.tensor_kwargs) / 127.5 - 1.0"
    assert scaled in said(method(MODEL, "ControlVideo2WorldModelRectifiedFlow", "_normalize_video_databatch_inplace"))
    later = said(method(CONTROLS, "ControlConditionPostprocessor", "_normalize_control_input_inplace"))
    assert "control_input.to(**tensor_kwargs) / 127.5 - 1.0" in later
    assert "control_input" not in said(
        method(DISTILLED, "Cosmos2InteractiveModel", "_normalize_video_databatch_inplace")
    )
    for file in (DISTILLED, "cosmos_transfer2/_src/predict2/models/text2world_model_rectified_flow.py"):
        assert "self.tensor_kwargs =" in Path(ROOT, file).read_text()


def test_ranks_meet_as_in_ranks_py():
    """The ranks of a group meet and lead as ranks.py expects."""
    init = said(method(INFERENCE, "Control2WorldInference", "__init__"))
    assert "parallel_state.initialize_model_parallel(context_parallel_size=args.context_parallel_size)" in init
    assert "process_group = parallel_state.get_context_parallel_group()" in init
    assert "if args.enable_guardrails and self.device_rank == 0:" in init
    assert "'RANK' in os.environ" in said(functions(INIT)["enable_distributed"])
    joined = said(functions(DISTRIBUTED)["init"])
    assert "os.getenv('LOCAL_RANK', 0)" in joined
    assert "init_method='env://'" in joined
    sample = said(method(INFERENCE, "Control2WorldInference", "_generate_sample"))
    writing = [line.strip() for line in sample.splitlines() if "self.device_rank == 0" in line]
    assert writing == ["if self.device_rank == 0:"] * 2  # the prompts' guardrail; the video's, and all files


def test_ranks_are_tuned_as_upstream_does():
    """The ranks have met before the GPU is tuned, and whoever meets again returns at once."""
    assert parameters(functions(DISTRIBUTED)["init"]) == []
    joined = said(functions(DISTRIBUTED)["init"])
    assert "os.sched_setaffinity(0, device.get_cpu_affinity())" in joined
    assert joined.index("dist.is_initialized()") < joined.index("dist.init_process_group(")
    assert joined.index("dist.init_process_group(") < joined.index("ctypes.CDLL('libcudart.so')")
    assert "from cosmos_transfer2._src.imaginaire.utils.device import Device" in said(tree(DISTRIBUTED))
    assert parameters(method("cosmos_transfer2/_src/imaginaire/utils/device.py", "Device", "get_cpu_affinity")) == []


def test_convolutions_are_timed_by_loaders():
    """Upstream says so as it loads, and nowhere in a job."""
    for file in (LOADER, "cosmos_transfer2/_src/interactive/utils/model_loader.py"):
        loads = said(functions(file)["load_model_from_checkpoint"])
        assert "torch.backends.cudnn.benchmark = config.trainer.cudnn.benchmark" in loads
    for file in (INFERENCE, PIPELINE, MODEL, DISTILLED, FULL, TEXT2WORLD):
        assert "cudnn.benchmark" not in Path(ROOT, file).read_text()


def test_guardrails_words_can_be_heard():
    """session.py adds a sink of its own to upstream's logger."""
    assert called(LOG, "logger") == "make_new_logger(depth=1)"
    assert "logger.opt(depth=1)" in said(functions(LOG)["critical"])
    assert ".critical(message)" in said(functions(LOG)["critical"])


def test_filters_are_where_we_look_for_them():
    """Filters are asked by `is_safe` and `postprocess`, and have their files where guardrail_filters.py says."""
    run, post = (said(method(CORE, "GuardrailRunner", name)) for name in ("run_safety_check", "postprocess"))
    assert "for guardrail in self.safety_models" in run
    assert "safe, message = guardrail.is_safe(input)" in run
    assert "frames = guardrail.postprocess(frames)" in post
    presets = said(tree(PRESETS))
    text, video = "[Blocklist(), Qwen3Guard(", "[VideoContentSafetyFilter("
    assert text in presets
    assert video in presets
    assert "postprocessors=[RetinaFaceFilter(" in presets
    assert parameters(method(BLOCKLIST, "Blocklist", "is_safe")) == ["input_prompt"]
    assert parameters(method(PROMPT_GUARD, "Qwen3Guard", "__init__")) == ["offload_model_to_cpu"]
    assert f"return (True, '{guardrail_filters.SWALLOWED}" in said(method(PROMPT_GUARD, "Qwen3Guard", "is_safe"))
    assert all(file.startswith(text_filters.UPSTREAM.replace(".", "/")) for file in (BLOCKLIST, PROMPT_GUARD))
    sources = "".join(file.read_text() for file in Path(ROOT, GUARDRAIL).rglob("*.py"))
    assert GUARDS["cosmos"].repository in sources
    assert GUARDS["cosmos"].revision in sources
    for place in guardrail_filters.PLACES.values():
        assert all(part in sources for part in place.split("/"))


def test_left_out_weights_can_be_heard():
    """What a checkpoint has in another shape is left out, and told in a critical line; see Session."""
    made = said(functions(CHECKPOINTER)["non_strict_load_model"])
    assert "checkpoint_state_dict.pop(k)" in made
    assert "incorrect_shapes=incorrect_shapes" in made
    for file in (TEXT2WORLD, DISTILLED):
        assert "log.critical(non_strict_load_model(self.net, _reg_state_dict)" in said(tree(file))


def test_writer_is_called_as_we_take_it():
    """All pictures go through one function, which cosmos_transfer2.inference knows by its name."""
    assert parameters(functions(VIDEO)["save_img_or_video"])[:3] == ["sample_C_T_H_W_in01", "save_fp_wo_ext", "fps"]
    sample = said(method(INFERENCE, "Control2WorldInference", "_generate_sample"))
    assert sample.count("save_img_or_video(") == 3
    for stem in ("output_path}_control_{key}'", "output_path}_mask_{key}'", "str(output_path)"):
        assert f"{stem}, fps=fps)" in sample
