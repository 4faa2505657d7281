"""What the local platform is made of: functions from contracts to contracts, each declaring its resources."""
