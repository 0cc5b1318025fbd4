"""Generated from api/protos by scripts/generate_protos.py: never edited."""
