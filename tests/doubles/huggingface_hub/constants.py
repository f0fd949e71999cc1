"""As upstream's environment has it: a submodule that nothing imports by itself."""

import os

HF_HUB_OFFLINE = os.environ.get("HF_HUB_OFFLINE") == "1"
