"""Values and rules: what a category, an annotation, a run and a score are. It opens no files."""
