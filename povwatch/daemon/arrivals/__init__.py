"""From a file in inputs/ to a clip that has arrived."""
