"""One fact, many faces: the table of settings (`model`), where they come from (`sources`), how they are shown."""
