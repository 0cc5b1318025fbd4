"""Key sets of token issuers: addresses in, what is found there out, and kept fresh."""
