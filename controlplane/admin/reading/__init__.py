"""Reading committed state for the admin side, a page at a time and without holding up the loop."""
