"""What goes wrong with the store.

StoreError
├── DatabaseUrlError        the configured URL cannot be used
├── DatabaseError           the database cannot be reached or fails
│   ├── RowRefusedError         the database cannot take these values
│   └── LedgerUnavailableError  a row that has to be written before the answer was not
├── SchemaError             the schema is not the one this version knows
├── AnchorError             heads of the ledger kept outside the database cannot be trusted
├── StaleLeaderError        the fencing token has been overtaken
└── JournalError            a transition the life of an authority does not have
"""

from controlplane.errors import IstiodLiteError


class StoreError(IstiodLiteError):
    """Root of this package."""

    code = "store"


class DatabaseUrlError(StoreError):
    """The configured URL names no database this version speaks to."""

    code = "database-url"


class DatabaseError(StoreError):
    """The database cannot be reached, or failed; nothing was written."""

    code = "database"


class RowRefusedError(DatabaseError):
    """The database cannot take these values: trying again will not help."""

    code = "row-refused"


class LedgerUnavailableError(DatabaseError):
    """A row had to be in the ledger before the caller is answered, and is not."""

    code = "ledger-unavailable"


class SchemaError(StoreError):
    """The database's schema is not the one this version reads and writes."""

    code = "schema"


class AnchorError(StoreError):
    """The heads kept outside the database are damaged or not signed by our key."""

    code = "anchor"


class StaleLeaderError(StoreError):
    """Somebody else has led since: nothing of this transition was written."""

    code = "stale-leader"

    def __init__(self, *, token: int, seen: int) -> None:
        super().__init__(f"fencing token {token} has been overtaken by {seen}")
        self.token = token
        self.seen = seen


class JournalError(StoreError):
    """The journal does not allow this: nothing of this transition was written."""

    code = "journal"
