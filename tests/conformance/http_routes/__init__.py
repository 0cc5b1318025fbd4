"""Manifests and the routes that waypoints apply because of them."""
