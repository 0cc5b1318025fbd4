"""The admin side: a FastAPI application that looks and never touches."""
