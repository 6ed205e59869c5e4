"""Values and rules: what a category, an annotation, a run and a score are. No files, no arrays larger than a score."""
