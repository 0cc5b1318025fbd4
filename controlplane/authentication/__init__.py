"""Who is calling: request headers in, a ``Caller`` out, for certificates and discovery alike."""
