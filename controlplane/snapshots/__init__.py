"""Committed, versioned, encoded resources: changes in, shared frames and look-ups out."""
