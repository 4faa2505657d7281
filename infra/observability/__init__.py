"""What is measured, shown, and told to whoever is on call."""
