"""Prints more than anybody reads."""


class Engine:
    def load(self, config, report):
        for number in range(200_000):
            print("flood", number)
        print("the end " + "x" * 100_000)
        return {"name": "floods"}

    def generate(self, job, context):
        raise AssertionError
