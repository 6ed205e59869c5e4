"""An exported model and an image become class probabilities, label maps and measurements."""
