"""Who may do what: the account, the grants, and the keys that sign."""
