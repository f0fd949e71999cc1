"""State `grace`: the clip's JSON can be edited until the period ends."""
