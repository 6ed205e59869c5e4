"""Arrays in, arrays out: run-length codes, polygons, label maps, overlays, image reading."""
