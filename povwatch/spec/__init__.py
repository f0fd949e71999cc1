"""The JSON beside a clip: its fields, its rules, and the errors in it.

`inputs_folder` reads and writes it in inputs/, and `first` makes the first one. Most modules are pure.
"""
