"""Delta discovery: requests of clients and committed snapshots in, responses out."""
