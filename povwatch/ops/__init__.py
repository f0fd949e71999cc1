"""What people ask for beside the clips' way: rebuild, report, clean."""
