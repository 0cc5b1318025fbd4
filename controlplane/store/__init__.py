"""What survives a restart, in SQL: certificate ledger, authorities' journal, leadership."""
