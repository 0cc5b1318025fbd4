"""The assembly manifests -> graph -> snapshots, with no server in sight."""
