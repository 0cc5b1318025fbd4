"""What the admin side tells: frozen values that REST, the page and debug answers share.

They are pydantic models, so that the API's schema is what is told and nothing is copied twice.
"""
