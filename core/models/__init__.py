"""Architectures, one file per family, and the preprocessing that training and inference share."""
