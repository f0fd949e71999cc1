"""Watches inputs/ and takes clips in, by events, rescans and samples, until each is a complete video."""
