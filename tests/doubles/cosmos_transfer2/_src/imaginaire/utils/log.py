"""A double of upstream's log: a loguru logger that prints to standard output."""

import sys


class Logger:
    def __init__(self):
        self.sinks = {}

    def add(self, sink, *, level="DEBUG", **_format):
        number = len(self.sinks) + 1
        self.sinks[number] = (sink, level)
        return number

    def remove(self, number):
        del self.sinks[number]


logger = Logger()


def info(message):
    sys.stdout.write(f"[09-15 12:00:00|{message}\n")


def warning(message):
    sys.stdout.write(f"WARNING {message}\n")


def critical(message):
    sys.stdout.write(f"CRITICAL {message}\n")
    for sink, level in logger.sinks.values():
        if level == "CRITICAL":
            sink(f"{message}\n")  # loguru hands a sink the formatted line
