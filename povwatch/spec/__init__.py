"""The JSON beside a clip: its fields, its rules, and the errors in it.

`inputs_folder` reads and writes it in inputs/, and `first` makes the first one. Most modules are pure.
"""

from povwatch.spec.lint import lint
from povwatch.spec.model import Control, Spec
from povwatch.spec.parse import SIZE_MAX, Label, as_json, named_clip, names_other, parse, refused, renamed
from povwatch.spec.problems import explain, invalid

__all__ = [
    "SIZE_MAX",
    "Control",
    "Label",
    "Spec",
    "as_json",
    "explain",
    "invalid",
    "lint",
    "named_clip",
    "names_other",
    "parse",
    "refused",
    "renamed",
]
