"""What the user sees and clicks; one file per page."""
