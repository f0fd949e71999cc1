"""No space left."""

import errno


class Engine:
    def load(self, config, report):
        return {"name": "disk_full"}

    def generate(self, job, context):
        raise OSError(errno.ENOSPC, "No space left on device", context.workdir)
