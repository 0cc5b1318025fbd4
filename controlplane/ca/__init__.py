"""The certificate authority: who may have a certificate, and signing it."""
