"""Model values in, wire bytes out: one pure function per resource type."""
