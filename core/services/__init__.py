"""What the app can do: one function per intention of the user."""
