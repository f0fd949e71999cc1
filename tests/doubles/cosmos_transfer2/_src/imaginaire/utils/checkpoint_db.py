"""A double of upstream's checkpoint_db."""

import os
import subprocess


def _hf_download(cmd_args):
    """Lines 153-167: two runs of a program that uvx fetches, for every file at every start."""
    cmd = ["uvx", "hf>=1.3.5", "download", *cmd_args]
    subprocess.check_call(cmd, text=True)
    return subprocess.check_output([*cmd, "--quiet"], text=True, env=dict(os.environ) | {"HF_HUB_OFFLINE": "1"}).strip()
