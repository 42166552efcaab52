"""Schema of a spool's database, as numbered steps; `sekisho.store.migrate` applies them."""
