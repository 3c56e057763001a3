"""The usage ledger: two policies behind one interface, the prices, and the meter that invoices are made from."""
