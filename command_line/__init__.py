"""How every command of Floor33 reads its options, fails, and ends."""
