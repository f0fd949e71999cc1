"""Runs upstream's own network for several controls, tiny and with random weights, under upstream's interpreter.

    branches.py FILE

FILE is of torch.save: the `shape` of the network, and the inputs of each of `cases`. It gets `weights`, the network's
state, and the `velocity` of each case.
"""

import importlib
import sys

import torch

NETWORK = "cosmos_transfer2._src.transfer2.networks.minimal_v4_lvg_dit_control_vace"

FIXED = {
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "concat_padding_mask": True,
    "pos_emb_cls": "rope3d",
    "pos_emb_learnable": True,
    "pos_emb_interpolation": "crop",
    "use_adaln_lora": True,
    "atten_backend": "torch",
    "extra_per_block_abs_pos_emb": False,
    "rope_enable_fps_modulation": False,
    "use_crossattn_projection": True,
    "condition_strategy": "spaced",
    "vace_has_mask": False,
    "use_after_proj_for_multi_branch": False,
}
"""As for the network of several controls (configs/vid2vid_transfer/defaults/net.py, experiment/experiment_list.py).

Attention alone is torch's in float32, where upstream's `minimal_a2a` is flash attention in bfloat16.
"""


def main(file):
    asked = torch.load(file, weights_only=False)
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    net = importlib.import_module(NETWORK).MinimalV4LVGControlVaceDiT(**FIXED, **asked["shape"]).float().eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    asked["weights"] = {name: value for name, value in net.state_dict().items() if isinstance(value, torch.Tensor)}
    asked["velocities"] = [net(**case) for case in asked["cases"]]
    torch.save(asked, file)


if __name__ == "__main__":
    main(sys.argv[1])
