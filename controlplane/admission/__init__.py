"""The validating webhook: objects are judged before the API server keeps them."""
