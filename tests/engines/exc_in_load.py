"""Loading raises."""


class Engine:
    def load(self, config, report):
        raise FileNotFoundError(2, "No such file or directory", "model.safetensors")

    def generate(self, job, context):
        raise AssertionError
