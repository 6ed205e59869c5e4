"""Import and export of labels, one file per format."""
