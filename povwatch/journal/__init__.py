"""The journal: what povwatch knows, in SQLite. The only package that touches it."""

from povwatch.core.errors import JournalFailed
from povwatch.journal.reader import JournalReader, members, open_reader
from povwatch.journal.writer import Journal, StaleJobError, WrongThreadError

__all__ = ["Journal", "JournalFailed", "JournalReader", "StaleJobError", "WrongThreadError", "members", "open_reader"]
