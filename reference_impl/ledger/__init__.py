"""The usage ledger: two policies of one interface, its charges, and the meter that invoices are made from."""
