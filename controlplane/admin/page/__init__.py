"""The page: what a browser is shown, made on the server; docs/protocol/admin.md says who may."""
