"""What was done, how long it took, what failed and what to do: gathered from the journal, shown in five forms."""
