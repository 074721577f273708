"""The parts that all packages of Floor33 share."""
