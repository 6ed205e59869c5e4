"""How large an image may be; what is larger is refused before memory is spent on it."""

MAX_PIXELS = 150_000_000
MAX_FILE_BYTES = 200_000_000
