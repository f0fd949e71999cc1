"""The journal: povwatch's state, in SQLite. No other package touches SQLite."""

from povwatch.core.errors import JournalFailed
from povwatch.journal.reader import JournalReader, members, open_reader
from povwatch.journal.writer import Journal, StaleJobError, WrongThreadError

__all__ = ["Journal", "JournalFailed", "JournalReader", "StaleJobError", "WrongThreadError", "members", "open_reader"]
