"""Everything Maskwright does without a screen: labels, training, prediction and their storage."""
