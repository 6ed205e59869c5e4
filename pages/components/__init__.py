"""Streamlit pieces that two or more pages use, and the Python half of our own components."""
