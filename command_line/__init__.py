"""The parts that all commands of Floor33 share: options, progress, failures and ends."""
